"""What the machine knows of one client's connection.

Must never know: sockets, what time it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autohealer.zkserver.acl import Identities
    from autohealer.zkserver.effects import Moment
    from autohealer.zkserver.sessions import Session


@dataclass(frozen=True, slots=True)
class Served:
    """The last reply a connection got; `op` is a type as on the wire, None for its session."""

    op: int | None
    xid: int
    zxid: int
    at_ms: int


@dataclass(slots=True)
class Connection:
    """One client's connection, before and after it has a session."""

    id: int
    address: str
    identities: Identities
    port: int = 0
    stranger: int | None = None
    session: Session | None = None
    received_count: int = 0
    sent_count: int = 0
    since_wall_ms: int = 0
    last: Served | None = None
    proven_bytes: int = 0
    """What the identities it has proven take in memory, roughly."""

    def note(self, op: int, xid: int, zxid: int, now: Moment) -> None:
        """Remember the last reply for people to see; pings and the like have no xid of their own."""
        if self.last is not None and xid < 0:
            xid = self.last.xid
        self.last = Served(op, xid, zxid, now.monotonic_ms)
