"""Where a story plays: the world, the daemon of the moment, and the operator who starts, scales and stops it.

Theory of operation. At most one daemon lives. One that dies is started again after a while, as systemd would, but
while no store answers only if workers live; nothing that it knew reaches the next one. A daemon whose session is
cut, or whose store is away, is connected again when both are back.

A stage is one group's. Where one daemon keeps several groups, their stages know each other (`share_daemon`): its loops
begin and die together, while what strikes a session is to strike all stages at one moment.

Must never know: plans, what the oracle says.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from autohealer.core.completion import begun_again, fewest_wanted, newly_done
from autohealer.core.events import (
    DetachRequested,
    InvariantBroken,
    OverridesSet,
    ReplicasSet,
    RetryAsked,
    StopRequested,
    WorkerWasDone,
)
from autohealer.core.health import Check, HealthRules
from autohealer.core.model import Desired, Incarnation, Stop, Store
from autohealer.core.overrides import NO_OVERRIDES, Overrides
from autohealer.core.policy import Policy, Registrar, Restart
from autohealer.probes.notify import NotifyRules
from tests.simulation.daemons import DaemonKilled, Fuse, Session, SimulatedDaemon
from tests.simulation.voices import Voices
from tests.simulation.weighing import LARGE_BYTES
from tests.simulation.world import KNOWN_WITHIN_S, SESSION_S, World
from tests.support.history import (
    FROZEN,
    Closed,
    DaemonEnded,
    Farewell,
    Fault,
    Harm,
    Overridden,
    Relief,
    Respecified,
    Retried,
    StopAsked,
    Wanted,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autohealer.core.actions import Plan
    from autohealer.core.events import Event
    from autohealer.core.model import View
    from autohealer.daemon.ports import Observer
    from tests.simulation.luck import Luck
    from tests.simulation.witnessed import WitnessedStore

POLICY = Policy(
    settle_s=SESSION_S + 2.0,
    budget_burst=4,
    budget_burst_each=1,
    budget_per_s=1.0,
    budget_per_s_each=0.15,
    memory_restart_bytes=LARGE_BYTES // 2,
    memory_patience_s=5.0,
    memory_soon_s=20.0,
)
"""The defaults, with a budget that a storm among nine workers can spend, and less patience with large ones."""
WATCHDOG_S = 4.0
GENERATIONS_APART = 1_000_000
"""A later daemon's generations begin this much higher, as microseconds since the epoch do."""
RETRY_S = 1.0
"""A daemon that finds no store at its start is started again after this."""


def _health(*, asked: bool, notify: bool, watchdog: bool) -> HealthRules:
    """As `autohealer.settings` computes it."""
    checks = {Check.READINESS, Check.LIVENESS} if asked else set()
    checks |= {Check.NOTIFY} if notify else set()
    checks |= {Check.WATCHDOG} if watchdog else set()
    return HealthRules(frozenset(checks), WATCHDOG_S / 2 if watchdog else KNOWN_WITHIN_S)


