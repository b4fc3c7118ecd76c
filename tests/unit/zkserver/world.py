"""A machine without sockets, disk or clock, and clients that talk to it in whole frames."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from autohealer.zkserver.effects import Drop, Moment, Part, Send, Tell
from autohealer.zkserver.machine import Machine
from autohealer.zkserver.protocol import OPEN_ACL, Acl, Code, EventType, Op, Stat
from autohealer.zkserver.settings import ServerSettings
from autohealer.zkserver.state import State
from autohealer.zkserver.wire import (
    FrameDecoder,
    Reader,
    pack_acl,
    pack_bool,
    pack_buffer,
    pack_int,
    pack_long,
    pack_text,
    pack_texts,
)

if TYPE_CHECKING:
    from autohealer.zkserver.txn import Txn

WALL_START_MS = 1_800_000_000_000
FRAME_BYTES_MAX = 64 * 1024 * 1024
EPHEMERAL, SEQUENTIAL, CONTAINER = 1, 2, 4

Event = tuple[EventType, str]


@dataclass
class FakeLedger:
    """Keeps transactions in memory; refuses them while `full`."""

    full: bool = False
    behind: bool = False
    txns: list[Txn] = field(default_factory=list)

    def record(self, txn: Txn) -> bool:
        """As `machine.Ledger`."""
        if not self.full:
            self.txns.append(txn)
        return not self.full

    def fall_behind(self) -> None:
        """As `machine.Ledger`."""
        self.behind = True


@dataclass(frozen=True)
class Reply:
    """One reply, its body not yet read."""

    xid: int
    zxid: int
    code: Code
    body: bytes

    @property
    def reader(self) -> Reader:
        """A fresh reader of the body."""
        return Reader(self.body)

    @property
    def text(self) -> str:
        """The body's leading string."""
        return self.reader.text()

    @property
    def texts(self) -> list[str]:
        """The body's leading vector of strings."""
        return list(self.reader.vector(Reader.text))

    @property
    def stat(self) -> Stat:
        """The metadata at the end of the body."""
        return read_stat(Reader(self.body[-68:]))


class World:
    """One machine at one moment; `now_ms` is advanced by the test."""

    def __init__(self, settings: ServerSettings | None = None, state: State | None = None) -> None:
        self.now_ms = 0
        self.settings = settings or ServerSettings(Path("/nowhere"))
        self.state = state or State(b"secret")
        self.ledger = FakeLedger()
        self.machine = Machine(self.settings, self.state, self.ledger, self.now)
        self.peers: dict[int, Peer] = {}
        self._last_id = 0

    @property
    def now(self) -> Moment:
        """The moment."""
        return Moment(self.now_ms, WALL_START_MS + self.now_ms)

    def peer(self, address: str = "127.0.0.1", stranger: int | None = None) -> Peer:
        """A connection without a session."""
        self._last_id += 1
        self.machine.opened(self._last_id, address, stranger=stranger)
        self.peers[self._last_id] = Peer(self, self._last_id)
        return self.peers[self._last_id]

    def client(self, timeout_ms: int = 4000, stranger: int | None = None) -> Peer:
        """A connection with a session."""
        peer = self.peer(stranger=stranger)
        peer.connect(timeout_ms)
        return peer

    def advance_to(self, now_ms: int, late_ms: int = 0) -> None:
        """Let time pass as a shell would that sleeps until the machine wants to be woken, or longer."""
        while (wake_ms := self.machine.wake_at_ms()) is not None and wake_ms <= now_ms:
            self.now_ms = max(self.now_ms, wake_ms + late_ms)
            self.tick()
        self.now_ms = max(self.now_ms, now_ms)
        self.machine.observe(self.now)

    def tick(self) -> None:
        """Wake the machine now."""
        self.machine.observe(self.now)
        self.machine.tick(self.now)
        self.deliver()

    def deliver(self) -> None:
        """Carry out the effects."""
        for effect in self.machine.take_effects():
            match effect:
                case Send(connection, body):
                    self.peers[connection].inbox.append(body)
                case Part(connection, data):
                    self.peers[connection].take_part(data)
                case Tell(connections, body):
                    for each in connections:
                        self.peers[each].inbox.append(body)
                case Drop(connection, reason):
                    self.peers[connection].dropped = reason or "asked for it"


