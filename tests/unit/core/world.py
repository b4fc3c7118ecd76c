"""A small model world that plays against the real core, and the oracles that watch it.

Theory of operation. The world has processes, a registry and a store session; steps of a story change it,
`World.round` does to the core what the daemon's loop does. The oracles know what is *true* (which processes
live, which list was delivered when), never what the view believes, so a wrong view cannot excuse a plan.

The core's functions are looked up at each call (`evolve_module.evolve`), so that a test can put a deliberate
bug in their place and see it caught.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from autohealer.core import evolve as evolve_module
from autohealer.core import invariants as invariants_module
from autohealer.core import reconcile as reconcile_module
from autohealer.core.actions import Action, Discard, Drain, Inspect, Kill, Plan, Relist, Spawn
from autohealer.core.events import (
    Decided,
    Event,
    RegistrantDead,
    RegistrationRead,
    ReplicasSet,
    SpawnFailed,
    StopRequested,
    StoreChanged,
    Ticked,
    TreeEmptied,
    WorkerAdopted,
    WorkerExited,
    WorkersListed,
    WorkerSpawned,
)
from autohealer.core.model import Budget, Exit, Incarnation, Phase, Stop, Store, View
from autohealer.core.overrides import NO_OVERRIDES, Overrides
from autohealer.core.policy import Policy
from autohealer.core.strangers import Standing
from tests.unit.core.operating import STEPS as OF_THE_OPERATOR

BASE = 1000
ROUNDS_MAX = 200
"""More rounds than this at one instant is a busy loop."""

TICK_S = 1e-6
"""A real clock moves at least this much between two rounds."""

Step = tuple[str, int]
"""What happens next, and a number that says to whom or for how long."""


class Broken(AssertionError):  # noqa: N818 - says what happened
    """The core did what it must never do."""


@dataclass(slots=True)
class Process:
    """What is true of one incarnation, whoever believes what."""

    name: Incarnation
    spawned_at: float
    alive: bool = True
    tree_left: bool = False
    obeys: bool = True
    seen_at: float | None = None
    absent_since: float | None = None
    ended_by_us: bool = False
    counted_failed: bool = False
    adopted: bool = False

    @property
    def exists(self) -> bool:
        """Whether anything of it still runs."""
        return self.alive or self.tree_left


@dataclass(slots=True)
class World:
    """Everything that is true, the view, and the facts on their way to it."""

    seed: int
    policy: Policy = field(default_factory=Policy)
    now: float = 5000.0
    view: View = field(init=False)
    rng: random.Random = field(init=False)
    processes: dict[Incarnation, Process] = field(default_factory=dict)
    znodes: set[Incarnation] = field(default_factory=set)
    strange: set[str] = field(default_factory=set)
    facts: list[Event] = field(default_factory=list)
    old_facts: list[WorkerExited | WorkerSpawned | TreeEmptied | SpawnFailed] = field(
        default_factory=list
    )
    connected: bool = False
    delivered: bool = False
    trusted_from: float = float("-inf")
    was_connected: bool = False
    exec_works: bool = True
    behaving: bool = False
    successes: int = 0
    wanted: int = 0
    overrides: Overrides = NO_OVERRIDES
    widest: int = 0
    failures: Counter[int] = field(default_factory=Counter)
    failed_at: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.view = View(
            policy=self.policy,
            budget=Budget(float(self.policy.budget_burst)),
            generation_base=BASE,
            now=self.now,
        )

    # --- what the daemon's loop does ----------------------------------------------------------

    def settle(self) -> None:
        """Rounds at the present instant until there is nothing more to do."""
        for _ in range(ROUNDS_MAX):
            facts, self.facts = self.facts, []
            plan = self.round(facts)
            if self.facts:
                continue
            wake_at = reconcile_module.next_wake(self.view)
            if wake_at is not None and wake_at <= self.now and not plan.actions:
                # Rounding may put the next token a hair too early; a clock that moves must be enough.
                self.now += TICK_S
                continue
            if not plan.actions:
                self._expect_quiet()
                return
        raise Broken(f"{ROUNDS_MAX} rounds at one instant: the loop is busy")

    def round(self, facts: Sequence[Event]) -> Plan:
        """One round, as `autohealer.daemon.loop` makes it, with the oracles between deciding and acting."""
        view = self.view
        for fact in (Ticked(self.now), *facts):
            evolve_module.evolve(view, fact)
        plan = reconcile_module.reconcile(view)
        if plan != (whole := reconcile_module.reconcile(view, every_slot=True)):
            raise Broken(f"looking at all differs: {plan} / {whole}")
        if broken := invariants_module.violations_of(view, plan):
            raise Broken("; ".join(broken))
        for action in plan.actions:
            self._judge(action)
        evolve_module.evolve(view, Decided(plan))
        for action in plan.actions:
            self._carry_out(action)
        self._check_crowd()
        return plan

    def _expect_quiet(self) -> None:
        again = self.round([])
        if again.actions or again.deferred:
            raise Broken(f"a round without news did something: {again}")

    # --- the oracles --------------------------------------------------------------------------

    def _judge(self, action: Action) -> None:
        match action:
            case Spawn(key, name):
                self._judge_launch(key, name)
            case Drain(key, name):
                self._judge_ending(key, name)
            case Kill(key, name):
                self._judge_ending(key, name)
            case Discard(name):
                if name in self.processes and self.processes[name].exists:
                    raise Broken(f"the registration of the live {name} is deleted")
            case Inspect() | Relist():
                pass

    def _judge_launch(self, key: int, name: Incarnation) -> None:
        if name in self.processes:
            raise Broken(f"{name} was used before")
        if key != name.slot or not self._is_wanted(key):
            raise Broken(f"{name} is launched into {key} of {self.wanted}")
        if holder := self._holder(key):
            raise Broken(f"{name} is launched beside {holder.name}")
        if self.failures[key] and self.now - self.failed_at[key] < self._least_pause_s(key):
            raise Broken(f"{name} is launched too soon after failure {self.failures[key]}")

    def _least_pause_s(self, key: int) -> float:
        policy = self.policy
        doubled_s = policy.backoff_initial_s * 2.0 ** min(self.failures[key] - 1, 30)
        return 0.5 * min(policy.backoff_max_s, doubled_s) - 1e-6

    def _holder(self, key: int) -> Process | None:
        """What truly lives in a slot; surplus incarnations have been moved below zero."""
        for process in self.processes.values():
            is_surplus = self.view.key_of.get(process.name, key) < 0
            if process.exists and process.name.slot == key and not is_surplus:
                return process
        return None

    def _judge_ending(self, key: int, name: Incarnation) -> None:
        slot = self.view.slots[key]
        if slot.phase is Phase.DRAINING or not self._is_wanted(key):
            return
        process = self.processes[name]
        if self.is_asked(name) and self.connected and self.delivered:
            return  # the operator wants another one in its place
        if not (self.connected and self.delivered):
            raise Broken(f"{name} is ended for its registration while the list is not fresh")
        if process.absent_since is None or name in self.znodes:
            raise Broken(f"{name} is ended though it is registered")
        if process.seen_at is not None or process.adopted:
            grace_s = self.policy.rejoin_grace_s
            since = max(process.absent_since, self.trusted_from)
            if process.seen_at is None:
                youth_ends = process.spawned_at + self.policy.registration_timeout_s
                since = max(since, youth_ends - grace_s)
        else:
            grace_s = self.policy.registration_timeout_s
            since = max(process.spawned_at, self.trusted_from)
        if self.now < since + grace_s - 1e-6:
            raise Broken(f"{name} is ended before its time: {self.now - since:.3f} s of {grace_s}")

    def _is_wanted(self, key: int) -> bool:
        return key in self.kept and self.view.desired.stop is Stop.NO

    @property
    def kept(self) -> list[int]:
        """The slots that are to be filled."""
        return [key for key in range(self.wanted) if not self.overrides.stops(key)]

    def is_asked(self, name: Incarnation) -> bool:
        """Whether the operator wants another one in its place."""
        return name.generation <= self.overrides.renew.get(name.slot, 0)

    def _check_crowd(self) -> None:
        existing = [process for process in self.processes.values() if process.exists]
        held = [p for p in existing if self.view.key_of.get(p.name, -1) >= 0]
        if doubled := [key for key, n in Counter(p.name.slot for p in held).items() if n > 1]:
            raise Broken(f"two live incarnations in slots {doubled}")
        if len(held) > max(self.widest, self.wanted):
            raise Broken(f"{len(held)} live, {self.wanted} wanted")
        fresh = [p for p in existing if p.alive and p.name.generation >= BASE]
        unproven = [p for p in fresh if not self._is_proven(p)]
        if len(unproven) > min(
            self.policy.in_flight_min + self.successes, self.policy.in_flight_max
        ):
            raise Broken(f"{len(unproven)} launches in flight after {self.successes} successes")

    def _is_proven(self, process: Process) -> bool:
        old_enough = self.now - process.spawned_at >= self.policy.probation_s
        return process.seen_at is not None or old_enough or process.ended_by_us

    # --- what comes of actions ----------------------------------------------------------------

    def _carry_out(self, action: Action) -> None:
        match action:
            case Spawn(_, name):
                self._launch(name)
            case Drain(_, name):
                process = self.processes[name]
                process.ended_by_us = True
                if process.obeys:
                    self.end(process, Exit(code=0), tree_left=False)
            case Kill(_, name):
                process = self.processes[name]
                process.ended_by_us = True
                if process.alive:
                    self.end(process, Exit(signal=9), tree_left=False)
                elif process.tree_left:
                    self.empty_tree(process)
            case Discard(name):
                self.znodes.discard(name)
            case Inspect(name):
                self._inspect(name)
            case Relist():
                self.deliver_list()

    def _launch(self, name: Incarnation) -> None:
        obeys = self.behaving or self.rng.random() < 0.8
        process = Process(name, self.now, obeys=obeys, absent_since=self.now)
        self.processes[name] = process
        if not self.exec_works:
            process.alive = False
            self._failed(process)
            self.post(SpawnFailed(name, "exec format error", self._jitter()))
            return
        self.post(WorkerSpawned(name, 1 + len(self.processes)))

    def _inspect(self, name: Incarnation | str) -> None:
        if isinstance(name, str):
            self.post(RegistrationRead(name, Standing.MANUAL, 7, "host"))
            return
        process = self.processes.get(name)
        if process is None:
            self.post(RegistrationRead(name, Standing.ELSEWHERE, 7, "other"))
        elif not process.exists:
            self.post(RegistrantDead(name))

    # --- what happens to processes ------------------------------------------------------------

    def adopt(self, name: Incarnation, *, registered: bool) -> None:
        """A worker of an earlier daemon lives and is found."""
        if name in self.processes:
            return
        age_s = self.rng.choice((0.5, 60.0))
        self.processes[name] = Process(name, self.now - age_s, absent_since=self.now, adopted=True)
        self.widest += 1
        if registered:
            self.znodes.add(name)
        self.post(WorkerAdopted(name, 7, age_s))

    def end(self, process: Process, exit_: Exit, *, tree_left: bool) -> None:
        """A process ended, with or without all it had started."""
        process.alive, process.tree_left = False, tree_left
        if not tree_left:
            self._failed(process)
        self.post(WorkerExited(process.name, exit_, not tree_left, self._jitter()))

    def empty_tree(self, process: Process) -> None:
        """The last of what an ended process had started is gone."""
        process.tree_left = False
        self._failed(process)
        self.post(TreeEmptied(process.name, self._jitter()))

    def _failed(self, process: Process) -> None:
        """Keep the books of failures in a row, from what is true."""
        key = process.name.slot
        if key not in self.kept or self.view.key_of.get(process.name, key) != key:
            return
        if (ending := self.view.slots[key].ending) is not None and ending.is_blameless:
            return
        if self._served_s(process) < self.policy.min_ready_s:
            process.counted_failed = True
            self.failures[key] += 1
            self.failed_at[key] = self.now
        else:
            self.failures[key] = 0

    def _served_s(self, process: Process) -> float:
        """For how long it has been known to be ready; an adopted one for as long as it lives."""
        if process.seen_at is None:
            return 0.0
        return self.now - (process.spawned_at if process.adopted else process.seen_at)

    def _jitter(self) -> float:
        return self.rng.random()

    def post(self, fact: Event) -> None:
        """Send a fact on its way to the daemon."""
        self.facts.append(fact)
        if isinstance(fact, WorkerExited | WorkerSpawned | TreeEmptied | SpawnFailed):
            self.old_facts.append(fact)

    # --- what happens to the store ------------------------------------------------------------

    def connect(self) -> None:
        """The session is back; a list follows when one is delivered."""
        if self.connected:
            return
        self.connected, self.delivered = True, False
        if self.was_connected:
            self.trusted_from = self.now + self.policy.settle_s
        self.was_connected = True
        self.post(StoreChanged(Store.CONNECTED))

    def disconnect(self, store: Store) -> None:
        """The session is cut."""
        self.connected = self.delivered = False
        self.post(StoreChanged(store))

    def deliver_list(self) -> None:
        """A list of what is registered reaches the daemon, if it can."""
        if not self.connected:
            return
        self.delivered = True
        for process in self.processes.values():
            self._note_listed(process)
        self.post(WorkersListed(frozenset(self.znodes), frozenset(self.strange), self.now))

    def _note_listed(self, process: Process) -> None:
        if process.name not in self.znodes:
            process.absent_since = (
                self.now if process.absent_since is None else process.absent_since
            )
            return
        process.absent_since = None
        if process.seen_at is None and process.alive:
            process.seen_at = self.now
            self.successes += 1
        elif process.seen_at is None and not process.exists and process.counted_failed:
            self._pardon(process)

    def _pardon(self, process: Process) -> None:
        """The dead had registered after all: its death was no failed start, if it is still the slot's last."""
        lived_s = self.failed_at[process.name.slot] - process.spawned_at
        if lived_s < self.policy.min_ready_s:
            return
        process.counted_failed = False
        newer = any(
            p.name.slot == process.name.slot and p.name.generation > process.name.generation
            for p in self.processes.values()
        )
        if not newer:
            self.failures[process.name.slot] = 0
            self.successes += 1

    # --- time ---------------------------------------------------------------------------------

    def advance(self, seconds: float) -> None:
        """Let time pass, with every round the daemon asks for on the way."""
        until = self.now + seconds
        while (wake_at := reconcile_module.next_wake(self.view)) is not None and wake_at <= until:
            self._pass_to(max(wake_at, self.now))
            self.settle()
        self._pass_to(max(until, self.now))
        self.settle()

    def _pass_to(self, at: float) -> None:
        self.now = at