class Stage:
    """The world and whoever acts in it besides workers."""

    def __init__(
        self,
        luck: Luck,
        replicas: int,
        observers: Sequence[Observer],
        registrar: Registrar = Registrar.SELF,
        restart: Restart = Restart.ALWAYS,
        *,
        asked: bool = False,
        notify: bool = False,
        watchdog: bool = False,
        group: str = "",
        store: WitnessedStore | None = None,
    ) -> None:
        """`group` is its name, and `store` what it looks at, where others play beside it."""
        self.group = group
        self._luck = luck
        self._all: tuple[Stage, ...] = (self,)
        self.world = (
            World(luck.of(group), registrar, asked=asked, group=group, store=store)
            if group
            else World(luck, registrar, asked=asked)
        )
        if notify or watchdog:
            start_s = POLICY.registration_timeout_s
            rules = NotifyRules(notify, start_s, WATCHDOG_S if watchdog else None)
            self.world.voices = Voices(self.world, rules)
        self._policy = replace(
            POLICY,
            registrar=registrar,
            restart=restart,
            health=_health(asked=asked, notify=notify, watchdog=watchdog),
        )
        self.replicas = replicas
        self.overrides = NO_OVERRIDES
        self._revisions = 0
        self.daemon: SimulatedDaemon | None = None
        self.is_cut = False
        self.farewell = Farewell.CRASHED
        self.accidents: list[str] = []
        self._observers = (self._note_done, *observers)
        self._done: dict[int, tuple[str, WorkerWasDone]] = {}
        self._daemons = 0
        self._is_frozen = False
        self._back_s = 0.0
        self.world.tell(Wanted(self.world.now, replicas))
        self.world.tell(Respecified(self.world.now, self._revision))

    @property
    def _revision(self) -> str:
        return f"revision {self._revisions}"

    @property
    def now(self) -> float:
        """The virtual time."""
        return self.world.now

    def disturb(self, kind: str, harm: Harm = Harm.DISTURBS) -> None:
        """Write a fault of the surroundings into the history."""
        self.world.tell(Fault(self.now, kind, harm))

    def relieve(self, kind: str) -> None:
        """Write its end."""
        self.world.tell(Relief(self.now, kind))

    # --- the daemon -----------------------------------------------------------------------------

    def start_daemon(self) -> None:
        """Start one, if none runs and a store answers or workers live; else try again later."""
        if any(stage.daemon is not None for stage in self._all):
            return
        if not self.world.store_up and not any(stage.world.workers() for stage in self._all):
            self.world.later(RETRY_S, self.start_daemon)
            return
        session, fuse = Session(), Fuse(self._daemon_killed)
        for stage in self._all:
            stage._start(session, fuse)

    def _start(self, session: Session, fuse: Fuse) -> None:
        """The part of a new daemon that keeps this stage's group."""
        self._daemons += 1
        self.farewell = Farewell.CRASHED
        self.is_cut = False
        daemon = SimulatedDaemon(
            self.world,
            self._policy,
            Desired(self.replicas, self._revision, overrides=self.overrides),
            GENERATIONS_APART * self._daemons,
            self._observers,
            fuse,
            session,
            self.group,
            [fact for revision, fact in self._done.values() if revision == self._revision],
        )
        self.daemon = daemon
        daemon.task.add_done_callback(lambda task: self._daemon_done(daemon, task))

    def _note_done(self, facts: Sequence[Event], plan: Plan, view: View) -> None:
        """What outlives a daemon, as `autohealer.assembly.completed` keeps it."""
        if (wanted := fewest_wanted(facts)) is not None:
            self._done = {slot: it for slot, it in self._done.items() if slot < wanted}
        for key in begun_again(facts, view, self._done):
            del self._done[key]
        for slot in newly_done(facts, view):
            name = Incarnation(slot.key, slot.generation)
            fact = WorkerWasDone(name, slot.reason, slot.has_failed)
            self._done[slot.key] = (view.desired.revision, fact)
        if plan.finished and view.desired.stop is not Stop.DETACH:
            self._done.clear()

    def kill_daemon(self, back_s: float) -> None:
        """Kill -9; the next one comes in a while."""
        for stage in self._all:
            stage._back_s = back_s
        self._daemon_killed()

    def cut_plan_short(self, actions: int, back_s: float) -> None:
        """The daemon is killed when it has taken so many more actions; the next one comes in a while."""
        for stage in self._all:
            stage._back_s = back_s
        if self.daemon is not None:
            self.daemon.fuse.actions_left = actions

    def _daemon_killed(self) -> None:
        """It is gone this very moment; the next one comes in a while."""
        for stage in self._all:
            stage._die()

    def _die(self) -> None:
        if self.daemon is None:
            return
        self.daemon.die()
        self._told_of_end(Farewell.CRASHED)
        self.world.later(self._back_s, self.start_daemon)

    def _daemon_done(self, daemon: SimulatedDaemon, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if error is not None and not isinstance(error, DaemonKilled):
            self.accidents.append(f"the daemon ended with {error!r}")
        if daemon.view.violations and not self._is_frozen:
            self.accidents.append(f"the decider froze: {daemon.view.violations}")
        if self.daemon is daemon:
            daemon.let_go()
            # One that is frozen leaves its workers to the next one, whatever is asked of it.
            self._told_of_end(Farewell.DETACHED if self._is_frozen else self.farewell)

    def _told_of_end(self, farewell: Farewell) -> None:
        self.daemon = None
        self.world.tell(DaemonEnded(self.now, farewell))
        if self._is_frozen:
            self._is_frozen = False
            self.relieve(FROZEN)

    def break_rules(self) -> bool:
        """What decides for the group finds a plan of its own unsound; false where it did before."""
        if self.daemon is None or self._is_frozen:
            return False
        self._is_frozen = True
        self.disturb(FROZEN, Harm.IMPAIRS)
        self.daemon.mailbox.put(InvariantBroken(("as the story wants it",)))
        return True

    # --- the operator ---------------------------------------------------------------------------

    def scale(self, replicas: int) -> None:
        """Another number is wanted."""
        self.replicas = replicas
        self.world.tell(Wanted(self.now, replicas))
        if self.daemon is not None:
            self.daemon.mailbox.put(ReplicasSet(replicas))

    def override(self, overrides: Overrides) -> None:
        """Other slots are to stand still, or others to be replaced; the next daemon knows of it, if none runs."""
        self.overrides = overrides
        self.world.tell(Overridden(self.now, overrides))
        if self.daemon is not None:
            self.daemon.mailbox.put(OverridesSet(overrides))

    def retry(self, slots: frozenset[int]) -> None:
        """What waits or is done is to be filled now; nobody hears of it if no daemon runs."""
        if self.daemon is not None:
            self.world.tell(Retried(self.now, slots))
            self.daemon.mailbox.put(RetryAsked(slots))

    def respecify(self) -> None:
        """Another program is wanted; the next daemon knows of it, if none runs."""
        self._revisions += 1
        self.world.tell(Respecified(self.now, self._revision))
        if self.daemon is not None:
            self.daemon.respecify(self._revision)

    def stop(self, *, force: bool = False) -> None:
        """Everything shall be gone."""
        if self.daemon is not None:
            self.farewell = Farewell.STOPPED
            self.world.tell(StopAsked(self.now, force))
            self.daemon.mailbox.put(StopRequested(force))

    def detach(self, back_s: float) -> None:
        """The daemon shall be gone and leave its workers; the next one comes in a while."""
        if self.daemon is not None and self.farewell is Farewell.CRASHED:
            self.farewell = Farewell.DETACHED
            self.daemon.mailbox.put(DetachRequested())
            self.world.later(back_s, self.start_daemon)

    # --- the store ------------------------------------------------------------------------------

    def cut(self, *, lost: bool = False) -> None:
        """The daemon's own connection goes, or its session."""
        self.is_cut = True
        if self.daemon is None:
            return
        if lost:
            self.daemon.registry.lose()
        else:
            self.daemon.registry.suspend()

    def mend(self) -> None:
        """The daemon's connection comes back, if a server answers."""
        self.is_cut = False
        self.reconnect()

    def reconnect(self) -> None:
        """Connect the daemon again unless something is still in the way."""
        if self.daemon is None or self.is_cut or not self.world.store_up:
            return
        if self.daemon.registry.state is not Store.CONNECTED:
            self.daemon.registry.connect()

    def store_goes(self) -> None:
        """No server answers anybody."""
        self.world.store_goes()
        if self.daemon is not None and not self.is_cut:
            self.daemon.registry.suspend()

    def store_returns(self) -> None:
        """Servers answer again; the daemon's client notices within a second."""
        self.world.store_returns()
        self.world.later(self._luck.share("reconnects", self._daemons), self.reconnect)

    # --- the end of the story -------------------------------------------------------------------

    def close(self) -> None:
        """Nothing happens here any more."""
        self.world.tell(Closed(self.now))
        if self.daemon is not None:
            self.daemon.die()
        if self.world.voices is not None:
            self.world.voices.close()


def share_daemon(stages: Sequence[Stage]) -> None:
    """One daemon keeps the groups of all these, each of another name, from before its first start on."""
    for stage in stages:
        stage._all = tuple(stages)