class Peer:
    """A client that speaks whole frames."""

    def __init__(self, world: World, connection: int) -> None:
        self.world = world
        self.connection = connection
        self.inbox: list[bytes] = []
        self.dropped: str | None = None
        self.session_id = 0
        self.password = bytes(16)
        self.timeout_ms = 0
        self._xid = 0
        self._partial = FrameDecoder(FRAME_BYTES_MAX)

    def send(self, frame: bytes) -> None:
        """Send a frame as it is, and let it be answered in full."""
        self.begin(frame)
        while self.is_under_way:
            self.go_on()

    def begin(self, frame: bytes) -> None:
        """Send a frame as it is; it may be under way afterwards."""
        self.world.machine.received(self.connection, frame, self.world.now)
        self.world.deliver()

    @property
    def is_under_way(self) -> bool:
        """Whether its request is not yet answered in full."""
        return self.world.machine.is_under_way(self.connection)

    def go_on(self) -> None:
        """Have some more done of its request that is under way."""
        self.world.machine.go_on(self.connection, self.world.now)
        self.world.deliver()

    def take_part(self, data: bytes) -> None:
        """Some bytes of a frame that comes in parts."""
        self._partial.feed(data)
        if (frame := self._partial.next_frame()) is not None:
            self.inbox.append(frame)

    def connect(
        self,
        timeout_ms: int = 4000,
        session_id: int = 0,
        password: bytes = bytes(16),
        last_zxid: int = 0,
        tail: bytes = b"\0",
    ) -> None:
        """Open a session or come back to one; read the answer if there is one."""
        head = pack_int(0) + pack_long(last_zxid) + pack_int(timeout_ms) + pack_long(session_id)
        self.send(head + pack_buffer(password) + tail)
        if self.inbox:
            reader = Reader(self.inbox.pop(0))
            reader.int32()
            self.timeout_ms, self.session_id = reader.int32(), reader.int64()
            self.password = reader.buffer() or b""

    def call(self, op: int, body: bytes = b"", xid: int | None = None) -> Reply:
        """Send a request and take its reply, which must be the last thing to arrive."""
        self._xid += 1
        xid = self._xid if xid is None else xid
        self.send(pack_int(xid) + pack_int(op) + body)
        reply = read_reply(self.inbox.pop())
        assert reply.xid == xid
        return reply

    def take_events(self) -> list[Event]:
        """The events that arrived."""
        inbox, self.inbox = self.inbox, []
        return [read_event(body) for body in inbox]

    def hang_up(self) -> None:
        """Close the socket without a word."""
        self.world.machine.closed(self.connection)

    def create(
        self,
        path: str,
        data: bytes | None = b"",
        mode: int = 0,
        acl: tuple[Acl, ...] = OPEN_ACL,
        op: Op = Op.CREATE,
    ) -> Reply:
        """Make a node."""
        return self.call(op, create_body(path, data, mode, acl))

    def delete(self, path: str, version: int = -1) -> Reply:
        """Remove a node."""
        return self.call(Op.DELETE, pack_text(path) + pack_int(version))

    def set(self, path: str, data: bytes | None, version: int = -1) -> Reply:
        """Replace data."""
        return self.call(Op.SET_DATA, pack_text(path) + pack_buffer(data) + pack_int(version))

    def exists(self, path: str, *, watch: bool = False) -> Reply:
        """Ask for metadata."""
        return self.call(Op.EXISTS, pack_text(path) + pack_bool(watch))

    def get(self, path: str, *, watch: bool = False) -> Reply:
        """Ask for data."""
        return self.call(Op.GET_DATA, pack_text(path) + pack_bool(watch))

    def children(self, path: str, *, watch: bool = False) -> Reply:
        """Ask for children and metadata."""
        return self.call(Op.GET_CHILDREN2, pack_text(path) + pack_bool(watch))

    def set_acl(self, path: str, acl: tuple[Acl, ...], version: int = -1) -> Reply:
        """Replace the access control list."""
        return self.call(Op.SET_ACL, pack_text(path) + pack_acl(acl) + pack_int(version))

    def authenticate(self, credentials: bytes, scheme: str = "digest") -> Reply:
        """Prove an identity."""
        body = pack_int(0) + pack_text(scheme) + pack_buffer(credentials)
        return self.call(Op.AUTH, body, xid=-4)

    def multi(self, *steps: tuple[Op, bytes]) -> list[tuple[int, Code, Reader]]:
        """Send several steps; returns per step its type, code and a reader of its result."""
        body = b"".join(pack_int(op) + b"\0" + pack_int(-1) + step for op, step in steps)
        reply = self.call(Op.MULTI, body + MULTI_END)
        assert reply.code is Code.OK
        return _read_multi(reply.reader)

    def set_watches(
        self, since_zxid: int, data: list[str], exist: list[str], child: list[str]
    ) -> Reply:
        """Re-arm watches as the Java client does after a reconnect."""
        lists = pack_texts(data) + pack_texts(exist) + pack_texts(child)
        return self.call(Op.SET_WATCHES, pack_long(since_zxid) + lists, xid=-8)


