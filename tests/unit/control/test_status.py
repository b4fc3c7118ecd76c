"""The status never says more than is known, and `ready` only of what serves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pydantic
import pytest

from autohealer.control.encoding import encoder
from autohealer.control.records import SlotRecord, StatusRecord
from autohealer.control.status import About, Health, Remarks, gather_status
from autohealer.core.actions import Drain, Kill, Plan, Spawn
from autohealer.core.events import (
    Decided,
    Event,
    HealthReported,
    MemoryReported,
    RegistrationRead,
    ReplicasSet,
    SpawnFailed,
    SpecSet,
    StopRequested,
    StoreChanged,
    Ticked,
    TreeEmptied,
    TreeResists,
    WorkerAdopted,
    WorkerExited,
    WorkersListed,
    WorkerSpawned,
)
from autohealer.core.evolve import evolve
from autohealer.core.health import Check, Verdict
from autohealer.core.model import Budget, Ending, Exit, Incarnation, Store, View
from autohealer.core.policy import Policy
from autohealer.core.strangers import Standing

NAME = Incarnation(0, 1)
PID = 4711
ABOUT = About("web", 99, "0.1.0", "127.0.0.1:2181")
LIST = WorkersListed(frozenset({NAME}), frozenset())
EMPTY = WorkersListed(frozenset(), frozenset())
CONNECTED = StoreChanged(Store.CONNECTED)
WANTED = (ReplicasSet(1), CONNECTED, EMPTY)
ORDERED = (*WANTED, Decided(Plan((Spawn(0, NAME, "first start"),))))
LAUNCHED = (*ORDERED, WorkerSpawned(NAME, PID))
READY = (*LAUNCHED, LIST)

Examine = Callable[[int], Health | None]


def in_state(state: str) -> Examine:
    """A process the kernel says this of."""
    return lambda _pid: Health(state, rss_bytes=1 << 20, cpu_s=0.5)


ASLEEP = in_state("sleeping")


def status_of(
    about: About, view: View, now: float, remarks: Remarks, examine: Examine
) -> StatusRecord:
    """The whole status as of `now`."""
    return asyncio.run(gather_status(about, view, lambda: now, remarks, examine))


def view_after(*facts: Event) -> View:
    """Fold facts at second 100."""
    view = View(policy=Policy(), budget=Budget(30.0), now=100.0)
    for fact in (Ticked(100.0), *facts):
        evolve(view, fact)
    return view


def status_after(*facts: Event, examine: Examine = ASLEEP, now: float = 100.0) -> StatusRecord:
    """The status once facts were folded."""
    return status_of(ABOUT, view_after(*facts), now, Remarks(), examine)


def slot_after(*facts: Event, examine: Examine = ASLEEP, now: float = 100.0) -> SlotRecord:
    """The first slot's row."""
    return status_after(*facts, examine=examine, now=now).slots[0]


@pytest.mark.parametrize("state", ["running", "sleeping", "disk-sleep", "idle"])
def test_a_registered_live_worker_is_ready(state: str) -> None:
    """A group that serves would look broken."""
    status = status_after(*READY, examine=in_state(state))
    assert (status.ready, status.desired) == (1, 1)
    assert status.slots[0].ready
    assert (status.slots[0].registration, status.slots[0].health) == ("present", state)


@pytest.mark.parametrize("state", ["stopped", "tracing-stop", "zombie", "dead"])
def test_one_that_cannot_serve_is_not(state: str) -> None:
    """A frozen worker would be called ready until its session expires."""
    status = status_after(*READY, examine=in_state(state))
    assert status.ready == 0
    assert not status.slots[0].ready
    assert status.slots[0].health == state


