"""Fold one fact into the view.

Theory of operation. Every change of a slot goes through `slots.put`, which keeps what is derived from it in
step; what a death means for the next launch is for `restarts` to say, what a list of registrations means for
`registrations`. News about an incarnation that no longer fills a slot is ignored, so late and repeated facts
are harmless.

What becomes of a slot, by its phase and the fact about what fills it. The letters are the phases', `.` is as it was,
`-` is given up, `o` is done, `p` is stopped, `x` is an order that the invariants stop. Of several letters it depends on
how the slot fared before.

    fact                      vacant  starting ready   unready draining backoff quarantined held    done    stopped
    Ticked                    .       .        .       .       .        .       .           .       .       .
    ReplicasSet               v-      .        .       .       .        b-      q-          .       o-      p-
    OverridesSet:stopped      p       .        .       .       .        p       p           .       p       .
    OverridesSet:others       .       .        .       .       .        vb      vq          .       vo      v
    RetryAsked                .       .        .       .       .        v       v           .       v       .
    SpecSet:same              .       .        .       r       .        .       .           .       v       .
    SpecSet:another           .       .        .       r       .        v       v           .       v       .
    StopRequested             -       .        .       .       .        -       -           .       -       -
    DetachRequested           .       .        .       .       .        .       .           .       .       .
    WorkerAdopted:it          s       .        .       .       .        sr      sr          s       sr      s
    WorkerAdopted:lesser      s       .        .       .       .        s       s           s       s       s
    WorkerAdopted:better      r       r        .       r       r        r       r           r       r       r
    WorkerWasDone             o       .        .       .       .        o       o           .       .       .
    WorkerHeld                h       .        .       .       .        h       h           .       h       h
    WorkerSpawned             .       .        .       .       .        .       .           .       .       .
    SpawnFailed               .       bq       vbq     vbq     vbqp-    .       .           .       .       .
    WorkerExited:all          .       bq       vbq     vbq     vbqp-    .       .           v-      .       .
    WorkerExited:well         .       o        o       o       vop-     .       .           v-      .       .
    WorkerExited:leader       .       d        d       d       .        .       .           .       .       .
    TreeEmptied               .       bq       vbq     vbq     vbqp-    .       .           v-      .       .
    TreeResists               .       .        .       .       .        .       .           .       .       .
    HealthReported:well       .       .        .       r       .        .       .           .       .       .
    HealthReported:unready    .       .        u       .       .        .       .           .       .       .
    HealthReported:unhealthy  .       .        .       .       .        .       .           .       .       .
    MemoryReported            .       .        .       .       .        .       .           .       .       .
    MoreTimeAsked             .       .        .       .       .        .       .           .       .       .
    StoreChanged              .       .        .       .       .        .       .           .       .       .
    SessionTimeoutGranted     .       .        .       .       .        .       .           .       .       .
    WorkersListed:with        .       r        .       .       .        vbq     vbq         .       .       .
    WorkersListed:without     .       .        .       .       .        .       .           .       .       .
    ListFailed                .       .        .       .       .        .       .           .       .       .
    RegistryWiped             .       .        .       .       .        .       .           .       .       .
    RegistrationRead          .       .        .       .       .        .       .           .       .       .
    RegistrantDead            .       .        .       .       .        .       .           .       .       .
    ChildExamined             .       .        .       .       .        .       .           .       .       .
    BondRemembered            .       .        .       .       .        .       .           .       .       .
    InvariantBroken           .       .        .       .       .        .       .           .       .       .
    Decided:Spawn             s       x        x       x       x        s       s           x       x       x
    Decided:Drain             x       d        d       d       .        x       x           x       x       x
    Decided:Kill              x       d        d       d       .        x       x           x       x       x
    Decided:others            .       .        .       .       .        .       .           .       .       .

Must never know: clocks, I/O, randomness, what will be decided. Nothing here orders anything.
"""

from __future__ import annotations

from dataclasses import replace
from heapq import heappop
from typing import assert_never

from autohealer.core import (
    adoption,
    binding,
    completion,
    crowd,
    epidemic,
    events,
    held,
    ordering,
    readiness,
    reasons,
    registrations,
    storeroom,
    wanting,
)
from autohealer.core.brake import note_death, release_if_whole, stop_counting
from autohealer.core.model import (
    Death,
    Exit,
    Incarnation,
    Obituary,
    Occupant,
    Phase,
    Slot,
    View,
)
from autohealer.core.pacing import failed
from autohealer.core.replacing import spec_set, weighed
from autohealer.core.restarts import after_death, after_ending
from autohealer.core.slots import (
    disown,
    is_own,
    occupied_by,
    put,
    vacate,
)
from autohealer.core.strangers import Stranger
from autohealer.core.turns import stop_awaiting