def scale(world: World, number: int) -> None:
    """The operator changes N."""
    world.widest = max(world.widest, world.wanted, number)
    world.wanted = number
    for key in [key for key in world.failures if key >= number]:
        del world.failures[key]  # who scales down and up again asks for a new try
    world.post(ReplicasSet(number))


# --- stories ----------------------------------------------------------------------------------

_ADVANCES_S = (0.01, 0.1, 0.3, 0.5, 0.6, 1.0, 1.5, 3.0, 6.0, 12.0, 31.0)


def _pick(world: World, number: int, among: Callable[[Process], bool]) -> Process | None:
    found = [process for process in world.processes.values() if among(process)]
    return found[number % len(found)] if found else None


def _exit(world: World, number: int) -> None:
    if process := _pick(world, number, lambda p: p.alive):
        world.end(process, Exit(signal=9), tree_left=number % 4 == 3)


def _empty_tree(world: World, number: int) -> None:
    if process := _pick(world, number, lambda p: p.tree_left):
        world.empty_tree(process)


def _register(world: World, number: int) -> None:
    if process := _pick(world, number, lambda p: p.alive and p.name not in world.znodes):
        world.znodes.add(process.name)


def _register_all(world: World, number: int) -> None:
    world.znodes |= {p.name for p in world.processes.values() if p.alive}
    world.deliver_list()