@pytest.mark.parametrize(
    ("facts", "phase", "registration"),
    [
        (WANTED, "vacant", "absent"),
        (ORDERED, "starting", "absent"),
        (LAUNCHED, "starting", "absent"),
        ((*READY, EMPTY), "ready", "absent"),
        ((*READY, StoreChanged(Store.SUSPENDED)), "ready", "unknown"),
        ((*READY, StoreChanged(Store.LOST)), "ready", "unknown"),
        ((*READY, StoreChanged(Store.SUSPENDED), CONNECTED), "ready", "unknown"),
        ((*READY, Decided(Plan((Drain(0, NAME, "x", Ending.SURPLUS),)))), "draining", "present"),
        (
            (*READY, Decided(Plan((Kill(0, NAME, "x", Ending.REGISTRATION_LOST),)))),
            "draining",
            "present",
        ),
        ((*READY, WorkerExited(NAME, Exit(signal=9), False, 0.0, PID)), "draining", "present"),
        (
            (*READY, Ticked(101.0), WorkerExited(NAME, Exit(signal=9), True, 0.0, PID)),
            "vacant",
            "absent",
        ),
        ((*LAUNCHED, WorkerExited(NAME, Exit(code=1), True, 0.0, PID)), "backoff", "absent"),
        ((*ORDERED, SpawnFailed(NAME, "no such file", 0.0)), "backoff", "absent"),
        ((CONNECTED, EMPTY, ReplicasSet(1), WorkerAdopted(NAME, PID, 60.0)), "starting", "absent"),
    ],
)
def test_nothing_else_is_ready(facts: tuple[Event, ...], phase: str, registration: str) -> None:
    """Status would show a worker as serving that is not, or of which nobody can know."""
    status = status_after(*facts)
    (slot,) = status.slots
    assert (slot.ready, status.ready) == (False, 0)
    assert (slot.phase, slot.registration) == (phase, registration)
    assert bool(slot.not_ready) == (phase in {"starting", "ready"})


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        (ORDERED, "its process is being launched"),
        (LAUNCHED, "it is not registered"),
        ((*READY, StoreChanged(Store.LOST)), "nothing is known of its registration"),
        (
            (*READY, HealthReported(NAME, Check.READINESS, Verdict.UNREADY, "answered 503")),
            "answered 503",
        ),
    ],
)
def test_why_one_is_not_ready_is_told(facts: tuple[Event, ...], told: str) -> None:
    """One would have to guess which of the conditions is missing."""
    slot = slot_after(*facts)
    assert (slot.ready, slot.not_ready, slot.ailing) == (False, (told,), "")


def test_what_one_is_to_be_ended_for_and_what_it_says_is_told() -> None:
    """A worker that waits for its turn under the brake would look as if nothing were wrong."""
    sick = HealthReported(NAME, Check.LIVENESS, Verdict.UNHEALTHY, "answered 500")
    remarks = Remarks(says=lambda name: f"{name} at work")
    (slot,) = status_of(ABOUT, view_after(*READY, sick), 100.0, remarks, ASLEEP).slots
    assert (slot.ready, slot.not_ready) == (True, ())
    assert (slot.ailing, slot.says) == ("answered 500", f"{NAME} at work")


def test_one_that_uses_too_much_memory_is_told_with_both_figures() -> None:
    """A worker that waits to be replaced would look as if nothing were wrong."""
    limited = SpecSet("", Policy(memory_restart_bytes=2**20))
    slot = slot_after(*READY, limited, MemoryReported(NAME, 3 * 2**20))
    assert slot.ready
    assert slot.ailing == "uses 3 MiB of memory, more than the 1 MiB it may"
    assert slot_after(*READY, limited, MemoryReported(NAME, 2**19)).ailing == ""


def test_one_that_is_gone_already_is_not_ready() -> None:
    """Between a death and its fact the dead would be called ready."""
    slot = slot_after(*READY, examine=lambda _pid: None)
    assert not slot.ready
    assert (slot.health, slot.rss_bytes, slot.cpu_s) == ("no process", None, None)


def test_every_fact_has_its_age() -> None:
    """A user could not tell a slow start from a hung one."""
    slot = slot_after(*READY, now=107.5)
    assert (slot.phase_age_s, slot.pid_age_s, slot.registration_age_s) == (7.5, 7.5, 7.5)
    adopted = slot_after(CONNECTED, LIST, ReplicasSet(1), WorkerAdopted(NAME, PID, 60.0), now=101.0)
    assert adopted.adopted
    assert adopted.pid_age_s == 61.0


