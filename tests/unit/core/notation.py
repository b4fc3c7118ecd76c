"""Write a view as a line of text, read a plan as lines of text, so that a scenario can be reviewed.

A view is `0:ready 1:starting(3s) 2:- 3:backoff(0.4s) 4:draining(2s)`; every slot is built by folding facts,
at the times the text says, never by setting fields. The states, with what the seconds in brackets mean:

    -                vacant, never started
    starting(3s)     launched 3 s ago, not registered
    ready(60s)       registered 60 s ago (the default, long enough to be stable)
    absent(0.3s)     was ready; a list 0.3 s ago had its znode no more
    draining(2s)     was ready; asked to end 2 s ago
    killing(0.5s)    was ready; killed 0.5 s ago and not gone yet
    backoff(0.4s)    failed to start; 0.4 s are left to wait
    quarantined(20s) failed ten times; 20 s are left to wait

A star (`ready*`) means adopted from an earlier daemon. A plan is one line an action, then what waits (`wait 3`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from autohealer.core.actions import (
    Action,
    Discard,
    Drain,
    Inspect,
    Kill,
    Plan,
    Register,
    Relist,
    Remember,
    Spawn,
    Withdraw,
)
from autohealer.core.backoff import backoff_s
from autohealer.core.events import (
    Decided,
    Event,
    ReplicasSet,
    SpawnFailed,
    StoreChanged,
    Ticked,
    WorkerAdopted,
    WorkerExited,
    WorkersListed,
    WorkerSpawned,
)
from autohealer.core.evolve import evolve
from autohealer.core.invariants import violations_of
from autohealer.core.model import (
    Budget,
    Desired,
    Ending,
    Exit,
    Incarnation,
    Phase,
    Slot,
    Store,
    StoreRoom,
    View,
)
from autohealer.core.policy import Policy
from autohealer.core.reconcile import reconcile

BASE = 100
"""The first generation a daemon under test gives out."""

NOW_S = 10_000.0

_STATE = re.compile(r"(?P<key>\d+):(?P<state>[a-z]+|-)(?P<adopted>\*?)(?:\((?P<age_s>[\d.]+)s\))?")
_STORE = re.compile(r"(?P<state>[a-z]+)(?:\((?P<age_s>[\d.]+)s\))?")
_STABLE_AGE_S = 60.0

Timed = tuple[float, "Event | _Enters | _Leaves"]


class _Enters:
    """A znode that is there from now on."""

    def __init__(self, name: Incarnation) -> None:
        self.name = name


class _Leaves(_Enters):
    """A znode that is there no more."""


class Scene:
    """A view built from text, and the rounds a loop would make of it.

    Several scenes may share a `room`, each under its own name. One that is not `listed` knows no store yet.
    Asked for a list, a scene answers at once with what was in the last one, unless it is `mute`.
    """

    def __init__(
        self,
        slots: str = "",
        *,
        replicas: int | None = None,
        store: str = "connected",
        policy: Policy | None = None,
        now_s: float = NOW_S,
        group: str = "",
        room: StoreRoom | None = None,
        listed: bool = True,
        revision: str = "",
    ) -> None:
        self.policy = policy or Policy()
        states = [_parsed(word) for word in slots.split()]
        self.view = View(
            policy=self.policy,
            budget=Budget(float(self.policy.budget_burst)),
            group=group,
            room=room or StoreRoom(),
            generation_base=BASE,
            now=now_s - 3600.0,
            desired=Desired(revision=revision),
        )
        self.mute = False
        self._listed: set[Incarnation] = set()
        wanted = replicas if replicas is not None else len(states)
        if listed:
            self._fold(StoreChanged(Store.CONNECTED, 1), WorkersListed(frozenset(), frozenset()))
        self._fold(ReplicasSet(max(wanted, len(states))))
        self._play([fact for state in states for fact in _history(self, now_s, *state)])
        self._play(_store_history(store, now_s))
        self._fold(Ticked(now_s))
        if wanted != self.view.desired.replicas:
            self._fold(ReplicasSet(wanted))
        self._first = True

    # --- what a test says ---------------------------------------------------------------------

    def decide(self, *facts: Event) -> list[str]:
        """One round at the present instant: fold the facts, decide, tell the plan."""
        self._fold(Ticked(self.view.now), *facts)
        plan = reconcile(self.view, every_slot=True)
        if not self._first:
            assert plan == reconcile(self.view), "looking at all differs"
        assert violations_of(self.view, plan) == ()
        self._fold(Decided(plan))
        self._first = False
        if self.mute or not any(isinstance(action, Relist) for action in plan.actions):
            return rendered(plan)
        said = [line for line in rendered(plan) if not line.startswith("relist")]
        return [*said, *self.decide(self.same_list())]

    def is_finished(self) -> bool:
        """Whether the loop would end."""
        return reconcile(self.view).finished

    def after(self, seconds: float, *facts: Event) -> list[str]:
        """One round `seconds` later."""
        self._fold(Ticked(self.view.now + seconds))
        return self.decide(*facts)

    def name(self, key: int) -> Incarnation:
        """The incarnation that fills a slot."""
        occupant = self.view.slots[key].occupant
        assert occupant is not None, f"slot {key} is empty"
        return occupant.name

    def spawned(self, key: int) -> WorkerSpawned:
        """The process that was ordered for a slot runs."""
        return WorkerSpawned(self.name(key), 1000 + key, self.view.desired.revision)

    def dies(
        self,
        key: int,
        *,
        number: int | None = 9,
        code: int | None = None,
        jitter: float = 0.0,
        tree_empty: bool = True,
    ) -> WorkerExited:
        """The fact that what fills a slot ended."""
        exit_ = Exit(code=code, signal=None if code is not None else number)
        return WorkerExited(self.name(key), exit_, tree_empty, jitter)

    def lists(self, *entering: Incarnation, without: Iterable[int] = ()) -> WorkersListed:
        """A fresh list: the last one, plus some, without what fills some slots."""
        self._listed |= set(entering)
        self._listed -= {self.name(key) for key in without}
        return WorkersListed(frozenset(self._listed), self.view.strange, self.view.now)

    def same_list(self) -> WorkersListed:
        """The last list again, asked for now."""
        return WorkersListed(self.view.listed, self.view.strange, self.view.now)

    def fails_to_start(self, key: int, jitter: float = 0.0) -> SpawnFailed:
        """The fact that a launch came to nothing."""
        return SpawnFailed(self.name(key), "no such file", jitter)

    def reason(self, key: int) -> str:
        """What status would say of a slot."""
        return self.view.slots[key].reason

    def __str__(self) -> str:
        return " ".join(_shown(self.view, slot) for _, slot in sorted(self.view.slots.items()))

    # --- folding ------------------------------------------------------------------------------

    def _fold(self, *facts: Event) -> None:
        for fact in facts:
            evolve(self.view, fact)

    def _play(self, history: Iterable[Timed]) -> None:
        for at, fact in sorted(history, key=lambda timed: timed[0]):
            self._fold(Ticked(at))
            if isinstance(fact, _Leaves):
                self._listed.discard(fact.name)
                self._fold(self.lists())
            elif isinstance(fact, _Enters):
                self._fold(self.lists(fact.name))
            else:
                self._fold(fact)


def rendered(plan: Plan) -> list[str]:
    """A plan as lines: the actions in their order with their reasons, then the slots that wait."""
    return [*map(_rendered, plan.actions), *(f"wait {key}" for key in plan.deferred)]


def _rendered(action: Action) -> str:
    match action:
        case Spawn(key, _, reason):
            return f"spawn {key}: {reason}"
        case Drain(key, _, reason):
            return f"drain {key}: {reason}"
        case Kill(key, _, reason):
            return f"kill {key}: {reason}"
        case Discard(name) | Register(name) | Withdraw(name):
            return f"{type(action).__name__.lower()} {_short(name)}"
        case Inspect(name):
            return f"inspect {_short(name)}"
        case Relist() | Remember():
            return f"{type(action).__name__.lower()} {' '.join(_listed(action))}"


def _listed(action: Relist | Remember) -> Iterator[str]:
    match action:
        case Relist(keys):
            yield from map(str, keys)
        case Remember(bonds):
            yield from (f"{_short(b.name)}={b.child.label if b.child else '?'}" for b in bonds)


def _short(name: Incarnation | str) -> str:
    return name if isinstance(name, str) else f"{name.slot}.{name.generation}"


# --- from text to facts -----------------------------------------------------------------------


def _parsed(word: str) -> tuple[int, str, bool, float | None]:
    match = _STATE.fullmatch(word)
    assert match is not None, f"{word!r} is not a slot"
    age_s = float(match["age_s"]) if match["age_s"] else None
    return int(match["key"]), match["state"], bool(match["adopted"]), age_s


def _history(
    scene: Scene, now_s: float, key: int, state: str, adopted: bool, age_s: float | None
) -> Iterator[Timed]:
    """The facts that bring a slot into a state, with their instants."""
    match state:
        case "-":
            return
        case "backoff" | "quarantined":
            yield from _failures(scene.policy, now_s, key, state, age_s or 0.0)
        case "starting":
            yield from _launched(scene, now_s - (age_s or 0.0), key, adopted)
        case "ready":
            at = now_s - (age_s if age_s is not None else _STABLE_AGE_S)
            yield from _launched(scene, at, key, adopted)
            yield at, _Enters(_nth(key, adopted))
        case _:
            at = now_s - _STABLE_AGE_S - (age_s or 0.0)
            yield from _launched(scene, at, key, adopted)
            yield at, _Enters(_nth(key, adopted))
            yield now_s - (age_s or 0.0), _turn(key, state, adopted)


def _nth(key: int, adopted: bool) -> Incarnation:
    return Incarnation(key, BASE - 50 if adopted else BASE)


def _launched(scene: Scene, at: float, key: int, adopted: bool) -> Iterator[Timed]:
    name, revision = _nth(key, adopted), scene.view.desired.revision
    if adopted:
        yield at, WorkerAdopted(name, 1000 + key, 5.0, revision)
        return
    yield at, Decided(Plan((Spawn(key, name, "first start"),)))
    yield at, WorkerSpawned(name, 1000 + key, revision)


def _turn(key: int, state: str, adopted: bool) -> Event | _Leaves:
    name = _nth(key, adopted)
    match state:
        case "absent":
            return _Leaves(name)
        case "draining":
            return Decided(Plan((Drain(key, name, "asked to", Ending.SURPLUS),)))
        case "killing":
            return Decided(Plan((Kill(key, name, "had to", Ending.REGISTRATION_LOST),)))
    raise AssertionError(f"{state!r} is not a state")


def _failures(policy: Policy, now_s: float, key: int, state: str, left_s: float) -> Iterator[Timed]:
    """As many failed launches as make the wait long enough, the last as long ago as leaves `left_s`."""
    count = policy.quarantine_failures if state == "quarantined" else 1
    while backoff_s(policy, count, 0.0) < left_s:
        count += 1
    at = now_s - (backoff_s(policy, count, 0.0) - left_s)
    for number in range(count):
        name = Incarnation(key, BASE + number)
        yield at, Decided(Plan((Spawn(key, name, "a try"),)))
        yield at, SpawnFailed(name, "no such file", 0.0)


def _store_history(text: str, now_s: float) -> Iterator[Timed]:
    match = _STORE.fullmatch(text)
    assert match is not None, f"{text!r} is not a store"
    at = now_s - float(match["age_s"] or 0.0)
    match match["state"]:
        case "connected":
            return
        case "suspended":
            yield at, StoreChanged(Store.SUSPENDED)
        case "lost":
            yield at, StoreChanged(Store.LOST)
        case "reconnected":
            yield at - 3.0, StoreChanged(Store.SUSPENDED)
            yield at, StoreChanged(Store.CONNECTED)
        case state:
            raise AssertionError(f"{state!r} is not a store")


# --- and back ---------------------------------------------------------------------------------


def _shown(view: View, slot: Slot) -> str:
    occupant = slot.occupant
    star = "*" if occupant is not None and occupant.adopted else ""
    if occupant is None:
        if slot.deadline is None:
            return f"{slot.key}:-"
        return f"{slot.key}:{slot.phase.value}({slot.deadline - view.now:g}s)"
    since, word = slot.phase_since, slot.phase.value
    if slot.phase is Phase.READY and not occupant.listed:
        since, word = occupant.listed_changed, "absent"
    if slot.phase is Phase.DRAINING and slot.killing:
        word = "killing"
    return f"{slot.key}:{word}{star}({view.now - since:g}s)"