def _unregister(world: World, number: int) -> None:
    if world.znodes:
        world.znodes.discard(sorted(world.znodes)[number % len(world.znodes)])


def _register_late(world: World, number: int) -> None:
    if process := _pick(world, number, lambda p: not p.exists):
        world.znodes.add(process.name)


def _repeat_old_fact(world: World, number: int) -> None:
    if dead := [f for f in world.old_facts if not world.processes[f.name].exists]:
        world.facts.append(dead[number % len(dead)])


def _stranger(world: World, number: int) -> None:
    if number % 2:
        world.strange ^= {f"manual-host-{number}"}
    else:
        world.znodes.add(Incarnation(number % 4, 3 + number))


def _toggle_exec(world: World, number: int) -> None:
    world.exec_works = not world.exec_works


STEPS: dict[str, Callable[[World, int], None]] = {
    "exit": _exit,
    "empty_tree": _empty_tree,
    "register": _register,
    "register_all": _register_all,
    "unregister": _unregister,
    "register_late": _register_late,
    "list": lambda world, _: world.deliver_list(),
    "suspend": lambda world, _: world.disconnect(Store.SUSPENDED),
    "lose": lambda world, _: world.disconnect(Store.LOST),
    "connect": lambda world, _: world.connect(),
    "advance": lambda world, number: world.advance(_ADVANCES_S[number % len(_ADVANCES_S)]),
    "repeat": _repeat_old_fact,
    "stranger": _stranger,
    "exec": _toggle_exec,
    "scale_down": lambda world, number: scale(world, min(world.wanted, number % 5)),
    "scale_up": lambda world, number: scale(world, max(world.wanted, number % 7)),
    **OF_THE_OPERATOR,
}