MULTI_END = pack_int(-1) + b"\1" + pack_int(-1)


def create_body(
    path: str, data: bytes | None = b"", mode: int = 0, acl: tuple[Acl, ...] = OPEN_ACL
) -> bytes:
    """A create request."""
    return pack_text(path) + pack_buffer(data) + pack_acl(acl) + pack_int(mode)


def version_body(path: str, version: int = -1) -> bytes:
    """A delete or check request."""
    return pack_text(path) + pack_int(version)


def set_body(path: str, data: bytes, version: int = -1) -> bytes:
    """A setData request."""
    return pack_text(path) + pack_buffer(data) + pack_int(version)


def read_reply(frame: bytes) -> Reply:
    """Split header and body."""
    reader = Reader(frame)
    return Reply(reader.int32(), reader.int64(), Code(reader.int32()), frame[16:])


def read_event(frame: bytes) -> Event:
    """Read a watch event, insisting on its fixed header."""
    reader = Reader(frame)
    assert (reader.int32(), reader.int64(), reader.int32()) == (-1, -1, 0)
    event = EventType(reader.int32())
    assert reader.int32() == 3
    return event, reader.text()


def read_stat(reader: Reader) -> Stat:
    """Read 68 bytes of metadata."""
    czxid, mzxid, ctime_ms, mtime_ms = (reader.int64() for _ in range(4))
    version, cversion, aversion = (reader.int32() for _ in range(3))
    owner = reader.int64()
    data_bytes, child_count = reader.int32(), reader.int32()
    return Stat(
        *(czxid, mzxid, ctime_ms, mtime_ms, version, cversion, aversion),
        *(owner, data_bytes, child_count, reader.int64()),
    )


def _read_multi(reader: Reader) -> list[tuple[int, Code, Reader]]:
    results: list[tuple[int, Code, Reader]] = []
    while True:
        op, done, code = reader.int32(), reader.boolean(), reader.int32()
        if done:
            return results
        results.append((op, Code(code), _step_result(op, reader)))


def _step_result(op: int, reader: Reader) -> Reader:
    """Take one step's result out of the reply."""
    match op:
        case Op.CREATE:
            return Reader(pack_text(reader.text()))
        case Op.CREATE2:
            return Reader(pack_text(reader.text()) + reader.raw(68))
        case Op.SET_DATA | Op.SET_ACL:
            return Reader(reader.raw(68))
        case Op.ERROR:
            return Reader(reader.raw(4))
        case _:
            return Reader(b"")
