"""What goes into and comes out of the machine besides frames: moments, effects, the ledger.

Must never know: how an effect is carried out, where a ledger keeps things.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autohealer.zkserver.txn import Txn


class Moment(NamedTuple):
    """One reading of both clocks: monotonic for expiry, wall (since 1970) for what clients see."""

    monotonic_ms: int
    wall_ms: int


class Send(NamedTuple):
    """Send a body to a connection; the shell puts the length in front."""

    connection: int
    body: bytes


class Part(NamedTuple):
    """Send bytes as they are: some of a frame that is longer; the first has its length in front."""

    connection: int
    data: bytes


class Tell(NamedTuple):
    """Send one body to several connections."""

    connections: Sequence[int]
    body: bytes


class Drop(NamedTuple):
    """Close a connection after what was sent; `reason` is None when the client asked for it."""

    connection: int
    reason: str | None


Effect: TypeAlias = Send | Part | Tell | Drop


class Ledger(Protocol):
    """Where transactions are kept before they are applied."""

    def record(self, txn: Txn) -> bool:
        """Keep it; False when that is impossible, and then it is not applied."""

    def fall_behind(self) -> None:
        """A transaction that could not be kept is applied nevertheless."""