def test_the_age_of_a_registration_is_as_of_now() -> None:
    """On a quiet group every registration would look as old as at the last event, be it days ago."""
    assert slot_after(*READY, now=107.5).registration_age_s == 7.5


def test_a_pause_says_when_it_ends() -> None:
    """A user would not know whether to wait for the next try."""
    failed = (*ORDERED, SpawnFailed(NAME, "no such file", 0.0))
    assert slot_after(*failed, now=100.04).next_try_s == pytest.approx(0.06)
    assert slot_after(*failed, now=200.0).next_try_s == 0.0
    assert slot_after(*READY).next_try_s is None


def test_what_was_never_observed_has_no_age() -> None:
    """An infinite age would break every reader of the JSON."""
    status = status_after(ReplicasSet(1))
    assert status.store == "suspended"
    assert status.store_age_s is None
    assert status.slots[0].registration_age_s is None
    assert status.slots[0].pid_age_s is None


def test_strangers_and_stopping_are_shown() -> None:
    """Nobody would know of a second daemon's workers, or that a stop is under way."""
    listed = WorkersListed(frozenset(), frozenset({"manual-a-1-s2", "Worker1"}))
    read = [
        RegistrationRead(label, Standing.MANUAL, 1, "a") for label in ("manual-a-1-s2", "Worker1")
    ]
    status = status_after(ReplicasSet(0), CONNECTED, listed, *read, StopRequested())
    assert [stranger.name for stranger in status.strangers] == ["Worker1", "manual-a-1-s2"]
    assert status.strangers[0].standing == "manual"
    assert status.stopping


def test_a_slot_whose_tree_resists_names_the_processes() -> None:
    """A slot would stay empty and nobody could see which process holds it."""
    resisting = (
        *READY,
        WorkerExited(NAME, Exit(signal=9), False, 0.0, PID),
        TreeResists(NAME, ("pid 7 (disk-sleep, python3)", "pid 8 (running, nfsd)")),
    )
    reason = slot_after(*resisting).reason
    assert reason.endswith(
        "still there after a kill: pid 7 (disk-sleep, python3), pid 8 (running, nfsd)"
    )
    assert "pid 7" not in slot_after(*resisting, TreeEmptied(NAME, 0.0)).reason


MANY = 1000
FULL: tuple[Event, ...] = (
    ReplicasSet(MANY),
    CONNECTED,
    EMPTY,
    Decided(Plan(tuple(Spawn(slot, Incarnation(slot, 1), "first start") for slot in range(MANY)))),
    *(WorkerSpawned(Incarnation(slot, 1), PID + slot) for slot in range(MANY)),
)


def gathered(view: View, examine: Examine, turns: list[int] | None = None) -> StatusRecord:
    """What the daemon answers; `turns` notes how often its loop had a turn meanwhile."""

    async def ask() -> StatusRecord:
        asking = asyncio.ensure_future(
            gather_status(ABOUT, view, lambda: 100.0, Remarks(), examine)
        )
        while not asking.done():
            if turns is not None:
                turns.append(1)
            await asyncio.sleep(0)
        return asking.result()

    return asyncio.run(ask())


def test_a_status_gathered_in_slices_is_the_whole_status() -> None:
    """A large group's status would lack slots, or say other things than a small one's."""
    status = gathered(view_after(*FULL), ASLEEP)
    assert [slot.slot for slot in status.slots] == list(range(MANY))
    assert (status.desired, status.ready) == (MANY, sum(slot.ready for slot in status.slots))


def test_the_loop_has_its_turns_while_a_large_status_is_made() -> None:
    """Asking after ten thousand workers would stop their healing meanwhile."""
    turns: list[int] = []
    gathered(view_after(*FULL), ASLEEP, turns)
    assert len(turns) > 10


def test_a_worker_launched_while_processes_are_looked_at_is_looked_at_too() -> None:
    """A worker that was just launched would be shown without a process."""
    view = view_after(*ORDERED)

    def examine(pid: int) -> Health | None:
        return ASLEEP(pid)

    async def ask() -> StatusRecord:
        asking = asyncio.ensure_future(
            gather_status(ABOUT, view, lambda: 100.0, Remarks(), examine)
        )
        await asyncio.sleep(0)
        evolve(view, WorkerSpawned(NAME, PID))
        return await asking

    (slot,) = asyncio.run(ask()).slots
    assert (slot.pid, slot.health) == (PID, "sleeping")


