"""The server as a machine: frames in, replies and events out, in order.

Theory of operation. Connections are numbers. Every call takes the moment it happens at and leaves
effects (send this, drop that) to be collected with `take_effects`. A write becomes a draft, then a
transaction, is given to the ledger, and only then applied; the events it causes are put out before
its reply, and since all is done in one thread no client can see a new state before its event.

Some requests would take long: their connection has them under way, `go_on` does some more, and its next frame waits.
A read says what stood when it was begun, its zxid too, and events that come meanwhile follow its reply. Watches that
are set again are compared with the tree one by one, so what changes meanwhile is news or fires. What else would take
long (sessions that expire together, containers, the watches of who is gone) is done a little at a time as well.

Must never know: sockets, files, clocks, randomness. The ledger is handed in.
Limits: `sessions_max`, `tree_bytes_max`, and those of `acl`, `draft`, `fanout`, `outbox`, `reads`, `watches` and
`wire`.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from autohealer.zkserver import acl as access
from autohealer.zkserver import jobs, replies
from autohealer.zkserver.connections import Connection, Served, Totals
from autohealer.zkserver.decoding import WRITES, decode_connect, decode_request
from autohealer.zkserver.draft import Draft
from autohealer.zkserver.fanout import Fanout
from autohealer.zkserver.limits import ITEMS_MAX
from autohealer.zkserver.outbox import Outbox
from autohealer.zkserver.protocol import (
    OPEN_ACL,
    Code,
    EventType,
    Identity,
    MalformedError,
    Op,
    Perm,
    RefusedError,
)
from autohealer.zkserver.reads import Desk
from autohealer.zkserver.requests import (
    AddWatch,
    Authenticate,
    ChangeWatches,
    Check,
    CloseSession,
    Connect,
    Create,
    Delete,
    Multi,
    Ping,
    Request,
    SetAcl,
    SetData,
    SetWatches,
    WriteStep,
)
from autohealer.zkserver.sessions import Session, Sessions, first_session_id
from autohealer.zkserver.shares import STRANGERS_PART, Share
from autohealer.zkserver.state import first_zxid
from autohealer.zkserver.txn import DeleteNode, EndSession, OpenSession, Txn
from autohealer.zkserver.watches import Watches
from autohealer.zkserver.wire import Reader

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autohealer.zkserver.effects import Effect, Ledger, Moment
    from autohealer.zkserver.listings import Streamed
    from autohealer.zkserver.reads import Rearming
    from autohealer.zkserver.settings import ServerSettings
    from autohealer.zkserver.state import Applied, State
    from autohealer.zkserver.tree import Event
    from autohealer.zkserver.txn import Change, NodeChange


SLICE_CONTAINERS = 500
SLICE_EPHEMERAL_BYTES = 131_072
"""Deleted by the timer in a row, within some ten milliseconds; more of one session go together."""


class Machine:
    """All of the server but its input and output."""

    def __init__(self, settings: ServerSettings, state: State, ledger: Ledger, now: Moment) -> None:
        self.settings = settings
        self.state = state
        self._kept = Share(settings.kept_bytes_max)
        self.watches = Watches(settings.watches_max, settings.watch_bytes_max, self._kept)
        self.sessions = Sessions(settings, state.secret)
        self.connections: dict[int, Connection] = {}
        self.totals = Totals()
        self._outbox = Outbox(self.totals, settings.unsent_bytes_max)
        self._ledger = ledger
        self._containers_due_ms: int | None = None
        self._start(now)

    def take_effects(self) -> list[Effect]:
        """What is to be done now, in order; each effect is handed out once."""
        return self._outbox.take()

    @property
    def unsent_bytes(self) -> int:
        """Replies and events among the effects not yet taken."""
        return self._outbox.unsent_bytes

    def wake_at_ms(self) -> int | None:
        """When `tick` is needed next at the latest; None when only a packet can change anything."""
        dues = (self.sessions.wake_at_ms(), self._containers_due_ms)
        return min((due for due in dues if due is not None), default=None)

    def opened(
        self, connection_id: int, address: str, port: int = 0, stranger: int | None = None
    ) -> None:
        """A client connected from an address; the port is for people to see, `stranger` as in `shares`."""
        self.connections[connection_id] = Connection(
            connection_id, address, {Identity("ip", address): None}, port, stranger
        )
        self.watches.introduce(connection_id, stranger)

    def closed(self, connection_id: int) -> None:
        """A connection is gone; its session lives on until it expires."""
        connection = self.connections.pop(connection_id, None)
        if connection is None:
            return
        connection.job = None
        self.watches.forget(connection_id)
        self._kept.take(connection.stranger, -connection.proven_bytes)
        session = connection.session
        if session is not None and session.connection == connection_id:
            session.connection = None

    def received(self, connection_id: int, frame: bytes, now: Moment) -> None:
        """A frame arrived. Frames of a connection that was dropped are ignored, and none may come before its time."""
        connection = self.connections.get(connection_id)
        if connection is None:
            return
        assert connection.job is None, connection
        connection.received_count += 1
        self.totals.received_count += 1
        try:
            if connection.session is None:
                self._connect(connection, decode_connect(frame), now)
            else:
                self._serve(connection, connection.session, frame, now)
        except MalformedError as error:
            self._drop(connection, f"malformed packet: {error}")

    def is_under_way(self, connection_id: int) -> bool:
        """Whether a connection's request is not yet answered in full."""
        asking = self.connections.get(connection_id)
        return asking is not None and asking.job is not None

    def go_on(self, connection_id: int, now: Moment) -> None:
        """Do some more of a request that is under way."""
        connection = self.connections[connection_id]
        if connection.session is not None:
            self.sessions.touch(connection.session, now.monotonic_ms)
        self._advance(connection)

    def kept_bytes(self, connection_id: int) -> int:
        """What a connection is still to be sent because a request of it is under way."""
        asking = self.connections.get(connection_id)
        return 0 if asking is None else asking.owed_bytes + asking.held_bytes

    def observe(self, now: Moment) -> int:
        """The shell is awake; returns how many milliseconds were lost to a stall of the server."""
        stalled_ms = self.sessions.observe(now.monotonic_ms)
        self.totals.stalled_ms += stalled_ms
        return stalled_ms

    def tick(self, now: Moment) -> None:
        """End some sessions whose time has run out, and some containers nobody uses; more are due at once."""
        room_bytes = SLICE_EPHEMERAL_BYTES
        for session_id in self.sessions.due(now.monotonic_ms):
            room_bytes -= self.state.tree.ephemeral_bytes_of(session_id)
            self.totals.expired_count += 1
            self._end_session(session_id, now, "session expired")
            if room_bytes < 0:
                break
        if self._containers_due_ms is not None and now.monotonic_ms >= self._containers_due_ms:
            self._containers_due_ms = None
            self._reap_containers(now)

    def _start(self, now: Moment) -> None:
        state = self.state
        state.next_session_id = first_session_id(now.wall_ms, state.next_session_id)
        for session_id, timeout_ms in state.timeouts_ms.items():
            self.sessions.add(session_id, timeout_ms, now.monotonic_ms)
        zxid = first_zxid(now.wall_ms / 1000, state.zxid)
        self._commit_always(Txn(zxid, now.wall_ms, ()), now)

    # Opening and ending sessions.

    def _connect(self, connection: Connection, request: Connect, now: Moment) -> None:
        self.totals.handshake_count += 1
        if request.last_zxid > self.state.zxid:
            # Source: ZooKeeperServer.processConnectRequest. Serving it would show it an older state.
            self._drop(connection, "the client has seen a newer state than this server's")
            return
        timeout_ms = self.sessions.clamp(request.timeout_ms)
        if request.session_id == 0:
            session = self._open_session(timeout_ms, connection.stranger, now)
        else:
            session = self._find_session(request, timeout_ms, now)
        if session is not None:
            self._attach(connection, session)
            connection.since_wall_ms = now.wall_ms
            connection.last = Served(None, 0, self.state.zxid, now.monotonic_ms)
            connected = replies.pack_connected(
                timeout_ms,
                session.id,
                self.sessions.password(session.id),
                read_only=request.knows_read_only,
            )
            self._outbox.send(connection, connected)
        elif request.session_id == 0:
            self._drop(connection, "too many sessions")
        else:
            expired = replies.pack_session_expired(read_only=request.knows_read_only)
            self._outbox.send(connection, expired)
            self._drop(connection, "the session it asked for does not exist")

    def _open_session(self, timeout_ms: int, stranger: int | None, now: Moment) -> Session | None:
        if not self.sessions.has_room(stranger):
            return None
        session_id = self.state.next_session_id
        self._commit_always(self._next_txn((OpenSession(session_id, timeout_ms),), now), now)
        return self.sessions.add(session_id, timeout_ms, now.monotonic_ms, stranger)

    def _find_session(self, request: Connect, timeout_ms: int, now: Moment) -> Session | None:
        session = self.sessions.get(request.session_id)
        if session is None or not self.sessions.is_password(session.id, request.password):
            return None
        if session.timeout_ms != timeout_ms:
            session.timeout_ms = timeout_ms
            self._commit_always(self._next_txn((OpenSession(session.id, timeout_ms),), now), now)
        self.sessions.touch(session, now.monotonic_ms)
        return session

    def _attach(self, connection: Connection, session: Session) -> None:
        older = self.connections.get(session.connection or 0)
        if older is not None:
            self._drop(older, "its session moved to another connection")
        connection.session = session
        session.connection = connection.id

    def _end_session(self, session_id: int, now: Moment, reason: str | None) -> None:
        session = self.sessions.remove(session_id)
        if session is None:
            return
        self._commit_always(self._next_txn((EndSession(session_id),), now), now)
        connection = self.connections.get(session.connection or 0)
        if connection is not None and reason is not None:
            self._drop(connection, reason)

    # Serving requests.

    def _serve(self, connection: Connection, session: Session, frame: bytes, now: Moment) -> None:
        self.sessions.touch(session, now.monotonic_ms)
        reader = Reader(frame, ITEMS_MAX)
        xid, op = reader.int32(), reader.int32()
        code, body = Code.OK, b""
        try:
            request = decode_request(op, reader)
            answer = self._answer(connection, session, request, now)
            if not isinstance(answer, bytes):
                connection.job = jobs.begin(self._outbox, connection, xid, self.state.zxid, answer)
                connection.note(op, xid, self.state.zxid, now)
                self._advance(connection)
                return
            body = answer
        except RefusedError as refusal:
            code, request = refusal.code, None
        except MalformedError:
            if op == Op.AUTH:
                raise  # read on another thread there, which drops the connection
            # Source: the catch-alls of PrepRequestProcessor and FinalRequestProcessor.
            code, request = Code.MARSHALLING_ERROR, None
            if op in WRITES:
                self._skip_zxid()
        zxid = 0 if op == Op.AUTH else self.state.zxid  # ZooKeeperServer.processPacket
        self._outbox.send(connection, replies.pack_reply(xid, zxid, code, body))
        connection.note(op, xid, self.state.zxid, now)
        if isinstance(request, CloseSession):
            self._drop(connection, None)
        elif code is Code.AUTH_FAILED:
            self._drop(connection, "authentication failed")

    def _answer(  # noqa: PLR0911 - one return per kind of request
        self, connection: Connection, session: Session, request: Request, now: Moment
    ) -> bytes | Streamed | Rearming:
        desk = Desk(
            self.state.tree,
            self.watches,
            connection.id,
            session.id,
            connection.identities,
            self.settings.reply_bytes_max,
        )
        match request:
            case Ping():
                return b""
            case Create() | Delete() | SetData() | SetAcl() | Check():
                return self._write(connection, session, request, now)
            case Multi():
                return self._write_all(connection, session, request.steps, now)
            case SetWatches():
                return desk.set_watches(request)
            case ChangeWatches():
                return desk.change_watches(request)
            case AddWatch():
                return desk.add_watch(request)
            case Authenticate():
                self._authenticate(connection, request)
                return b""
            case CloseSession():
                self._end_session(session.id, now, None)
                return b""
            case _:
                return desk.answer(request)

    # Requests that take several turns.

    def _advance(self, connection: Connection) -> None:
        assert connection.job is not None, connection
        for _ in connection.job:
            return
        connection.job = None
        self._outbox.release(connection)

    def _authenticate(self, connection: Connection, request: Authenticate) -> None:
        proven = access.authenticate(request.scheme, request.secret, self.settings.super_digest)
        more_bytes = sum(map(access.size_bytes, proven or ()))
        if proven is None or more_bytes > self._kept.room(connection.stranger):
            raise RefusedError(Code.AUTH_FAILED)
        known_count = len(connection.identities)
        if not access.extend(connection.identities, proven):
            raise RefusedError(Code.AUTH_FAILED)
        if len(connection.identities) > known_count:
            self._kept.take(connection.stranger, more_bytes)
            connection.proven_bytes += more_bytes

    def _write(
        self, connection: Connection, session: Session, step: WriteStep, now: Moment
    ) -> bytes:
        draft = Draft(self.state.tree, session.id, connection.identities)
        try:
            draft.add(step)
        except RefusedError:
            self._skip_zxid()
            raise
        applied = self._commit(draft.changes, connection.stranger, now)
        return replies.pack_write_result(step, draft.changes[0].path, applied.stats[0])

    def _write_all(
        self, connection: Connection, session: Session, steps: Sequence[WriteStep], now: Moment
    ) -> bytes:
        draft = Draft(self.state.tree, session.id, connection.identities)
        for index, step in enumerate(steps):
            try:
                draft.add(step)
            except RefusedError as refusal:
                self._skip_zxid()
                return replies.pack_multi_failure(len(steps), index, refusal.code)
        applied = self._commit(draft.changes, connection.stranger, now)
        paths = [change.path for change in draft.changes]
        return replies.pack_multi(steps, paths, applied.stats)

    # Transactions.

    def _next_txn(self, changes: Sequence[Change], now: Moment) -> Txn:
        return Txn(self.state.zxid + 1, now.wall_ms, tuple(changes))

    def _skip_zxid(self) -> None:
        """A refused write uses up a zxid, as in Apache; nothing needs to be kept of it."""
        self.state.zxid += 1

    def _commit(self, changes: Sequence[NodeChange], stranger: int | None, now: Moment) -> Applied:
        tree, at_most = self.state.tree, self.settings.tree_bytes_max
        if stranger is not None:
            at_most //= STRANGERS_PART  # the rest is left for the owner's registrations
        growth_bytes = sum(map(tree.growth_bytes, changes))
        if growth_bytes > 0 and tree.size_bytes + growth_bytes > at_most:
            self._skip_zxid()
            raise RefusedError(Code.QUOTA_EXCEEDED)
        txn = self._next_txn(changes, now)
        if not self._ledger.record(txn):
            self._skip_zxid()
            raise RefusedError(Code.SYSTEM_ERROR)
        return self._apply(txn, now)

    def _commit_always(self, txn: Txn, now: Moment) -> None:
        """Commit what can not be refused: sessions begin and end even when the disk is full."""
        if not self._ledger.record(txn):
            self._ledger.fall_behind()
        self._apply(txn, now)

    def _apply(self, txn: Txn, now: Moment) -> Applied:
        applied = self.state.apply(txn)
        settings = self.settings
        fanout = Fanout(
            settings.event_bytes_max, settings.event_bytes_max // settings.connections_max
        )
        for event in applied.events:
            self._tell(event, fanout)
        if self._containers_due_ms is None and self.state.tree.idle_containers:
            self._containers_due_ms = now.monotonic_ms + self.settings.container_check_ms
        return applied

    def _reap_containers(self, now: Moment) -> None:
        """Source: `ContainerManager.checkContainers`."""
        idle = list(islice(self.state.tree.idle_containers, SLICE_CONTAINERS))
        if idle:
            changes = [DeleteNode(path) for path in idle]
            self._commit_always(self._next_txn(changes, now), now)
        if len(idle) == SLICE_CONTAINERS:
            self._containers_due_ms = now.monotonic_ms

    def _tell(self, event: Event, fanout: Fanout) -> None:
        """Send an event to who watches and may read the node (CVE-2024-23944 in Apache before 3.8.4)."""
        watching = self.watches.fire(event.type, event.path)
        if not watching:
            return
        body = replies.pack_event(EventType(event.type), event.path)
        connections = self.connections
        if event.acl != OPEN_ACL:
            watching = [
                each
                for each in watching
                if access.is_allowed(event.acl, Perm.READ, connections[each].identities)
            ]
        told, beyond = fanout.split(watching, len(body))
        for connection in self._outbox.tell([connections[each] for each in told], body):
            self._drop(connection, "too many events during one request")
        for connection_id in beyond:
            self._drop(connections[connection_id], "too many events in one transaction")

    def _drop(self, connection: Connection, reason: str | None) -> None:
        self._outbox.drop(connection, reason)
        self.closed(connection.id)
