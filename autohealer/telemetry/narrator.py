"""Tell what happened and what was decided, one log line per fact, with the reason the decider gave.

Event names are stable: programs read them. A line about a worker carries slot, generation and pid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import assert_never

import structlog

from autohealer.core import events
from autohealer.core.actions import Drain, Kill, Plan, Spawn
from autohealer.core.binding import child_of
from autohealer.core.health import Check, Verdict
from autohealer.core.model import Incarnation, Occupant, Phase, Slot, Stop, Store, View
from autohealer.core.reasons import of_bytes, of_epidemic, of_exit, of_mass_loss
from autohealer.core.strangers import Standing
from autohealer.core.turns import has_bonds

_NEXT = {
    Phase.STARTING: "restarted at once",
    Phase.READY: "restarted at once",
    Phase.UNREADY: "restarted at once",
    Phase.BACKOFF: "waits",
    Phase.QUARANTINED: "quarantined",
    Phase.VACANT: "waits for its turn",
    Phase.DRAINING: "ends what it left behind",
    Phase.DONE: "done, not restarted",
    Phase.STOPPED: "stopped",
    Phase.HELD: "held by a process that cannot be proven to be its worker",
}


class Narrator:
    """An observer of decisions that writes log lines; O(facts), never O(N)."""

    def __init__(
        self,
        logger: structlog.typing.FilteringBoundLogger,
        last_output: Callable[[int], list[str]],
        hint: Callable[[int], str],
    ) -> None:
        """`last_output` gives the last lines of what ended in a slot, `hint` what may be done about it, or ""."""
        self._logger = logger
        self._last_output = last_output
        self._hint = hint
        self._known = frozenset[Incarnation]()
        self._strange = set[str]()
        self._holds: tuple[str, ...] = ()
        self._launched: frozenset[int] = frozenset()
        self._braking = self._ailing = False

    def __call__(self, facts: Sequence[events.Event], plan: Plan, view: View) -> None:
        """One round."""
        self._launched = frozenset(a.key for a in plan.actions if isinstance(a, Spawn))
        for fact in facts:
            self._tell_fact(fact, view)
        for action in plan.actions:
            if isinstance(action, Drain | Kill):
                self._tell_ending(action, view)
        if view.brake.on is not self._braking:
            self._tell_brake(view)
        if view.room.epidemic.on is not self._ailing:
            self._tell_epidemic(view)
        if plan.holds != self._holds:
            self._tell_holds(plan.holds)
        if plan.finished:
            self._tell_end(view)

    def _tell_fact(self, fact: events.Event, view: View) -> None:  # noqa: C901, PLR0912 - one arm per fact
        if isinstance(fact, events.StoreEvent):
            self._tell_of_store(fact, view)
            return
        match fact:
            case events.WorkerSpawned(name, pid):
                reason = view.slots[name.slot].reason if name.slot in view.slots else ""
                self._worker(name, pid).info("worker_started", reason=reason)
            case events.WorkerAdopted(name, pid, age_s):
                self._worker(name, pid).info("worker_adopted", age_s=round(age_s, 1))
            case events.WorkerHeld(name, pid, why):
                self._worker(name, pid).warning("worker_held", why=why, action="left alone")
            case events.SpawnFailed(name, error, _):
                self._worker(name, None).error("worker_start_failed", error=error)
            case events.WorkerExited() as exited:
                self._tell_exit(exited, view)
            case events.WorkerWasDone(name, why):
                self._worker(name, None).info("worker_was_done", why=why, action="not restarted")
            case events.TreeEmptied(name, _):
                self._worker(name, None).info("worker_tree_gone")
            case events.TreeResists(name, holdouts):
                self._worker(name, None).error("worker_tree_resists", still_there=holdouts)
            case events.HealthReported(name, check, verdict, why):
                if verdict is not Verdict.UNHEALTHY or not view.room.epidemic.on:
                    self._tell_health(name, check, verdict, why)  # else one line tells of all
            case events.MemoryReported(name, rss_bytes):
                self._tell_memory(name, rss_bytes, view)
            case events.StopRequested():
                self._logger.info("stopping", how=view.desired.stop.value, workers=len(view.key_of))
            case events.InvariantBroken(violations):
                self._logger.critical("invariant_broken", violations=violations)
            case (
                events.Ticked()
                | events.ReplicasSet()
                | events.OverridesSet()
                | events.RetryAsked()
                | events.SpecSet()
                | events.DetachRequested()
                | events.MoreTimeAsked()
                | events.Decided()
            ):
                pass  # told elsewhere, or not worth a line
            case _:
                assert_never(fact)

    def _tell_of_store(self, fact: events.StoreEvent, view: View) -> None:
        match fact:
            case events.StoreChanged(store):
                tell = self._logger.info if store is Store.CONNECTED else self._logger.warning
                tell(f"zookeeper_{store.value}")
            case events.WorkersListed(ours, _):
                self._tell_listed(view.listed if has_bonds(view) else ours, view)
            case events.ListFailed(why):
                self._logger.warning("registrations_not_listed", why=why)
            case events.RegistryWiped():
                self._logger.warning("registry_wiped")
            case events.RegistrationRead(name, standing, pid, host):
                self._tell_stranger(name, standing, pid, host)
            case events.ChildExamined() as examined:
                self._tell_child(examined, view)
            case events.RegistrantDead(name):
                self._worker(name, None).info("stale_registration_deleted")
            case events.SessionTimeoutGranted() | events.BondRemembered():
                pass  # told elsewhere, or not worth a line
            case _:
                assert_never(fact)

    def _tell_exit(self, exited: events.WorkerExited, view: View) -> None:
        number = exited.name.slot
        worker = self._worker(exited.name, exited.pid)
        how = of_exit(exited.exit)
        slot = view.slots.get(number)
        if slot is None or not view.wants(number) or not self._held(exited.name, slot):
            worker.info("worker_stopped", how=how)
            return
        hint = self._hint(number)
        worker.warning(
            "worker_exited",
            how=how,
            reason=slot.reason,
            then=_next(slot, view.now) if exited.tree_empty else _NEXT[Phase.DRAINING],
            **({"hint": hint} if hint else {}),
            last_output=self._last_output(number),
        )

    def _held(self, name: Incarnation, slot: Slot) -> bool:
        """Whether an ended incarnation was the slot's own: it still is, nobody is, or its heir was just launched."""
        return slot.occupant is None or slot.occupant.name == name or slot.key in self._launched

    def _tell_ending(self, action: Drain | Kill, view: View) -> None:
        slot = view.slots.get(action.key)
        pid = slot.occupant.pid if slot is not None and slot.occupant is not None else None
        worker = self._worker(action.name, pid)
        tell = (
            worker.info
            if action.ending is not None and action.ending.is_blameless
            else worker.warning
        )
        tell(
            "worker_draining" if isinstance(action, Drain) else "worker_killed",
            reason=action.reason,
        )

    def _tell_listed(self, ours: frozenset[Incarnation], view: View) -> None:
        for name in sorted(ours - self._known):
            occupant = _occupant(view, name)
            if occupant is not None:
                progress = f"{view.ready_count()}/{view.desired.kept} registered"
                child = child_of(view, name)
                bound = {} if child is None else {"child": child.label}
                self._worker(name, occupant.pid).info(
                    "worker_registered", progress=progress, **bound
                )
        self._known = ours

    def _tell_child(self, examined: events.ChildExamined, view: View) -> None:
        """Whose it is, or, once, that it is nobody's."""
        label = examined.sight.child.label
        self._tell_listed(view.listed, view)
        if label in view.strangers and label not in self._strange:
            self._tell_stranger(label, examined.standing, examined.pid, examined.host)
            self._strange = {it for it in self._strange if it in view.strangers} | {label}

    def _tell_stranger(
        self, name: Incarnation | str, standing: Standing, pid: int | None, host: str
    ) -> None:
        self._logger.warning(
            "unknown_registration",
            name=str(name),
            standing=standing.value,
            pid=pid,
            host=host,
            action="left alone",
        )

    def _tell_health(self, name: Incarnation, check: Check, verdict: Verdict, why: str) -> None:
        worker = self._worker(name, None)
        if verdict is Verdict.WELL:
            worker.info("worker_well", check=check.value)
        else:
            worker.warning(f"worker_{verdict.value}", check=check.value, why=why)

    def _tell_memory(self, name: Incarnation, rss_bytes: int, view: View) -> None:
        worker, limit_bytes = self._worker(name, None), view.policy.memory_restart_bytes or 0
        tell, event = (
            (worker.warning, "worker_oversized")
            if rss_bytes > limit_bytes
            else (worker.info, "worker_fits_again")
        )
        tell(event, uses=of_bytes(rss_bytes), may=of_bytes(limit_bytes))

    def _tell_epidemic(self, view: View) -> None:
        self._ailing = view.room.epidemic.on
        if self._ailing:
            self._logger.error("mass_ailment", why=of_epidemic(view))
        else:
            self._logger.info("mass_ailment_over")

    def _tell_brake(self, view: View) -> None:
        self._braking = view.brake.on
        if self._braking:
            self._logger.error("mass_loss", why=of_mass_loss(view))
        else:
            self._logger.info("mass_loss_over")

    def _tell_end(self, view: View) -> None:
        if view.desired.stop is Stop.DETACH:
            self._logger.info("detached", workers_left_running=len(view.key_of))
        else:
            self._logger.info("stopped")

    def _tell_holds(self, holds: tuple[str, ...]) -> None:
        for hold in holds:
            if hold not in self._holds:
                self._logger.info("holding", why=hold)
        self._holds = holds

    def _worker(self, name: Incarnation, pid: int | None) -> structlog.typing.FilteringBoundLogger:
        pid_field = {"pid": pid} if pid else {}
        return self._logger.bind(slot=name.slot, **pid_field, generation=name.generation)


def _next(slot: Slot, now: float) -> str:
    """What becomes of a slot after a death, and when."""
    if slot.phase in {Phase.BACKOFF, Phase.QUARANTINED} and slot.deadline is not None:
        return f"{_NEXT[slot.phase]}, next try in {slot.deadline - now:.1f} s"
    return _NEXT[slot.phase]


def _occupant(view: View, name: Incarnation) -> Occupant | None:
    key = view.key_of.get(name)
    return None if key is None else view.slots[key].occupant
