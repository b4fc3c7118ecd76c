"""Troubles of what is around workers: the store, the daemon and its session, launches, strangers, the operator.

Theory of operation. What such a trouble is called and whom it harms it writes into the history itself, and its relief.
They overlap as chance has it; a second outage during the first is no trouble at all.

Must never know: plans, the oracle.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING

from autohealer.core.model import Incarnation
from tests.simulation.faults import crash_now, is_overlooked
from tests.simulation.script import Whom, chosen
from tests.simulation.world import REJOINS_WITHIN_S
from tests.support.history import NO_LIST, Harm

if TYPE_CHECKING:
    from tests.simulation.stage import Stage

ELSEWHERE = b'{"v":1,"pid":7,"start":1,"boot":"other","host":"there"}'
"""A registration of somebody on another host."""


@dataclass(frozen=True, slots=True)
class ForkFailure:
    """Nothing can be launched for a while; some make room for launches."""

    lasts_s: float
    crash: Whom = ()

    def strike(self, stage: Stage) -> None:
        """Break launches."""
        if stage.world.host.broken:
            return
        stage.world.host.broken = "fork: Resource temporarily unavailable"
        stage.disturb("fork failure", Harm.IMPAIRS)
        stage.world.later(self.lasts_s, partial(self._over, stage))
        crash_now(stage, self.crash)

    def _over(self, stage: Stage) -> None:
        stage.world.host.broken = ""
        stage.relieve("fork failure")


class Return(Enum):
    """How a store comes back."""

    WHOLE = "whole"
    FORGETFUL = "half of the sessions are gone"
    EXPIRED = "all sessions are given up soon after"
    EMPTY = "empty"


@dataclass(frozen=True, slots=True)
class Outage:
    """No server answers for a while; workers may end meanwhile."""

    lasts_s: float
    comes_back: Return = Return.WHOLE
    expires_s: float = 0.0
    crash: Whom = ()
    crash_s: float = 0.0

    def strike(self, stage: Stage) -> None:
        """Take the store away."""
        if not stage.world.store_up or is_overlooked(stage):
            return
        stage.disturb("outage", Harm.HIDES)
        stage.store_goes()
        stage.world.later(self.lasts_s, partial(self._over, stage))
        if self.crash:
            stage.world.later(self.crash_s, partial(crash_now, stage, self.crash))

    def _over(self, stage: Stage) -> None:
        world = stage.world
        old = [worker for worker in world.workers() if world.is_registered(worker)]
        stage.store_returns()
        match self.comes_back:
            case Return.WHOLE:
                pass
            case Return.FORGETFUL:
                world.sessions_end(old[::2])
            case Return.EXPIRED:
                world.later(self.expires_s, lambda: world.sessions_end(old))
            case Return.EMPTY:
                world.wipe()
        world.later(self.expires_s + REJOINS_WITHIN_S + 1.0, lambda: stage.relieve("outage"))


@dataclass(frozen=True, slots=True)
class CutDaemon:
    """The daemon alone loses its connection or its session."""

    lasts_s: float
    lost: bool = False

    def strike(self, stage: Stage) -> None:
        """Cut it off."""
        if stage.daemon is None or stage.is_cut or is_overlooked(stage):
            return
        stage.disturb("cut", Harm.HIDES)
        stage.cut(lost=self.lost)
        stage.world.later(self.lasts_s, partial(self._over, stage))

    def _over(self, stage: Stage) -> None:
        stage.mend()
        stage.relieve("cut")


@dataclass(frozen=True, slots=True)
class LoseWatch:
    """A watch is lost: the next change goes unnoticed until the slow resync."""

    lasts_s: float

    def strike(self, stage: Stage) -> None:
        """Make the daemon deaf."""
        daemon = stage.daemon
        if daemon is None or daemon.registry.deaf:
            return
        kind = f"deaf from {stage.now:.4f}"  # the next daemon may be deaf before this is over
        stage.disturb(kind, Harm.HIDES)
        daemon.registry.deaf = True

        def over() -> None:
            daemon.registry.deaf = False
            daemon.registry.resync()
            stage.relieve(kind)

        stage.world.later(self.lasts_s, over)


@dataclass(frozen=True, slots=True)
class LateLists:
    """Lists of registrations are old when they arrive, from now on."""

    lag_s: float

    def strike(self, stage: Stage) -> None:
        """Have them come late."""
        stage.disturb("late lists")
        if stage.daemon is not None:
            stage.daemon.registry.lag_s = self.lag_s


@dataclass(frozen=True, slots=True)
class RepeatList:
    """The last list comes again."""

    def strike(self, stage: Stage) -> None:
        """Send it."""
        stage.disturb("repeated list")
        if stage.daemon is not None:
            stage.daemon.repeat_list()


@dataclass(frozen=True, slots=True)
class KillDaemon:
    """The daemon dies; workers may die while none runs."""

    back_s: float
    crash: Whom = ()
    crash_s: float = 0.0

    def strike(self, stage: Stage) -> None:
        """Kill it."""
        stage.kill_daemon(self.back_s)
        if self.crash:
            stage.world.later(self.crash_s, partial(crash_now, stage, self.crash))


@dataclass(frozen=True, slots=True)
class CutPlanShort:
    """The daemon dies between two actions of a plan, while something is being healed."""

    actions: int
    back_s: float
    crash: Whom = ()

    def strike(self, stage: Stage) -> None:
        """Light the fuse."""
        if stage.daemon is not None:
            stage.disturb("fuse")
            stage.cut_plan_short(self.actions, self.back_s)
            crash_now(stage, self.crash)


@dataclass(frozen=True, slots=True)
class StrangeRegistration:
    """Somebody else registers, by hand, from another host or with garbage; or takes that back."""

    label: str
    raw: bytes = b""

    def strike(self, stage: Stage) -> None:
        """Create it, or delete it."""
        stage.disturb("strange registration")
        store = stage.world.store
        if self.label not in store.children:
            store.create(self.label, self.raw)
        else:
            store.delete(self.label)
        stage.world.changed()


@dataclass(frozen=True, slots=True)
class ForeignChild:
    """Somebody else registers as workers do, while replacements of some that end are on their way, and goes again."""

    crash: Whom
    after_s: float
    lasts_s: float

    def strike(self, stage: Stage) -> None:
        """End some, and have it come and go."""
        stage.disturb("foreign child")
        crash_now(stage, self.crash)
        stage.world.later(self.after_s, partial(_come_and_go, stage, self.lasts_s))


def _come_and_go(stage: Stage, lasts_s: float) -> None:
    label = stage.world.register_foreigner()

    def go() -> None:
        if stage.world.store.delete(label):
            stage.world.changed()

    stage.world.later(lasts_s, go)


@dataclass(frozen=True, slots=True)
class NameTaken:
    """Somebody elsewhere registers under the name that comes next, goes, and comes back when it lies behind."""

    whom: int
    crash_s: float
    gone_s: float

    def strike(self, stage: Stage) -> None:
        """Take it, and have its time come."""
        world = stage.world
        for worker in chosen(world.workers(), (self.whom,)):
            stage.disturb("name taken")
            name = worker.name
            label = world.given(Incarnation(name.slot, name.generation + 1))
            if label in world.store.children:
                return
            come, go = partial(_come, stage, label), partial(_go, stage, label)
            come()
            world.later(self.crash_s, partial(world.crash, worker))
            world.later(4.0, go)
            world.later(5.0, come)
            world.later(self.gone_s, go)


def _come(stage: Stage, label: str) -> None:
    if label not in stage.world.store.children:
        stage.world.store.create(label, ELSEWHERE)
        stage.world.changed()


def _go(stage: Stage, label: str) -> None:
    if stage.world.store.children.get(label) == ELSEWHERE:
        stage.world.store.delete(label)
        stage.world.changed()


@dataclass(frozen=True, slots=True)
class ListFails:
    """The store is connected and cannot be listed for a while."""

    lasts_s: float

    def strike(self, stage: Stage) -> None:
        """Refuse lists."""
        daemon = stage.daemon
        if daemon is None or daemon.registry.unlistable or is_overlooked(stage):
            return
        kind = (
            f"{NO_LIST} from {stage.now:.4f}"  # the next daemon may have none before this is over
        )
        stage.disturb(kind, Harm.HIDES)
        daemon.registry.unlistable = "/workers may not be read"
        daemon.registry.resync()

        def over() -> None:
            daemon.registry.unlistable = ""
            daemon.registry.resync()
            stage.relieve(kind)

        stage.world.later(self.lasts_s, over)


@dataclass(frozen=True, slots=True)
class WipeRegistry:
    """Somebody deletes `/workers` with all that is in it; every worker registers again."""

    def strike(self, stage: Stage) -> None:
        """Delete it."""
        daemon = stage.daemon
        if daemon is None or not stage.world.store_up or is_overlooked(stage):
            return
        stage.disturb("wiped", Harm.HIDES)
        daemon.registry.wiped()
        stage.world.wipe()
        stage.world.later(REJOINS_WITHIN_S + 3.0, lambda: stage.relieve("wiped"))


@dataclass(frozen=True, slots=True)
class Scale:
    """The operator wants another number."""

    replicas: int

    def strike(self, stage: Stage) -> None:
        """Ask for it."""
        stage.scale(self.replicas)


@dataclass(frozen=True, slots=True)
class Respecify:
    """The operator wants another program."""

    def strike(self, stage: Stage) -> None:
        """Ask for it."""
        stage.respecify()


@dataclass(frozen=True, slots=True)
class Detach:
    """The operator wants the daemon gone and its workers left; the next one comes in a while."""

    back_s: float

    def strike(self, stage: Stage) -> None:
        """Ask for it."""
        stage.detach(self.back_s)