def begin(seed: int, replicas: int) -> World:
    """A daemon has started: what lives is adopted, the store is there."""
    world = World(seed)
    world.connect()
    scale(world, replicas)
    for number in range(world.rng.randrange(4)):
        slot = world.rng.randrange(5)
        world.adopt(Incarnation(slot, 100 + number), registered=world.rng.random() < 0.7)
    world.settle()
    world.deliver_list()
    world.settle()
    return world


def tell(world: World, story: Sequence[Step]) -> None:
    """Play a story; a round follows each step, or, now and then, several steps at once."""
    for step, number in story:
        STEPS[step](world, number)
        if number % 5:
            world.settle()
    world.settle()


# --- endings ----------------------------------------------------------------------------------


def recovery_bound_s(world: World) -> float:
    """How long healing may take once faults have stopped and workers behave.

    What is unregistered may be inside a settle time and a registration timeout, then be killed; what failed
    waits its back-off; what is ended is insisted on; and launches share one budget and one window.
    """
    policy = world.policy
    launches_s = (world.wanted + policy.budget_burst) / policy.budget_per_s + world.wanted
    ending_s = policy.grace_s + 2 * policy.kill_retry_s
    restarts_s = len(world.overrides.renew) * (ending_s + policy.min_ready_s + 1.0)
    return (
        policy.settle_s
        + policy.registration_timeout_s
        + policy.rejoin_grace_s
        + policy.backoff_max_s
        + ending_s
        + launches_s
        + restarts_s
    )


