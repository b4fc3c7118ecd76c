"""One group's part of a simulated daemon: the production loop, mailbox and executor on the world's host and store.

Theory of operation. The ports are the verified fakes; each call of a port burns one step of a fuse, and when it is
spent the daemon dies there: between any two actions of a plan, with everything it knew lost. Facts about
processes arrive a little late and in order, as the kernel's do. What the daemon's session sees is written into
the history at the moment the daemon can know it.

Of the groups that one daemon keeps each has a part of its own; they share the fuse, the session and what neighbours
tell each other.

Must never know: what faults are coming, the oracle.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from autohealer.core.children import Child
from autohealer.core.events import OverridesSet, ReplicasSet, SpecSet, StoreChanged, WorkersListed
from autohealer.core.model import Budget, Desired, Incarnation, Store, View
from autohealer.core.policy import Policy
from autohealer.daemon.executor import Executor
from autohealer.daemon.loop import Loop
from autohealer.daemon.mailbox import Mailbox
from autohealer.daemon.neighbours import Neighbours
from tests.simulation.agency import AgentPort
from tests.simulation.anonymity import SimulatedBinder
from tests.simulation.asking import Asker
from tests.simulation.hearing import Hearing
from tests.simulation.weighing import Weigher
from tests.support.fakes import FakeProcesses, FakeRegistry
from tests.support.history import DaemonStarted, Discarded, StoreIs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from autohealer.core.actions import Plan
    from autohealer.core.events import Event
    from autohealer.daemon.ports import Clock, Observer
    from tests.simulation.world import World

LATE_S = (0.0, 0.0, 0.0, 0.001, 0.03)
"""How late a fact about a process may come."""
AFTER_S = 1e-9
"""Between two facts in a row."""
AT_ONCE_S = 0.01
ROUNDS_AT_ONCE_MAX = 1000
"""More rounds than this within that time are a loop that keeps a processor busy for nothing."""


NOBODY = Incarnation(-1, 0)
"""Whose the registration of a foreigner is."""


class DaemonKilled(Exception):  # noqa: N818 - it is what happened
    """The daemon dies here."""


class Busy(AssertionError):  # noqa: N818 - says what is the case
    """The loop decides again and again at one instant."""


class Fuse:
    """Counts the actions a daemon has left to live; None: as many as it likes."""

    def __init__(self, blown: Callable[[], None]) -> None:
        self.actions_left: int | None = None
        self._blown = blown

    def burn(self) -> None:
        """An action is about to be carried out."""
        if self.actions_left is None:
            return
        if self.actions_left == 0:
            self._blown()
            raise DaemonKilled
        self.actions_left -= 1


class Session:
    """A daemon's session: its changes, which each group's registry sees at one moment, are told to all groups once."""

    def __init__(self) -> None:
        self.neighbours = Neighbours()
        self._changes = 0

    def changed(self, store: Store, number: int) -> None:
        """A group's registry saw its change of that number."""
        if number > self._changes:
            self._changes = number
            self.neighbours.store_changed(store)


class _Processes(FakeProcesses):
    """Burns the fuse; tells late, but in order."""

    def __init__(self, post: _Post, world: World, fuse: Fuse) -> None:
        super().__init__(post, world.host, world.born)
        self._fuse = fuse
        self._world = world
        self._told_at = 0.0
        self._starting = False
        self.about_to_launch: Callable[[Incarnation], None] = lambda _name: None

    def adopt_all(self) -> int:
        """At a start everything is told before the first decision."""
        self._starting = True
        found = super().adopt_all()
        self._starting = False
        return found

    def spawn(self, name: Incarnation) -> None:
        """Launch."""
        self._fuse.burn()
        self.about_to_launch(name)
        super().spawn(name)

    def terminate(self, name: Incarnation) -> None:
        """TERM."""
        self._fuse.burn()
        super().terminate(name)

    def abort(self, name: Incarnation) -> None:
        """ABRT."""
        self._fuse.burn()
        super().abort(name)

    def kill(self, name: Incarnation) -> None:
        """KILL."""
        self._fuse.burn()
        super().kill(name)

    def _soon(self, fact: Event) -> None:
        loop = asyncio.get_running_loop()
        at = loop.time() + (0.0 if self._starting else self._late_s(fact))
        if max(at, self._told_at) <= loop.time():
            super()._soon(fact)
            return
        # Of two timers for one instant the second may go off first.
        self._told_at = at if at > self._told_at else self._told_at + AFTER_S
        loop.call_at(self._told_at, self._post, fact)

    def _late_s(self, fact: Event) -> float:
        return self._world.luck.one_of(LATE_S, "late", type(fact), getattr(fact, "name", None))


class _Registry(FakeRegistry):
    """Burns the fuse."""

    def __init__(self, post: _Post, world: World, fuse: Fuse, clock: Clock) -> None:
        super().__init__(post, world.group, world.store, clock)
        self._fuse = fuse
        self._world = world

    def discard(self, name: Incarnation, child: Child | None = None) -> None:
        """Delete."""
        self._fuse.burn()
        whose = name if child is None else self._world.name_of(child.label)
        self._world.tell(Discarded(self._world.now, whose or NOBODY))
        super().discard(name, child)


