"""Who may use the server: its own user and root, or everybody where it was opened.

Theory of operation. The client's socket is looked up in the kernel (`endpoints`) before a byte is read. What cannot
be told is refused. Our own end is looked at last: as long as that is connected no other socket can be at the other
end, so a port that was given to somebody else in between is noticed.

Must never know: the protocol, what the client wants.
Limits: a client on another machine, behind a proxy or in another network namespace is nobody's, so it is refused
unless the server is open to all.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autohealer.zkserver.endpoints import (
    Kernel,
    Pair,
    TcpState,
    UnknownOwnerError,
    address_of,
    is_loopback,
    state_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autohealer.zkserver.endpoints import Endpoint

ROOT = 0

REMEDY = "use the server's own user or root, or open it to all (--open-to-all, --zookeeper-open)"


@dataclass(frozen=True, slots=True)
class Admitted:
    """It may come in; `stranger` is the user's id, None for the server's own user and root."""

    stranger: int | None


@dataclass(frozen=True, slots=True)
class Refused:
    """It may not; the sentence is for the log."""

    why: str


@dataclass(frozen=True, slots=True)
class Gone:
    """The client has hung up already."""


Verdict = Admitted | Refused | Gone

_CONNECTED = frozenset({TcpState.ESTABLISHED, TcpState.CLOSE_WAIT})
"""The client is there, or has only said that it sends no more."""

NOWHERE = -1
"""The 'user' of clients whose user is not known, where the server is open to all."""


class Doorkeeper:
    """Judges new connections. `close` it."""

    def __init__(self, kernel: Kernel, own_uid: int, *, is_open: bool) -> None:
        self._kernel = kernel
        self._own_uid = own_uid
        self._is_open = is_open

    @property
    def is_quick(self) -> bool:
        """Whether judging one connection costs microseconds; else many should be judged together."""
        return self._kernel.is_quick

    def close(self) -> None:
        """Judge no more."""
        self._kernel.close()

    def judge(self, connections: Sequence[socket.socket]) -> list[Verdict]:
        """A verdict for each."""
        pairs = [_pair_of(each) for each in connections]
        local = [pair for pair in pairs if pair is not None and is_loopback(pair.near)]
        try:
            found = dict(zip(local, self._kernel.find(local), strict=True))
        except UnknownOwnerError as error:
            return [self._unknown(str(error)) for _ in connections]
        return [
            self._verdict(each, pair, found) for each, pair in zip(connections, pairs, strict=True)
        ]

    def _verdict(
        self, connection: socket.socket, pair: Pair | None, found: dict[Pair, Endpoint | None]
    ) -> Verdict:
        if pair is None or state_of(connection) not in _CONNECTED:
            return Gone()
        if pair not in found:
            return self._unknown("it does not come over the loopback address")
        end = found[pair]
        if end is None:
            return self._unknown("its socket is not to be found on this machine")
        return self._verdict_on(end)

    def _verdict_on(self, end: Endpoint) -> Verdict:
        if not end.is_open or end.state in {TcpState.SYN_SENT, TcpState.TIME_WAIT}:
            return Gone()
        if self._kernel.is_nobody(end.uid):
            return self._unknown("its user has no id in this user namespace")
        if end.uid in {self._own_uid, ROOT}:
            return Admitted(None)
        if self._is_open:
            return Admitted(end.uid)
        return Refused(
            f"refused a client of user {end.uid}: the server is of user {self._own_uid}; {REMEDY}"
        )

    def _unknown(self, why: str) -> Verdict:
        if self._is_open:
            return Admitted(NOWHERE)
        return Refused(f"refused a client whose user cannot be told ({why}); {REMEDY}")


def _pair_of(connection: socket.socket) -> Pair | None:
    """The client's end; None when it is gone."""
    try:
        near, far = connection.getpeername(), connection.getsockname()
    except OSError:
        return None
    return Pair(address_of(*near[:2]), address_of(*far[:2]))
