"""The faults a story is made of: each a named blow to a stage, with its record in the history.

Theory of operation. A fault strikes at once and, where it lasts, sets its own end; what a fault of the
surroundings is called and harms is written by the fault itself, what happens to a worker by the world. Faults
overlap as chance has it; a second outage during the first is no fault at all.

Must never know: plans, the oracle.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from autohealer.contract import encode_record
from autohealer.core.model import Exit
from tests.simulation.stage import POLICY, Stage
from tests.simulation.world import REJOINS_WITHIN_S, SESSION_S, Temper
from tests.support.history import Fault, Harm

if TYPE_CHECKING:
    from tests.support.fakehost import FakeProcess

Strike = Callable[[Stage, random.Random], None]

LAG_MAX_S = 0.2
DEAF_S = (2.0, 37.5)
"""The registry lists again after at most this long, whatever watch was lost."""
REPLICAS_MAX = 9


def _one(stage: Stage, rng: random.Random) -> FakeProcess | None:
    workers = stage.world.workers()
    return rng.choice(workers) if workers else None


def crash(stage: Stage, rng: random.Random) -> None:
    """One worker ends, by a signal or by itself."""
    if worker := _one(stage, rng):
        stage.world.crash(worker, rng.choice((Exit(signal=9), Exit(code=1), Exit(code=0))))


def crash_several(stage: Stage, rng: random.Random) -> None:
    """Several end at once."""
    workers = stage.world.workers()
    for worker in rng.sample(workers, rng.randint(0, len(workers))):
        stage.world.crash(worker)


def storm(stage: Stage, rng: random.Random) -> None:
    """All end again and again, more often than the group's budget of restarts can pay for."""
    between_s = rng.uniform(0.3, 0.6)
    for number in range(5):
        stage.world.later(number * between_s, lambda: _crash_all(stage))


def _crash_all(stage: Stage) -> None:
    for worker in stage.world.serving():
        stage.world.crash(worker)


def crash_newborn(stage: Stage, rng: random.Random) -> None:
    """One ends before it has registered."""
    young = [w for w in stage.world.workers() if not stage.world.is_registered(w)]
    if young:
        stage.world.crash(rng.choice(young))


def freeze(stage: Stage, rng: random.Random) -> None:
    """One is stopped, and goes on some time later or never."""
    worker = _one(stage, rng)
    if worker is None or worker.frozen:
        return
    stage.world.freeze(worker)
    if rng.random() < 0.6:
        stage.world.later(rng.uniform(0.2, 2 * SESSION_S), lambda: stage.world.thaw(worker))


def freeze_several(stage: Stage, rng: random.Random) -> None:
    """Several are stopped at once."""
    for _ in range(rng.randint(2, 5)):
        freeze(stage, rng)


def lose_session(stage: Stage, rng: random.Random) -> None:
    """One worker's session ends; it registers again."""
    if serving := stage.world.serving():
        stage.world.lose_session(rng.choice(serving))


