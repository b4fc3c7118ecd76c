"""The store of a simulated world: what appears there and what goes is written into the history.

Must never know: the daemon's view, plans, the oracle.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from tests.support.fakes import FakeStore
from tests.support.history import Deregistered, Registered

if TYPE_CHECKING:
    from tests.simulation.world import World


class WitnessedStore(FakeStore):
    """Writes the history of each of the worlds that look at it; several do where a daemon keeps several groups."""

    def __init__(self) -> None:
        super().__init__()
        self.worlds: list[World] = []
        self.sequence = count(1)
        """Numbers children that are called by a number, and their sessions."""

    def of_no_other(self, world: World) -> list[str]:
        """The children that are a world's or nobody's."""
        others = [it for it in self.worlds if it is not world]
        return [label for label in self.children if all(it.name_of(label) is None for it in others)]

    def create(self, label: str, raw: bytes, owner: int = 0) -> None:
        """A child appears."""
        super().create(label, raw, owner)
        for world in self.worlds:
            if (name := world.name_of(label)) is not None:
                world.tell(Registered(world.now, name))

    def delete(self, label: str) -> bool:
        """A child vanishes."""
        was_there = super().delete(label)
        for world in self.worlds if was_there else ():
            if (name := world.name_of(label)) is not None:
                world.tell(Deregistered(world.now, name))
        return was_there
