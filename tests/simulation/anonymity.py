"""Workers that register under names of their own: who made which child of `/workers`, and how a daemon finds out.

Theory of operation. Each registration is a sequential child of a new session. The server tells from where a session is
connected, so a look shows who made a child as long as its maker lives; a foreigner's is seen to be one. What the daemon
notes is there for the next one a moment later, unless it dies before.

Must never know: the daemon's view, plans, the oracle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from autohealer.core.children import Bond, Child, Sight
from autohealer.core.events import BondRemembered, ChildExamined
from autohealer.core.model import Incarnation, Store
from autohealer.core.strangers import Standing
from tests.support.fakes import FakeProcesses, FakeRegistry
from tests.support.virtual_time import pass_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.simulation.world import World

LOOKS_S = (0.0005, 0.002, 0.002, 0.03)
"""How long a look at a child may take."""
NOTED_S = 0.001


class Sequences:
    """What is true of names; `notes` is what the daemons of one host note, one after the other."""

    def __init__(self, numbers: Iterator[int]) -> None:
        """`numbers` are those of the store, for whoever makes a child there."""
        self.notes: tuple[Bond, ...] = ()
        self._numbers = numbers
        self._labels: dict[Incarnation, str] = {}
        self._makers: dict[str, Incarnation] = {}

    def next_label(self, maker: Incarnation | None) -> tuple[str, int]:
        """What the next child is called, and whose session makes it; None: a foreigner's."""
        number = next(self._numbers)
        label = f"worker_{number:010}"
        if maker is not None:
            self._labels[maker] = label
            self._makers[label] = maker
        return label, number

    def label_of(self, maker: Incarnation) -> str:
        """The last child that one made; empty where it never made one."""
        return self._labels.get(maker, "")

    def maker_of(self, label: str) -> Incarnation | None:
        """Who made a child."""
        return self._makers.get(label)


class SimulatedBinder:
    """The `Binder` port of one daemon."""

    def __init__(
        self, world: World, names: Sequences, processes: FakeProcesses, registry: FakeRegistry
    ) -> None:
        self._world = world
        self._names = names
        self._processes = processes
        self._registry = registry
        self._is_open = True

    async def look_at(self, label: str) -> ChildExamined | None:
        """Whose a child is, if it is there and can be asked for."""
        await pass_time(self._world.luck.one_of(LOOKS_S, "looks", label))
        child = self._world.store.made.get(label)
        if child is None or self._registry.state is not Store.CONNECTED:
            return None
        return ChildExamined(self._sight(child), Standing.UNKNOWN)

    def remember(self, bonds: Sequence[Bond]) -> None:
        """Note them, soon."""
        self._world.later(NOTED_S, lambda: self._note(tuple(bonds)))

    def recalled(self) -> list[BondRemembered]:
        """What the daemon before noted."""
        return [BondRemembered(bond, not self._lives(bond.name)) for bond in self._names.notes]

    def close(self) -> None:
        """The daemon is gone."""
        self._is_open = False

    def _note(self, bonds: tuple[Bond, ...]) -> None:
        if self._is_open:
            self._names.notes = bonds

    def _sight(self, child: Child) -> Sight:
        maker = self._names.maker_of(child.label)
        if maker is None:
            return self._sight_of_foreign(child)
        lives = self._lives(maker)
        return Sight(child, maker if lives else None, is_silent=not lives)

    def _sight_of_foreign(self, child: Child) -> Sight:
        """It may be that of another group's worker, of whom nothing is seen when it is dead."""
        makers = ((it, it.name_of(child.label)) for it in self._world.store.worlds)
        are_dead = [
            all(worker.name != name for worker in world.workers())
            for world, name in makers
            if name is not None
        ]
        return Sight(child, is_foreign=not any(are_dead), is_silent=any(are_dead))

    def _lives(self, name: Incarnation) -> bool:
        return any(process.name == name for process in self._world.workers())
