"""The store of a simulated world: what appears there and what goes is written into the history.

Must never know: the daemon's view, plans, the oracle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.fakes import FakeStore
from tests.support.history import Deregistered, Registered

if TYPE_CHECKING:
    from tests.simulation.world import World


class WitnessedStore(FakeStore):
    """Writes history."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def create(self, label: str, raw: bytes, owner: int = 0) -> None:
        """A child appears."""
        super().create(label, raw, owner)
        if (name := self._world.name_of(label)) is not None:
            self._world.tell(Registered(self._world.now, name))

    def delete(self, label: str) -> bool:
        """A child vanishes."""
        was_there = super().delete(label)
        if was_there and (name := self._world.name_of(label)) is not None:
            self._world.tell(Deregistered(self._world.now, name))
        return was_there
