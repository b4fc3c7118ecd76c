"""Troubles of workers: they end, freeze, lose their sessions, start badly, or cannot be told from others.

Theory of operation. A trouble strikes at once and, where it lasts, sets its own end. What happens to a worker is
written into the history by the world.

Must never know: plans, the oracle.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle
from typing import TYPE_CHECKING

from autohealer.contract import encode_record
from autohealer.core.model import Exit
from tests.simulation.script import Whom, chosen
from tests.simulation.world import Temper
from tests.support.history import Fault, Harm

if TYPE_CHECKING:
    from tests.simulation.stage import Stage
    from tests.support.fakehost import FakeProcess

KILLED = Exit(signal=9)


def crash_now(stage: Stage, whom: Whom, exit_: Exit = KILLED) -> None:
    """Some of those that live end."""
    for worker in chosen(stage.world.workers(), whom):
        stage.world.crash(worker, exit_)


@dataclass(frozen=True, slots=True)
class Crash:
    """Workers end at once, by a signal or by themselves."""

    whom: Whom
    exit_: Exit = KILLED

    def strike(self, stage: Stage) -> None:
        """End them."""
        crash_now(stage, self.whom, self.exit_)


@dataclass(frozen=True, slots=True)
class Storm:
    """All end again and again, more often than the group's budget of restarts can pay for."""

    times: int
    between_s: float

    def strike(self, stage: Stage) -> None:
        """End all who serve, several times."""
        for number in range(self.times):
            stage.world.later(number * self.between_s, partial(_crash_serving, stage))


def _crash_serving(stage: Stage) -> None:
    for worker in stage.world.serving():
        stage.world.crash(worker)


@dataclass(frozen=True, slots=True)
class CrashNewborn:
    """Workers end before they have registered."""

    whom: Whom

    def strike(self, stage: Stage) -> None:
        """End them."""
        world = stage.world
        for worker in chosen([w for w in world.workers() if not world.is_registered(w)], self.whom):
            world.crash(worker)


@dataclass(frozen=True, slots=True)
class Freeze:
    """Workers are stopped at once, and go on after a time, one for each, or never.

    Not one that only its registration shows: that would go between a daemon's look at processes and its first list.
    """

    whom: Whom
    thaw_s: tuple[float | None, ...] = (None,)

    def strike(self, stage: Stage) -> None:
        """Stop them."""
        world = stage.world
        for worker, thaws_s in zip(
            chosen(world.workers(), self.whom), cycle(self.thaw_s), strict=False
        ):
            if worker.frozen or worker.overlooked:
                continue
            world.freeze(worker)
            if thaws_s is not None:
                world.later(thaws_s, partial(world.thaw, worker))


@dataclass(frozen=True, slots=True)
class LoseSessions:
    """Workers' sessions end at once while their processes live; each registers again after a time, one for each."""

    whom: Whom
    back_s: tuple[float, ...]

    def strike(self, stage: Stage) -> None:
        """End their sessions."""
        whom = chosen(stage.world.serving(), self.whom)
        for worker, back_s in zip(whom, cycle(self.back_s), strict=False):
            stage.world.lose_session(worker, back_s)


@dataclass(frozen=True, slots=True)
class IllBirths:
    """The next workers are slow, mute, deaf to TERM, short-lived, or leave a tree; some make room for them."""

    tempers: tuple[Temper, ...]
    crash: Whom = ()

    def strike(self, stage: Stage) -> None:
        """Lay out how they will be."""
        stage.world.tempers.extend(self.tempers)
        crash_now(stage, self.crash)


@dataclass(frozen=True, slots=True)
class ReusePid:
    """No daemon runs, a worker dies, a stranger gets its pid, and the dead one's znode is still there for a time."""

    whom: int
    back_s: float
    leaves_s: float
    tells_start: bool = True

    def strike(self, stage: Stage) -> None:
        """Have a stranger run in its place."""
        world = stage.world
        victims = chosen(world.workers(), (self.whom,))
        stage.kill_daemon(self.back_s)
        for worker in victims:
            record = world.host.record_of(worker)
            world.crash(worker)
            stranger = world.strange_process(worker.pid, worker.name)
            if not self.tells_start and world.is_registered(worker):
                # A foreign program that tells nothing but its pid.
                label = world.given(worker.name)
                world.store.children[label] = encode_record(replace(record, start=0))
            world.later(self.leaves_s, partial(_leave, stranger))


def _leave(stranger: FakeProcess) -> None:
    """Somebody else's process goes its own way."""
    stranger.host.processes.pop(stranger.pid, None)


@dataclass(frozen=True, slots=True)
class Unprovable:
    """Workers cannot be proven to be ours by the next daemon, until they prove it themselves, or end."""

    whom: Whom
    for_s: tuple[float, ...]
    back_s: float

    def strike(self, stage: Stage) -> None:
        """Hide whose they are, and have the next daemon come."""
        world = stage.world
        readable = [worker for worker in world.serving() if not worker.unreadable]
        for worker, for_s in zip(chosen(readable, self.whom), cycle(self.for_s), strict=False):
            world.blind(worker)
            world.later(for_s, partial(world.unblind, worker))
        stage.kill_daemon(self.back_s)


@dataclass(frozen=True, slots=True)
class Overlooked:
    """The next daemon does not find a worker among processes: only its registration shows it."""

    whom: int
    back_s: float

    def strike(self, stage: Stage) -> None:
        """Hide it, and have the next daemon come."""
        serving = stage.world.serving() if stage.world.store_up else []
        for worker in chosen(serving, (self.whom,)):
            worker.overlooked = not worker.unreadable
            if worker.overlooked:
                stage.world.tell(Fault(stage.now, "overlooked", Harm.DISTURBS, worker.name))
        stage.kill_daemon(self.back_s)


def is_overlooked(stage: Stage) -> bool:
    """Whether somebody is known to the store alone: who cannot ask it, or asks one that has forgotten, doubles him.

    Nobody can help that: neither processes nor registrations could show him.
    """
    return any(worker.overlooked for worker in stage.world.workers())