@pytest.mark.parametrize("count", [0, 1, 249, 250, 251, MANY])
def test_json_made_in_slices_is_the_whole_record(count: int) -> None:
    """A program could not read the answer of a large group."""
    status = status_of(
        ABOUT, view_after(*FULL), 100.0, Remarks(lambda: ('a hold that says "slots":[]',)), ASLEEP
    )
    status = replace(status, slots=status.slots[:count])
    body = asyncio.run(as_json(status))
    assert body == pydantic.TypeAdapter(StatusRecord).dump_json(status)


HOSTILE = "größer \x1b]0;owned\x07 \x9b2J\r\n\u202e [/x]"


def test_a_program_gets_what_strangers_said_and_no_text_is_too_strange() -> None:
    """One znode of a stranger's, or a path that is no UTF-8, would leave everybody without a status."""
    said = RegistrationRead("Worker1", Standing.UNKNOWN, 1, f"{HOSTILE}\ud800")
    resisting = (
        *READY,
        WorkersListed(frozenset({NAME}), frozenset({"Worker1"})),
        said,
        WorkerExited(NAME, Exit(signal=9), False, 0.0, PID),
        TreeResists(NAME, (f"pid 7 (running, {HOSTILE}\udcff)",)),
    )
    remarks = Remarks(lambda: (f"{HOSTILE}\udcff",), lambda: (f"note {HOSTILE}\udcff",))
    status = status_of(ABOUT, view_after(*resisting), 100.0, remarks, ASLEEP)
    read = pydantic.TypeAdapter(StatusRecord).validate_json(asyncio.run(as_json(status)))
    assert read.strangers[0].host == f"{HOSTILE}\\ud800"
    assert f"pid 7 (running, {HOSTILE}\\udcff)" in read.slots[0].reason
    assert read.holds == (f"{HOSTILE}\\udcff",)
    assert read.notes == (f"note {HOSTILE}\\udcff",)


def test_a_hint_stands_beside_a_slot_until_it_is_ready() -> None:
    """What to do about a worker that cannot start would be found in the log only, or outlive the mistake."""
    remarks = Remarks(hint=lambda slot: f"hint for slot {slot}")
    died = WorkerExited(NAME, Exit(code=1), True, 0.0, PID)
    for facts, hint in (((*LAUNCHED, died), "hint for slot 0"), (READY, "")):
        (slot,) = status_of(ABOUT, view_after(*facts), 100.0, remarks, ASLEEP).slots
        assert slot.hint == hint


async def as_json(status: StatusRecord) -> bytes:
    """As the control interface writes it."""
    return await encoder(pydantic)(status)


def test_failed_starts_count_until_a_worker_serves() -> None:
    """A group that is well would be shown with failures, or one that dies at once without."""
    again = Decided(Plan((Spawn(0, Incarnation(0, 2), "again"),)))
    listed = WorkersListed(frozenset({Incarnation(0, 2)}), frozenset())
    died = WorkerExited(NAME, Exit(code=1), True, 0.0, PID)
    facts = (*LAUNCHED, died, again, listed)
    assert [slot_after(*facts, now=now).failures for now in (100.5, 101.0)] == [1, 0]


def test_one_that_runs_another_revision_is_named() -> None:
    """After a reload nobody would know who still runs the old program."""
    launched = (*ORDERED, WorkerSpawned(NAME, PID, "old"), LIST)
    view = view_after(SpecSet("old", Policy()), *launched)
    assert [slot.outdated for slot in status_of(ABOUT, view, 100.0, Remarks(), ASLEEP).slots] == [
        False
    ]
    evolve(view, SpecSet("new", Policy()))
    (slot,) = status_of(ABOUT, view, 100.0, Remarks(), ASLEEP).slots
    assert (slot.outdated, slot.revision) == (True, "old")
