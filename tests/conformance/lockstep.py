"""Two servers, the same actions, one after the other, and what each client sees of them.

Theory of operation. A run has a root node of its own. After every action that is not pipelined, all
connections are asked for a ping: what they were sent until its answer is what the action caused.
Both servers get the action before either is waited for. A slot opens its session when it first acts,
and comes back to it when its connection was lost. At the end the whole tree is read, with every
identity that a run can have proven, and every session is closed, so that nothing of a run reaches
the next one.

What closing a session tells is compared as a set per client: Apache deletes the ephemerals of one
session in the order of a hash table.

Must never know: where actions come from.
Limits: one run at a time; the servers are trusted to end no session within `SESSION_TIMEOUT_MS`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from autohealer.zkserver.protocol import OPEN_ACL, Op
from autohealer.zkserver.wire import Reader, pack_acl, pack_bool, pack_buffer, pack_int, pack_text
from tests.conformance.lens import Lens
from tests.conformance.operations import Act, Action, Request
from tests.conformance.rawclient import End, RawConnection, Reply, Ticket
from tests.support.ports import HOST

if TYPE_CHECKING:
    from collections.abc import Sequence

Seen = dict[str, list[str]]
"""What each client was sent, in order."""


@dataclass(frozen=True, slots=True)
class Difference:
    """The first action after which the two servers were not alike."""

    index: int
    first: Seen
    second: Seen


@dataclass(slots=True)
class Slot:
    """One client of one server."""

    name: str
    ticket: Ticket = field(default_factory=Ticket)
    connection: RawConnection | None = None
    opened_count: int = 0


class Side:
    """One server during one run."""

    def __init__(self, port: int, root: str, slots: int) -> None:
        self._port, self._root = port, root
        self._janitor = RawConnection(HOST, port)
        assert not isinstance(self._janitor.attach(Ticket(), 0), End)
        made = pack_text(root) + pack_buffer(b"") + pack_acl(OPEN_ACL) + pack_int(0)
        self._lens = Lens(root, self._ask_janitor(Op.CREATE, made).zxid)
        self._slots = [Slot(f"s{number}") for number in range(slots)]
        self._seen: Seen = {}

    def start(self, action: Action) -> None:
        """Send an action; a request is not waited for."""
        slot = self._slots[action.slot]
        match action.act:
            case Act.REQUEST:
                assert action.request is not None
                connection = self._connected(slot)
                if connection is not None:
                    body = action.request.body(self._root, self._lens.last_zxid)
                    connection.ask(action.request.op, body)
            case Act.HANG_UP:
                self._hang_up(slot)
            case Act.CLOSE:
                self._close(slot)
            case Act.REATTACH:
                if slot.ticket.session_id:
                    self._attach(slot, slot.ticket, self._lens.last_zxid)
            case Act.REATTACH_WRONG_PASSWORD:
                self._hang_up(slot)
                if slot.ticket.session_id:
                    self._attach(slot, replace(slot.ticket, password=b"x" * 16), 0)
            case Act.REATTACH_AHEAD:
                self._hang_up(slot)
                self._attach(slot, slot.ticket, self._lens.last_zxid + 1000)

    def settle(self) -> Seen:
        """Everything every client was sent since the last time."""
        for slot in self._slots:
            self._collect(slot)
        for slot in self._slots:
            if slot.connection is not None:
                slot.connection.ask(Op.PING, b"")
        for slot in self._slots:
            self._collect(slot)
        seen, self._seen = self._seen, {}
        return seen

    def survey(self) -> Seen:
        """The whole tree, as somebody with every identity sees it."""
        for secret in (b"u:p", b"v:q"):
            self._ask_janitor(Op.AUTH, pack_int(0) + pack_text("digest") + pack_buffer(secret))
        seen: list[str] = []
        waiting = [self._root]
        while waiting:
            path = waiting.pop()
            reply = self._ask_janitor(Op.GET_CHILDREN2, pack_text(path) + pack_bool(False))
            acl = self._ask_janitor(Op.GET_ACL, pack_text(path))
            seen += [path.removeprefix(self._root), *map(self._lens.show, (reply, acl))]
            if reply.code == 0:
                names = sorted(Reader(reply.body).vector(Reader.text), reverse=True)
                waiting += [f"{path}/{name}" for name in names]
        return {"tree": seen}

    def finish(self) -> None:
        """Close every session."""
        for slot in self._slots:
            if slot.connection is None and slot.ticket.session_id:
                self._attach(slot, slot.ticket, 0)
            self._close(slot)
        self._janitor.ask(Op.CLOSE_SESSION, b"")
        list(self._janitor.items())
        self._janitor.close()

    def _ask_janitor(self, op: Op, body: bytes) -> Reply:
        self._janitor.ask(op, body)
        (reply,) = self._janitor.items()
        assert isinstance(reply, Reply), reply
        return reply

    def _connected(self, slot: Slot) -> RawConnection | None:
        if slot.connection is None:
            self._attach(slot, slot.ticket, self._lens.last_zxid if slot.ticket.session_id else 0)
        return slot.connection

    def _attach(self, slot: Slot, ticket: Ticket, last_zxid: int) -> None:
        connection = RawConnection(HOST, self._port)
        found = connection.attach(ticket, last_zxid)
        if slot.connection is not None:  # its session has moved
            self._note(slot, *map(self._lens.show, slot.connection.until_end()))
            self._hang_up(slot)
        if isinstance(found, End):
            self._note(slot, f"attaching: {found.reason}")
            connection.close()
            return
        timeout_ms, now = found
        if now.session_id == 0:
            self._note(slot, f"no such session, timeout {timeout_ms} {now.password!r}")
            self._note(slot, *map(self._lens.show, connection.until_end()))
            connection.close()
            return
        if now.session_id != ticket.session_id:
            slot.opened_count += 1
            self._lens.name_session(now.session_id, f"{slot.name}.{slot.opened_count}")
        self._note(slot, f"attached, timeout {timeout_ms}, same {now == ticket}")
        slot.ticket, slot.connection = now, connection

    def _close(self, slot: Slot) -> None:
        connection, slot.connection = slot.connection, None
        if connection is None:
            return
        connection.ask(Op.CLOSE_SESSION, b"")
        self._note(slot, *map(self._lens.show, connection.items()))
        self._note(slot, *map(self._lens.show, connection.until_end()))
        connection.close()
        slot.ticket = Ticket()

    def _hang_up(self, slot: Slot) -> None:
        if slot.connection is not None:
            slot.connection.close()
            slot.connection = None

    def _collect(self, slot: Slot) -> None:
        if slot.connection is None:
            return
        for item in slot.connection.items():
            if not (isinstance(item, Reply) and item.op is Op.PING and item.xid_matches):
                self._note(slot, self._lens.show(item))
            if isinstance(item, Reply) and item.op is Op.AUTH and item.code:
                self._note(slot, *map(self._lens.show, slot.connection.until_end()))
                self._hang_up(slot)
            elif isinstance(item, End):
                self._hang_up(slot)

    def _note(self, slot: Slot, *lines: str) -> None:
        self._seen.setdefault(slot.name, []).extend(lines)


class Pair:
    """Two servers that should be alike, by their ports."""

    def __init__(self, first_port: int, second_port: int) -> None:
        self.ports = (first_port, second_port)
        self._runs = 0

    def play(self, actions: Sequence[Action], slots: int) -> Difference | None:
        """Send a run to both; None when no client could tell them apart."""
        self._runs += 1
        first, second = (Side(port, f"/f{self._runs}", slots) for port in self.ports)
        try:
            for index, action in enumerate(actions):
                first.start(action)
                second.start(action)
                if _goes_on(actions, index):
                    continue
                seen = first.settle(), second.settle()
                if action.act is Act.CLOSE:
                    seen = _in_any_order(seen[0]), _in_any_order(seen[1])
                if seen[0] != seen[1]:
                    return Difference(index, *seen)
            seen = first.survey(), second.survey()
            return None if seen[0] == seen[1] else Difference(len(actions), *seen)
        finally:
            first.finish()
            second.finish()


def _goes_on(actions: Sequence[Action], index: int) -> bool:
    """Whether the next action follows without a wait: the same slot's next request, but no auth.

    Apache answers auth on another thread, ahead of requests that were sent before it.
    """
    if not actions[index].is_pipelined or index + 1 == len(actions):
        return False
    one, other = actions[index], actions[index + 1]
    return one.slot == other.slot and _is_plain(one.request) and _is_plain(other.request)


def _is_plain(request: Request | None) -> bool:
    return request is not None and request.op is not Op.AUTH


def _in_any_order(seen: Seen) -> Seen:
    return {client: sorted(lines) for client, lines in seen.items()}