def evolve(view: View, event: events.Event) -> None:  # noqa: C901, PLR0912 - one arm per fact
    """Change `view` to what it is after `event`."""
    if isinstance(event, events.StoreEvent):
        _told_by_store(view, event)
        return
    match event:
        case events.Ticked(now, idle):
            _ticked(view, now, idle)
        case events.ReplicasSet(replicas):
            wanting.replicas_set(view, replicas)
        case events.OverridesSet(overrides):
            wanting.overrides_set(view, overrides)
        case events.RetryAsked(keys):
            wanting.retry_asked(view, keys)
        case events.SpecSet(revision, policy):
            spec_set(view, revision, policy)
        case events.StopRequested(force):
            wanting.stop_requested(view, force=force)
        case events.DetachRequested():
            wanting.detach_requested(view)
        case events.WorkerAdopted(name, pid, age_s, revision):
            adoption.adopted(view, name, pid, age_s, revision)
        case events.WorkerHeld(name, pid, why):
            held.held(view, name, pid, why)
        case events.WorkerSpawned(name, pid, revision):
            _spawned(view, name, pid, revision)
        case events.SpawnFailed(name, error, jitter):
            _spawn_failed(view, name, error, jitter)
        case events.WorkerExited(name, exit_, tree_empty, jitter, _):
            _exited(view, name, exit_, jitter, tree_empty=tree_empty)
        case events.WorkerWasDone(name, why, has_failed):
            completion.was_done(view, name, why, has_failed=has_failed)
        case events.TreeEmptied(name, jitter):
            _tree_emptied(view, name, jitter)
        case events.TreeResists(name, holdouts):
            _tree_resists(view, name, holdouts)
        case events.HealthReported(name, check, verdict, why):
            readiness.reported(view, name, check, verdict, why)
        case events.MemoryReported(name, rss_bytes):
            weighed(view, name, rss_bytes)
        case events.MoreTimeAsked(name, more_s):
            _more_time_asked(view, name, more_s)
        case events.InvariantBroken(violations):
            _frozen(view, violations)
        case events.Decided(plan):
            ordering.decided(view, plan)
        case _:
            assert_never(event)


def _told_by_store(view: View, event: events.StoreEvent) -> None:
    match event:
        case events.StoreChanged(store, number):
            storeroom.store_changed(view, store, number)
        case events.SessionTimeoutGranted(settle_s, rejoin_grace_s):
            storeroom.timeout_granted(view, settle_s, rejoin_grace_s)
        case events.WorkersListed(ours, strange, asked_at, newest):
            binding.listed(view, ours, strange, asked_at, newest)
        case events.ListFailed(why):
            storeroom.list_failed(view, why)
        case events.RegistryWiped():
            binding.wiped(view)
        case events.RegistrationRead(name, standing, pid, host):
            registrations.registration_read(view, name, Stranger(str(name), standing, pid, host))
        case events.RegistrantDead(name):
            registrations.registrant_dead(view, name)
        case events.ChildExamined() | events.BondRemembered() as news:
            binding.heard(view, news)
        case _:
            assert_never(event)


# --- the clock ----------------------------------------------------------------------------------


def _ticked(view: View, now: float, idle: float | None) -> None:
    view.now = max(view.now, now)
    view.obituaries.clear()
    while view.alarms and view.alarms[0][0] <= view.now:
        at, key = heappop(view.alarms)
        slot = view.slots.get(key)
        if slot is not None and slot.deadline == at:
            put(view, slot)
    crowd.review(view, idle)
    epidemic.release_if_over(view)
    binding.look_again(view)


def _frozen(view: View, violations: tuple[str, ...]) -> None:
    view.violations = violations
    stop_counting(view)
    epidemic.stop_counting(view)
    stop_awaiting(view)


# --- processes --------------------------------------------------------------------------------


def _spawned(view: View, name: Incarnation, pid: int, revision: str) -> None:
    slot, occupant = occupied_by(view, name)
    if slot is None or occupant is None:
        return
    readiness.review(view, slot, replace(occupant, pid=pid, since=view.now, revision=revision))


