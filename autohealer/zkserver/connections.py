"""What the machine knows of one client's connection, and what it counts of all.

Must never know: sockets, what time it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from autohealer.zkserver.acl import Identities
    from autohealer.zkserver.effects import Moment
    from autohealer.zkserver.sessions import Session


@dataclass(slots=True)
class Totals:
    """Packets, handshakes and sessions that nobody kept, since the server started."""

    received_count: int = 0
    sent_count: int = 0
    handshake_count: int = 0
    expired_count: int = 0
    stalled_ms: int = 0


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

    job: Iterator[None] | None = None
    """The request under way: every step puts out some of its answer."""

    owed_bytes: int = 0
    """What is still to be put out of an answer that was begun."""

    held: list[bytes] = field(default_factory=list)
    """Events that wait for that."""

    held_bytes: int = 0

    def note(self, op: int, xid: int, zxid: int, now: Moment) -> None:
        """Remember the last reply for people to see; pings and the like have no xid of their own."""
        if self.last is not None and xid < 0:
            xid = self.last.xid
        self.last = Served(op, xid, zxid, now.monotonic_ms)