class _Post:
    """Where a daemon's facts go, until it is dead."""

    def __init__(self, world: World, mailbox: Mailbox, session: Session) -> None:
        self.is_open = True
        self.last_list: WorkersListed | None = None
        self._world = world
        self._mailbox = mailbox
        self._session = session
        self._changes = 0

    def __call__(self, fact: Event) -> None:
        if not self.is_open:
            return
        if isinstance(fact, StoreChanged):
            self._world.tell(StoreIs(self._world.now, fact.store is Store.CONNECTED))
            self._changes += 1
            self._session.changed(fact.store, self._changes)
            return
        if isinstance(fact, WorkersListed):
            self.last_list = fact
        self._mailbox.put(fact)


class SimulatedDaemon:
    """Lives from its making until `task` is done or `die` is called."""

    def __init__(
        self,
        world: World,
        policy: Policy,
        desired: Desired,
        generation_base: int,
        observers: Sequence[Observer],
        fuse: Fuse,
        session: Session,
        group: str,
        done: Iterable[Event] = (),
    ) -> None:
        """`done` is what an earlier one has left word of."""
        self._world = world
        self._rounds_at, self._rounds = 0.0, 0
        self._read_at = world.now
        self.fuse = fuse
        self.mailbox = Mailbox()
        session.neighbours.join(group, self.mailbox)
        self._neighbours = session.neighbours
        self.post = _Post(world, self.mailbox, session)
        self.processes = _Processes(self.post, world, self.fuse)
        self.registry = _Registry(self.post, world, self.fuse, self._clock)
        self.agent = None if world.agent is None else AgentPort(world, world.agent, self.fuse.burn)
        self.asker = Asker(world, self.post)
        self.weigher = Weigher(world, self.post)
        self.hearing = None if world.voices is None else Hearing(world.voices, self.post)
        if self.hearing is not None:
            self.processes.about_to_launch = self.hearing.about_to_launch
        self.binder = (
            None
            if world.names is None
            else SimulatedBinder(world, world.names, self.processes, self.registry)
        )
        self.executor = Executor(
            self.processes, self.registry, self.post, self.mailbox.fail, self.agent, self.binder
        )
        self.view = View(
            policy=policy,
            budget=Budget(tokens=float(policy.budget_burst)),
            group=group,
            room=session.neighbours.room,
            generation_base=generation_base,
            now=world.now,
            desired=Desired(revision=desired.revision),
        )
        self.processes.revision = desired.revision
        world.watch = self.registry.changed
        for fact in (OverridesSet(desired.overrides), *done):
            self.mailbox.put(fact)
        self.mailbox.put(ReplicasSet(desired.replicas))
        world.tell(DaemonStarted(world.now))
        self._look_around()
        self.task = asyncio.get_running_loop().create_task(self._loop(observers).run())

    def _loop(self, observers: Sequence[Observer]) -> Loop:
        is_asked = self._world.asked or self.agent is not None
        return Loop(
            self.view,
            self.mailbox,
            self.executor,
            self._clock,
            [
                self._count_rounds,
                self._neighbours.observe,
                self.weigher.observe,
                *((self.asker.observe,) if is_asked else ()),
                *(() if self.hearing is None else (self.hearing.observe,)),
                *observers,
            ],
            gauge=lambda: 1.0,
        )

    def _clock(self) -> float:
        """A real clock moves between any two readings, if only by a nanosecond."""
        self._read_at = max(self._read_at + 1e-9, self._world.now)
        return self._read_at

    def _look_around(self) -> None:
        """Adopt and connect, in either order, as far as a store answers: both are known before the first decision."""
        if not self._world.store_up:
            self._world.tell(StoreIs(self._world.now, up=False))
            self._adopt()
        elif self._world.luck.share("adopts first", self.view.generation_base) < 0.5:
            self._adopt()
            self.registry.connect()
        else:
            self.registry.connect()
            self._adopt()

    def _adopt(self) -> None:
        self.processes.adopt_all()
        for fact in () if self.binder is None else self.binder.recalled():
            asyncio.get_running_loop().call_soon(self.post, fact)

    def respecify(self, revision: str) -> None:
        """Launch another revision from now on, and want it."""
        self.processes.revision = revision
        self.mailbox.put(SpecSet(revision, self.view.policy))

    def repeat_list(self) -> None:
        """The last list comes a second time."""
        if self.post.last_list is not None:
            self.post(self.post.last_list)

    def die(self) -> None:
        """Be killed; what was started lives on."""
        self.task.cancel()
        self.let_go()

    def let_go(self) -> None:
        """Nobody listens any more."""
        self.executor.cancel()
        self.processes.release()
        self.asker.close()
        if self.hearing is not None:
            self.hearing.close()
        self.post.is_open = False
        if self.agent is not None:
            self.agent.close()
        if self.binder is not None:
            self.binder.close()
        self._world.watch = lambda: None

    def _count_rounds(self, _facts: Sequence[Event], plan: Plan, _view: View) -> None:
        if self._rounds_at + AT_ONCE_S < self._world.now:
            self._rounds_at, self._rounds = self._world.now, 0
        self._rounds += 1
        if self._rounds > ROUNDS_AT_ONCE_MAX:
            raise Busy(f"more than {ROUNDS_AT_ONCE_MAX} rounds at {self._world.now}: {plan}")