def _spawn_failed(view: View, name: Incarnation, error: str, jitter: float) -> None:
    slot, occupant = occupied_by(view, name)
    if slot is not None and occupant is not None and slot.phase is not Phase.HELD:
        cause = f"could not be launched: {error}"
        disown(view, name)  # what is registered under its name is somebody else's
        view.obituaries.append(Obituary(occupant, None, None, cause))
        _vacate(view, slot, occupant, cause, jitter)


def _exited(view: View, name: Incarnation, exit_: Exit, jitter: float, *, tree_empty: bool) -> None:
    slot, occupant = occupied_by(view, name)
    if slot is None or occupant is None:
        held.stranger_ended(view, name)
        return
    if slot.phase is Phase.HELD:
        _held_exited(view, slot, replace(occupant, exit=exit_), tree_empty=tree_empty)
        return
    note_death(view, slot)
    crowd.note_through(view, view.endings, slot)
    cause = reasons.of_end(view, slot, occupant, exit_, tree_empty=tree_empty)
    view.obituaries.append(Obituary(occupant, exit_, slot.ending, cause))
    occupant = replace(occupant, exit=exit_)
    if tree_empty:
        _vacate(view, slot, occupant, cause, jitter)
        return
    left = replace(slot, occupant=occupant, reason=cause)
    if slot.phase is Phase.DRAINING and not slot.killing:
        put(view, left)  # the rest of its tree was asked to end, too, and has as long for it
        return
    put(
        view,
        replace(
            left,
            phase=Phase.DRAINING,
            phase_since=view.now,
            deadline=view.now + view.policy.kill_retry_s,
            killing=True,
        ),
    )


def _held_exited(view: View, slot: Slot, occupant: Occupant, *, tree_empty: bool) -> None:
    """What holds a slot ended; it frees the slot with the last of its tree."""
    if not tree_empty:
        put(view, replace(slot, occupant=occupant))
        return
    cause = reasons.of_held_end(occupant.exit or Exit())
    view.obituaries.append(Obituary(occupant, occupant.exit, None, cause))
    put(view, held.ended(view, slot, occupant, cause))
    if not held.take_its_place(view, slot.key) and not view.wants(slot.key):
        vacate(view, slot.key)


def _tree_emptied(view: View, name: Incarnation, jitter: float) -> None:
    slot, occupant = occupied_by(view, name)
    if slot is None or occupant is None:
        return
    if slot.phase is Phase.HELD:
        _held_exited(view, slot, occupant, tree_empty=True)
    else:
        _vacate(view, slot, occupant, slot.reason, jitter)


def _tree_resists(view: View, name: Incarnation, holdouts: tuple[str, ...]) -> None:
    slot, _ = occupied_by(view, name)
    if slot is not None and slot.phase is Phase.DRAINING:
        put(view, replace(slot, holdouts=holdouts))


def _more_time_asked(view: View, name: Incarnation, more_s: float) -> None:
    """Who is about to end and says so is not killed for it; it never has less time than before."""
    slot, _ = occupied_by(view, name)
    if slot is None or slot.phase is not Phase.DRAINING or slot.killing or slot.deadline is None:
        return
    put(view, replace(slot, deadline=max(slot.deadline, view.now + more_s)))


def _vacate(view: View, slot: Slot, occupant: Occupant, cause: str, jitter: float) -> None:
    """The incarnation and all it started are gone: free the slot and say when it may be filled again."""
    blameless = slot.ending is not None and slot.ending.is_blameless
    if occupant.ready_at is None and not blameless:
        view.launches.pace = failed(view.launches.pace)
    empty = replace(
        slot,
        occupant=None,
        phase=Phase.VACANT,
        phase_since=view.now,
        deadline=None,
        killing=False,
        ending=None,
        holdouts=(),
    )
    if not view.wants(slot.key):
        put(view, empty)
        vacate(view, slot.key)
    elif blameless:
        put(view, after_ending(view, empty, slot.ending, Death(occupant, cause, jitter)))
    elif (done := completion.completed(view, slot, empty, occupant, cause)) is not None:
        put(view, done)
    else:
        put(view, after_death(view, empty, Death(occupant, cause, jitter)))
    release_if_whole(view)
    binding.vacated(view, occupant.name)
    if occupant.name in view.listed:
        _left_registered(view, occupant.name)


def _left_registered(view: View, name: Incarnation) -> None:
    if is_own(view, name):
        registrations.mark_leftover(view, name)
    else:
        registrations.look_into(view, name)
