"""Writes down what happens to a group, independent of its daemon.

Theory of operation. Every few milliseconds the witness takes the latest list of registrations, *then* looks
for new processes, then for dead ones, and writes records in the order: deaths, launches, registrations. So a
launch is recorded beside a live predecessor only if both lived when the new one was looked at, and a
registration never before its process. Faults are recorded before they strike, under the same lock.

Must never know: what the daemon says or believes.

Limits: what lives shorter than a look is not seen.
"""

from __future__ import annotations

import select
import signal
import threading
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from autohealer.contract import parse_znode_name
from autohealer.core.model import Incarnation
from tests.chaos.sightings import Sighting, Sightings
from tests.chaos.watcher import Watcher
from tests.support.history import (
    Deregistered,
    Emptied,
    Ended,
    Fault,
    Harm,
    Launched,
    Record,
    Registered,
    Relief,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_PAUSE_S = 0.01
_EXEC_WITHIN_S = 0.05


@dataclass(eq=False, slots=True)
class _Tree:
    """The live processes of one incarnation; `leader` is the one that was launched."""

    name: Incarnation
    leader: Sighting
    others: list[Sighting] = field(default_factory=list)
    leads: bool = True
    ever_registered: bool = False
    hit: bool = False
    unlisted_by: str | None = None
    """The fault that took its registration away and left the process alone: over when it registers again."""


class _Death(NamedTuple):
    """A process of a tree that ended."""

    tree: _Tree
    sighting: Sighting


class Witness(Watcher):
    """Keeps the history of one group; use it as a context manager."""

    def __init__(self, arena: str, group: str, names: Callable[[], frozenset[str] | None]) -> None:
        super().__init__("witness")
        self.complaints: list[str] = []
        self._history: list[Record] = []
        self._names = names
        self._group = group
        self._sightings = Sightings(arena, group)
        self._trees: dict[Incarnation, _Tree] = {}
        self._by_pidfd: dict[int, _Death] = {}
        self._poll = select.poll()
        self._registered: frozenset[Incarnation] = frozenset()
        self._gone: set[Incarnation] = set()
        self._lock = threading.RLock()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        for _, sighting in self._by_pidfd.values():
            self._sightings.forget(sighting)

    # --- what others ask and tell ---------------------------------------------------------------

    @property
    def history(self) -> list[Record]:
        """The records so far."""
        with self._lock:
            return list(self._history)

    @property
    def registered(self) -> frozenset[Incarnation]:
        """Who was registered the last time that could be known."""
        return self._registered

    def tell(self, record: Callable[[float], Record]) -> None:
        """Write down what somebody else did just now."""
        with self._lock:
            self._history.append(record(time.monotonic()))

    def targets(self) -> list[Incarnation]:
        """Workers that have registered, live, and were not hit yet, lowest slot first."""
        with self._lock:
            return sorted(
                tree.name
                for tree in self._trees.values()
                if tree.leads and tree.ever_registered and not tree.hit
            )

    def strike(self, kind: str, harm: Harm, name: Incarnation, number: int | None = None) -> bool:
        """Record a fault and send its signal, if any; False when the target is gone already."""
        with self._lock:
            tree = self._trees.get(name)
            if tree is None or not tree.leads:
                return False
            tree.hit = True
            tree.unlisted_by = kind if number is None else None
            self.tell(lambda at: Fault(at, kind, harm, name))
            return number is None or _send(tree.leader, number)

    def afflict(self, kind: str, harm: Harm, names: Iterable[Incarnation]) -> None:
        """Record that a fault of the surroundings hits these workers, which may be hit again."""
        for name in names:
            self.tell(partial(Fault, kind=kind, harm=harm, target=name))

    def relieve(self, kind: str, name: Incarnation, number: int | None = None) -> None:
        """Record that a fault is over for a worker and send its signal; one that is gone needs no relief."""
        with self._lock:
            tree = self._trees.get(name)
            if tree is None or not tree.leads or (number and not _send(tree.leader, number)):
                return
            tree.hit = False
            self.tell(lambda at: Relief(at, kind, name))

    def live(self) -> list[Incarnation]:
        """Every live worker."""
        with self._lock:
            return sorted(tree.name for tree in self._trees.values() if tree.leads)

    def flaws(self, replicas: int) -> list[str]:
        """Why the group is not whole: exactly `replicas` live, registered incarnations and nothing else."""
        with self._lock:
            live = {tree.name for tree in self._trees.values() if tree.leads}
            flaws = [f"{tree.name} is gone and left processes" for tree in self._torn()]
            flaws += [f"{name} is not registered" for name in sorted(live - self._registered)]
            flaws += [f"{name} is dead and registered" for name in sorted(self._registered - live)]
            slots = sorted(name.slot for name in live)
            return flaws if slots == list(range(replicas)) else [*flaws, f"slots {slots} live"]

    def live_pids(self) -> list[int]:
        """Every live process of the group."""
        with self._lock:
            return sorted(sighting.pid for _, sighting in self._by_pidfd.values())

    def look(self) -> None:
        """Take in what is true now."""
        names = self._names()
        with self._lock:
            new = self._see()
            dead: list[_Death] = []
            while died := self._died():
                dead += died
                new += self._see()  # what they had forked before they died
            self._bury([death for death in dead if death.tree not in new])
            for tree in new:
                self.tell(partial(Launched, name=tree.name, pid=tree.leader.pid))
            self._bury([death for death in dead if death.tree in new])
            if names is not None:
                self._compare(names)

    def look_carefully(self) -> None:
        """Look twice, with time between for what was forked to be exec'd."""
        self.look()
        self._over.wait(_EXEC_WITHIN_S)
        self.look()

    # --- looking --------------------------------------------------------------------------------

    def _watch(self) -> None:
        while not self._over.wait(_PAUSE_S):
            self.look()

    def _torn(self) -> list[_Tree]:
        return [tree for tree in self._trees.values() if not tree.leads]

    def _see(self) -> list[_Tree]:
        """Take in new processes; the trees that are new."""
        new = []
        for sighting in self._sightings.new():
            name = sighting.name
            if name in self._gone:
                self.complaints.append(f"I6: pid {sighting.pid} of {name} outlived its tree")
                continue
            tree = self._trees.get(name)
            if tree is None:
                tree = self._trees[name] = _Tree(name, sighting)
                new.append(tree)
            else:
                tree.others.append(sighting)
            self._by_pidfd[sighting.pidfd] = _Death(tree, sighting)
            self._poll.register(sighting.pidfd, select.POLLIN)
        return new

    def _died(self) -> list[_Death]:
        """Processes that ended since the last time."""
        deaths = []
        for pidfd, _ in self._poll.poll(0):
            self._poll.unregister(pidfd)
            death = self._by_pidfd.pop(pidfd)
            self._sightings.forget(death.sighting)
            deaths.append(death)
        return deaths

    def _bury(self, deaths: list[_Death]) -> None:
        for tree, sighting in deaths:
            if sighting is tree.leader:
                tree.leads = False
            else:
                tree.others.remove(sighting)
        for tree in dict.fromkeys(tree for tree, _ in deaths):
            self._tell_of_deaths(tree, fell=any(tree.leader is s for t, s in deaths if t is tree))

    def _tell_of_deaths(self, tree: _Tree, *, fell: bool) -> None:
        if fell:
            self.tell(lambda at: Ended(at, tree.name, len(tree.others)))
        elif not tree.leads and not tree.others:
            self.tell(lambda at: Emptied(at, tree.name))
        if not tree.leads and not tree.others:
            del self._trees[tree.name]
            self._gone.add(tree.name)

    def _compare(self, names: frozenset[str]) -> None:
        parsed = {name: parse_znode_name(name) for name in names}
        now = frozenset(
            Incarnation(name.slot, name.generation)
            for name in parsed.values()
            if name is not None and name.group == self._group
        )
        for name in sorted(self._registered - now):
            self.tell(partial(Deregistered, name=name))
        for name in sorted(now - self._registered):
            self.tell(partial(Registered, name=name))
            if (tree := self._trees.get(name)) is not None:
                self._note_registered(tree)
        self._registered = now

    def _note_registered(self, tree: _Tree) -> None:
        tree.ever_registered = True
        if tree.unlisted_by is not None:
            kind, tree.unlisted_by = tree.unlisted_by, None
            self.relieve(kind, tree.name)


def _send(sighting: Sighting, number: int) -> bool:
    try:
        signal.pidfd_send_signal(sighting.pidfd, number)
    except ProcessLookupError:
        return False
    return True