def faults_stop(world: World) -> None:
    """The store is back, exec works, and what is launched from now on registers."""
    world.exec_works = world.behaving = True
    world.connect()
    world.deliver_list()
    world.settle()


def heal(world: World) -> None:
    """Let workers behave until the bound is over; all N must be ready, nothing more, and the registry true."""
    faults_stop(world)
    until = world.now + recovery_bound_s(world)
    while world.now < until:
        for process in list(world.processes.values()):
            if process.alive and process.name.generation >= BASE:
                world.znodes.add(process.name)
        world.deliver_list()
        world.settle()
        wake_at = reconcile_module.next_wake(world.view)
        world.advance(max(TICK_S, min(until, wake_at or until) - world.now))
    _expect_healed(world)


def _expect_healed(world: World) -> None:
    living = {p.name for p in world.processes.values() if p.exists}
    if sorted(name.slot for name in living) != world.kept:
        raise Broken(f"{sorted(living)} live, {world.kept} wanted")
    if world.view.counts[Phase.READY] != len(world.kept):
        raise Broken(f"{world.view.counts} of {world.kept} after the bound")
    if left := [name for name in living if world.is_asked(name)]:
        raise Broken(f"{left} were to be restarted")
    if leftovers := {n for n in world.znodes if n in world.processes} - living:
        raise Broken(f"dead registrations were left: {leftovers}")
    if unread := world.znodes - set(world.processes) - set(world.view.strangers):
        raise Broken(f"strangers nobody tells of: {unread}")


def stop_all(world: World, *, twice: bool) -> None:
    """The operator stops everything: within the grace and a retry nothing may be left, and the loop must end."""
    faults_stop(world)
    world.facts.append(StopRequested())
    world.settle()
    if twice:
        world.facts.append(StopRequested())
        world.settle()
    policy = world.policy
    patience_s = 0.0 if twice else policy.grace_s
    world.advance(patience_s + 2 * policy.kill_retry_s)
    if left := [p.name for p in world.processes.values() if p.exists]:
        raise Broken(f"{left} outlived the stop")
    if not reconcile_module.reconcile(world.view).finished:
        raise Broken("everything is gone and the daemon does not end")
