"""A bare ZooKeeper connection that keeps everything it is sent, in the order it came.

Theory of operation: nothing is hidden. Requests may be sent ahead of their answers; whatever arrives
(a reply, a watch event, the end of the connection, nothing at all) is an item, and items keep their
order.

Must never know: which server it talks to, what a body means.
Limits: blocking; a server that says nothing for `SILENCE_S` is reported as silent, not waited for.
"""

from __future__ import annotations

import socket
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from autohealer.zkserver.protocol import Op
from autohealer.zkserver.wire import Reader, pack_buffer, pack_int, pack_long
from tests.conformance.operations import FIXED_XIDS

if TYPE_CHECKING:
    from collections.abc import Iterator

SILENCE_S = 10.0
SESSION_TIMEOUT_MS = 30_000
_EVENT_XID = -1


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a request; `xid` is the one that was sent."""

    op: Op
    xid_matches: bool
    zxid: int
    code: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Event:
    """A watch event."""

    zxid: int
    code: int
    body: bytes


@dataclass(frozen=True, slots=True)
class End:
    """Nothing more comes: the server hung up, or is silent."""

    reason: str


Item: TypeAlias = Reply | Event | End


@dataclass(frozen=True, slots=True)
class Ticket:
    """A session, and what proves that it is one's own."""

    session_id: int = 0
    password: bytes = bytes(16)


class RawConnection:
    """One TCP connection, with or without a session."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port), SILENCE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""
        self._due: deque[tuple[int, Op]] = deque()
        self._last_xid = 0

    def attach(self, ticket: Ticket, last_zxid: int) -> tuple[int, Ticket] | End:
        """Open a session or come back to one; returns the granted timeout in ms and the session."""
        head = pack_int(0) + pack_long(last_zxid) + pack_int(SESSION_TIMEOUT_MS)
        self._send(head + pack_long(ticket.session_id) + pack_buffer(ticket.password) + b"\0")
        frame = self._frame()
        if isinstance(frame, End):
            return frame
        reader = Reader(frame)
        reader.int32()
        timeout_ms = reader.int32()
        found = Ticket(reader.int64(), reader.buffer() or b"")
        assert reader.raw(reader.remaining) == b"\0", frame
        return timeout_ms, found

    def ask(self, op: Op, body: bytes) -> None:
        """Send a request; its answer is due."""
        self._last_xid += 1
        xid = FIXED_XIDS.get(op, self._last_xid)
        self._due.append((xid, op))
        self._send(pack_int(xid) + pack_int(op) + body)

    def items(self) -> Iterator[Item]:
        """What comes until every answer that is due has come."""
        while self._due:
            item = self._item()
            yield item
            if isinstance(item, End):
                self._due.clear()

    def until_end(self) -> Iterator[Item]:
        """What comes until the server hangs up."""
        while True:
            item = self._item()
            yield item
            if isinstance(item, End):
                return

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _item(self) -> Item:
        frame = self._frame()
        if isinstance(frame, End):
            return frame
        reader = Reader(frame)
        xid, zxid, code = reader.int32(), reader.int64(), reader.int32()
        body = reader.raw(reader.remaining)
        if xid == _EVENT_XID:
            return Event(zxid, code, body)
        due, op = self._due.popleft() if self._due else (0, Op.PING)
        return Reply(op, xid == due, zxid, code, body)

    def _send(self, body: bytes) -> None:
        try:
            self._socket.sendall(pack_buffer(body))
        except OSError:
            return  # reading meets the end too, after what was sent before it

    def _frame(self) -> bytes | End:
        try:
            while len(self._buffer) < 4 or len(self._buffer) - 4 < self._length():
                chunk = self._socket.recv(65_536)
                if not chunk:
                    return End("hung up")
                self._buffer += chunk
        except TimeoutError:
            return End("silent")
        except OSError:
            return End("hung up")
        end = 4 + self._length()
        frame, self._buffer = self._buffer[4:end], self._buffer[end:]
        return frame

    def _length(self) -> int:
        return int.from_bytes(self._buffer[:4], "big")