def lose_many_sessions(stage: Stage, rng: random.Random) -> None:
    """Many workers' sessions end at once while their processes live."""
    serving = stage.world.serving()
    for worker in rng.sample(serving, rng.randint(len(serving) // 2, len(serving))):
        stage.world.lose_session(worker)


def ill_births(stage: Stage, rng: random.Random) -> None:
    """The next workers are slow, mute, deaf to TERM, short-lived, or leave a tree that may resist."""
    tempers = [
        Temper(registers_after_s=rng.uniform(2.0, 25.0)),
        Temper(registers_after_s=None),
        Temper(ignores_term=True),
        Temper(registers_after_s=None, dies_after_s=rng.uniform(0.0, 2.0)),
        Temper(dies_after_s=rng.uniform(0.3, 20.0)),
        Temper(tree=rng.randint(1, 3)),
        Temper(tree=1, resists_s=rng.uniform(1.0, 40.0)),
        Temper(tree=2, lingers=True),
        Temper(tree=1, ignores_term=True, dies_after_s=rng.uniform(0.0, 5.0)),
    ]
    stage.world.tempers.extend(rng.choices(tempers, k=rng.randint(1, 4)))
    if rng.random() < 0.7:
        crash_several(stage, rng)


def broken_program(stage: Stage, rng: random.Random) -> None:
    """One slot's workers die before they are ready, many times over."""
    dies = Temper(registers_after_s=None, dies_after_s=rng.uniform(0.0, 0.3))
    stage.world.tempers.extend([dies] * rng.randint(3, 12))
    crash(stage, rng)


def fork_failure(stage: Stage, rng: random.Random) -> None:
    """Nothing can be launched for a while."""
    if stage.world.host.broken:
        return
    stage.world.host.broken = "fork: Resource temporarily unavailable"
    stage.disturb("fork failure", Harm.IMPAIRS)

    def over() -> None:
        stage.world.host.broken = ""
        stage.relieve("fork failure")

    stage.world.later(rng.choice((0.05, 1.0, 20.0)), over)
    if rng.random() < 0.7:
        crash_several(stage, rng)


def outage(stage: Stage, rng: random.Random) -> None:
    """No server answers, for a moment to three sessions; it returns with all sessions, with some, or empty."""
    if not stage.world.store_up or _is_overlooked(stage):
        return
    stage.disturb("outage", Harm.HIDES)
    stage.store_goes()
    comes_back = rng.choice(("whole", "whole", "forgetful", "expired", "empty"))

    def over() -> None:
        old = [w for w in stage.world.workers() if stage.world.is_registered(w)]
        stage.store_returns()
        if comes_back == "forgetful":
            stage.world.sessions_end(rng.sample(old, len(old) // 2))
        elif comes_back == "expired":
            stage.world.later(rng.uniform(0.0, 2.0), lambda: stage.world.sessions_end(old))
        elif comes_back == "empty":
            stage.world.wipe()
        stage.world.later(REJOINS_WITHIN_S + 3.0, lambda: stage.relieve("outage"))

    stage.world.later(rng.choice((0.05, 1.0, SESSION_S, 3 * SESSION_S)), over)
    if rng.random() < 0.4:
        stage.world.later(rng.uniform(0.0, SESSION_S), lambda: crash_several(stage, rng))


def cut_daemon(stage: Stage, rng: random.Random) -> None:
    """The daemon alone loses its connection or its session."""
    if stage.daemon is None or stage.is_cut or _is_overlooked(stage):
        return
    stage.disturb("cut", Harm.HIDES)
    stage.cut(lost=rng.random() < 0.4)

    def over() -> None:
        stage.mend()
        stage.relieve("cut")

    stage.world.later(rng.choice((0.0, 0.01, 1.0, 12.0)), over)


def lose_watch(stage: Stage, rng: random.Random) -> None:
    """A watch is lost: the next change goes unnoticed until the slow resync."""
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

    stage.world.later(rng.uniform(*DEAF_S), over)


def late_lists(stage: Stage, rng: random.Random) -> None:
    """Lists of registrations are old when they arrive, from now on."""
    stage.disturb("late lists")
    if stage.daemon is not None:
        stage.daemon.registry.lag_s = rng.uniform(0.0, LAG_MAX_S)


def repeat_list(stage: Stage, rng: random.Random) -> None:
    """The last list comes again."""
    stage.disturb("repeated list")
    if stage.daemon is not None:
        stage.daemon.repeat_list()


def kill_daemon(stage: Stage, rng: random.Random) -> None:
    """The daemon dies; often a worker dies while none runs."""
    stage.kill_daemon()
    if rng.random() < 0.5:
        stage.world.later(rng.uniform(0.0, 1.0), lambda: crash(stage, rng))


def cut_plan_short(stage: Stage, rng: random.Random) -> None:
    """The daemon dies between two actions of a plan, while something is being healed."""
    if stage.daemon is not None:
        stage.disturb("fuse")
        stage.daemon.fuse.actions_left = rng.randint(0, 4)
        crash_several(stage, rng)


def reuse_pid(stage: Stage, rng: random.Random) -> None:
    """No daemon runs, a worker dies, a stranger gets its pid, and the dead one's znode is still there."""
    worker = _one(stage, rng)
    stage.kill_daemon()
    if worker is None:
        return
    world = stage.world
    record = world.host.record_of(worker)
    world.crash(worker)
    stranger = world.strange_process(worker.pid, worker.name)
    if rng.random() < 0.3 and world.is_registered(worker):
        # A foreign program that tells nothing but its pid.
        label = f"web-{worker.name.slot}-{worker.name.generation}"
        world.store.children[label] = encode_record(replace(record, start=0))
    world.later(rng.uniform(5.0, 60.0), lambda: _leave(stranger))


def _leave(stranger: FakeProcess) -> None:
    """Somebody else's process goes its own way."""
    stranger.host.processes.pop(stranger.pid, None)


def strange_registration(stage: Stage, rng: random.Random) -> None:
    """Somebody else registers: by hand, from another host, or with garbage."""
    stage.disturb("strange registration")
    label = rng.choice(
        (f"manual-there-{rng.randint(1, 9)}-s1", "rubbish", f"web-{rng.randint(0, 9)}-7", "db-1-5")
    )
    raw = rng.choice((b"", b'{"pid":7}', b'{"pid":7,"start":1,"boot":"other","host":"there"}'))
    if label not in stage.world.store.children:
        stage.world.store.create(label, raw)
    else:
        stage.world.store.delete(label)
    stage.world.changed()


def unprovable(stage: Stage, rng: random.Random) -> None:
    """Some workers cannot be proven to be ours by the next daemon, until they prove it themselves, or end."""
    workers = [worker for worker in stage.world.serving() if not worker.unreadable]
    for worker in rng.sample(workers, min(len(workers), rng.randint(1, 3))):
        stage.world.blind(worker)
        stage.world.later(rng.uniform(1.0, DEAF_S[1]), partial(stage.world.unblind, worker))
    stage.kill_daemon()


def overlooked(stage: Stage, rng: random.Random) -> None:
    """The next daemon does not find a worker among processes: only its registration shows it."""
    serving = stage.world.serving() if stage.world.store_up else []
    if serving:
        worker = rng.choice(serving)
        worker.overlooked = not worker.unreadable
        if worker.overlooked:
            stage.world.tell(Fault(stage.now, "overlooked", Harm.DISTURBS, worker.name))
    stage.kill_daemon()


def _is_overlooked(stage: Stage) -> bool:
    """Whether somebody is known to the store alone: who cannot ask it then doubles him, and nobody can help that."""
    return any(worker.overlooked for worker in stage.world.workers())


def name_taken(stage: Stage, rng: random.Random) -> None:
    """Somebody elsewhere registers under the name that comes next, goes, and comes back when it lies behind."""
    worker = _one(stage, rng)
    if worker is None:
        return
    stage.disturb("name taken")
    world = stage.world
    label = f"web-{worker.name.slot}-{worker.name.generation + 1}"
    if label in world.store.children:
        return
    raw = b'{"v":1,"pid":7,"start":1,"boot":"other","host":"there"}'

    def come() -> None:
        world.store.create(label, raw)
        world.changed()

    def go() -> None:
        if world.store.children.get(label) == raw:
            world.store.delete(label)
            world.changed()

    come()
    world.later(rng.uniform(0.5, 2.0), lambda: world.crash(worker))
    world.later(4.0, go)
    world.later(5.0, lambda: None if label in world.store.children else come())
    world.later(rng.uniform(6.0, 20.0), go)


def list_fails(stage: Stage, rng: random.Random) -> None:
    """The store is connected and cannot be listed for a while."""
    daemon = stage.daemon
    if daemon is None or daemon.registry.unlistable or _is_overlooked(stage):
        return
    kind = f"no list from {stage.now:.4f}"  # the next daemon may have none before this is over
    stage.disturb(kind, Harm.HIDES)
    daemon.registry.unlistable = "/workers may not be read"
    daemon.registry.resync()

    def over() -> None:
        daemon.registry.unlistable = ""
        daemon.registry.resync()
        stage.relieve(kind)

    stage.world.later(rng.uniform(*DEAF_S), over)


def wipe_registry(stage: Stage, rng: random.Random) -> None:
    """Somebody deletes `/workers` with all that is in it; every worker registers again."""
    daemon = stage.daemon
    if daemon is None or not stage.world.store_up:
        return
    stage.disturb("wiped", Harm.HIDES)
    daemon.registry.wiped()
    stage.world.wipe()
    stage.world.later(REJOINS_WITHIN_S + 3.0, lambda: stage.relieve("wiped"))


def scale(stage: Stage, rng: random.Random) -> None:
    """The operator wants another number."""
    stage.scale(rng.randint(1, REPLICAS_MAX))


def detach(stage: Stage, rng: random.Random) -> None:
    """The operator wants the daemon gone and its workers left."""
    stage.detach()


FAULTS: dict[str, tuple[int, Strike]] = {
    "crash": (8, crash),
    "crash several": (4, crash_several),
    "storm": (1, storm),
    "crash newborn": (3, crash_newborn),
    "freeze": (6, freeze),
    "freeze several": (2, freeze_several),
    "lose session": (3, lose_session),
    "lose many sessions": (4, lose_many_sessions),
    "ill births": (5, ill_births),
    "broken program": (1, broken_program),
    "fork failure": (2, fork_failure),
    "outage": (5, outage),
    "cut daemon": (4, cut_daemon),
    "lose watch": (2, lose_watch),
    "late lists": (2, late_lists),
    "repeat list": (2, repeat_list),
    "kill daemon": (3, kill_daemon),
    "cut plan short": (5, cut_plan_short),
    "reuse pid": (2, reuse_pid),
    "strange registration": (1, strange_registration),
    "unprovable": (2, unprovable),
    "overlooked": (1, overlooked),
    "name taken": (1, name_taken),
    "list fails": (1, list_fails),
    "wipe registry": (1, wipe_registry),
    "scale": (2, scale),
    "detach": (2, detach),
}
"""Each fault with how often it comes compared with the others."""


def recovery_bound_s(replicas: int) -> float:
    """How long healing may take once faults have stopped and newborns behave.

    A frozen worker's session ends; after a reconnect or a mass loss there is a settle time each; what never
    registered has its timeout, what failed its longest back-off, what is told to go its grace and two more kills;
    launches share one window (a second each at worst) and one budget; a resisting tree has been relieved by then.
    """
    policy = POLICY
    launches_s = (
        replicas * policy.probation_s + (2 * replicas + policy.budget_burst) / policy.budget_per_s
    )
    waits_s = policy.registration_timeout_s + policy.backoff_max_s + 2 * policy.settle_s
    return (
        SESSION_S
        + waits_s
        + policy.rejoin_grace_s
        + policy.grace_s
        + 2 * policy.kill_retry_s
        + launches_s
        + 2 * REJOINS_WITHIN_S
    )
