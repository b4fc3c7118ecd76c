"""SAFETY and LIVENESS: what must hold of every history of one daemon on one host, simulated or real.

Theory of operation. `violations_of` replays a history (see `history`) once and names every broken rule, when, whose:

I1  one live incarnation a slot (its whole tree counts), and only wanted slots are filled
I2  once nothing has been disturbed for `whole_within_s`, exactly the wanted slots serve, nothing else lives or is
    registered, and it stays so; a stable worker that dies alone is replaced within `prompt_s`; what is done stays so
I3  nobody is ended for a registration while the store is away or its workers have time to register again
I4  a healthy worker (no fault hit it, or it has registered again since) is never ended, whatever the store does;
    after a mass loss nobody is ended before the hold is over, then only one by one
I5  no signal to another process than the one meant or to one not proven to be ours; bystanders and their znodes live
I6  a stop ends in time and leaves nothing but what is not proven to be ours; who is asked to end has its grace
I12 see `ailments`: workers that are asked for their health; I13 see `sizes`: those too large; I14 see `stops`
I7  restarts stay within the group's budget, and no generation is used twice
I11 who is outdated or to be restarted is replaced one at a time, each ready before the next, while all are filled

The numbers are those every coordinated supervisor is held to. I8 (ephemerals vanish exactly when they should) and I9
(order of watch events, growing zxids) are promises of a server, checked by its own tests. I10 (one leader acts) has no
leader to check; that one daemon holds a group is checked with its lock.

Limits: tolerances are fields of `Rules`. A history too short to judge is a violation, not a pass.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

from autohealer.core.model import Exit, Incarnation
from tests.support import history as tale
from tests.support.ailments import KNOWN_SICK, violations_of_health
from tests.support.completions import Completions
from tests.support.history import NO_LIST, UNPROVABLE, Farewell, Harm
from tests.support.ledgers import NEVER, Census, Life, RestartLedger, Rules
from tests.support.losses import MassLosses
from tests.support.overlaps import Overlaps
from tests.support.renewals import Renewals
from tests.support.sizes import OVERSIZED, violations_of_size
from tests.support.stops import violations_of_stops
from tests.support.wishes import Wishes


def violations_of(history: Iterable[tale.Record], rules: Rules) -> list[str]:
    """Every broken invariant, as `I4 at 12.345: slot 3 generation 7 …`; empty when all hold."""
    judge, records = Judge(rules), tuple(history)
    for record in records:
        judge.witness(record)
    if not records or not isinstance(records[-1], tale.Closed):
        judge.violations.append("the history has no end: nothing can be said of what came last")
    more = violations_of_health(records, rules) + violations_of_size(records, rules)
    return judge.violations + more + violations_of_stops(records, rules)


class Judge:
    """Replays a history; one method per kind of record."""

    def __init__(self, rules: Rules) -> None:
        self.violations: list[str] = []
        self._rules = rules
        self._at = NEVER
        self._wishes = Wishes()
        self._census = Census()
        self._overlaps = Overlaps(rules.overlap_s)
        self._daemon_up = False
        self._stop_asked_at: float | None = None
        self._patience_s = 0.0
        self._store_up: bool | None = None
        self._was_up = False
        self._store_since = NEVER
        self._trusted_from = NEVER
        self._impaired: set[tuple[str, Incarnation | None]] = set()
        self._impaired_at = NEVER
        self._hidden: set[str] = set()
        self._disturbed_at = NEVER
        self._whole_since: float | None = None
        self._complained = False
        self._due: dict[int, float] = {}
        self._ledger = RestartLedger(rules.policy, slack_s=rules.clock_s)
        self._losses = MassLosses(rules, self._census)
        self._renewals = Renewals(self._census, rules)
        self._completions = Completions(rules.policy.restart, self._census)

    def witness(self, record: tale.Record) -> None:  # noqa: C901, PLR0912 - one arm per record
        """Judge what was true until this record, then take it in."""
        self._at = max(self._at, record.at)
        self._judge_calm()
        match record:
            case tale.Wanted() | tale.Overridden():
                self._wanted(record)
            case tale.Retried(_, slots):
                self._completions.retried(slots, self._at, is_heard=self._daemon_up)
            case tale.Respecified(_, revision):
                self._census.revision = revision
                self._completions.respecified(self._at)
                self._disturb()
            case tale.Launched(_, name, _, revision):
                self._launched(name, revision)
            case tale.Found(_, name):
                self._arrive(Life(name, self._at, found=True))
            case tale.Ended(_, name, left, exit_):
                self._ended(self._census.lives[name], left, exit_)
            case tale.Emptied(_, name):
                self._gone(self._census.lives[name])
            case tale.Registered(_, name):
                self._did_register(name)
            case tale.Deregistered(_, name):
                self._did_deregister(name)
            case tale.StoreIs(_, up):
                self._store_is(up)
            case tale.DaemonStarted():
                self._daemon_started()
            case tale.DaemonEnded(_, farewell):
                self._daemon_ended(farewell)
            case tale.StopAsked(_, force):
                self._stop_asked(force=force)
            case tale.Signalled(_, name, reached, kill):
                self._was_signalled(name, reached, kill=kill)
            case tale.Discarded(_, name):
                self._was_discarded(name)
            case tale.BystanderEnded(_, pid):
                self._say("I5", f"the bystander with pid {pid} was ended")
            case tale.Fault(_, kind, harm, target):
                self._fault(kind, harm, target)
            case tale.Relief(_, kind, target):
                self._relief(kind, target)
            case tale.Closed():
                self._closed()
            case _:
                assert_never(record)
        self._note_wholeness()

    def _say(self, invariant: str, sentence: str) -> None:
        self.violations.append(f"{invariant} at {self._at:.3f}: {sentence}")

    # --- I2 and I6: whole when calm, gone when stopped ------------------------------------------

    def _note_wholeness(self) -> None:
        if any(self._census.flaws(self._wishes)):
            self._whole_since = None
        elif self._whole_since is None:
            self._whole_since = self._at

    def _judge_calm(self) -> None:
        for slot in [slot for slot, due in self._due.items() if self._at > due]:
            del self._due[slot]
            self._say("I2", f"slot {slot} was not filled again within {self._rules.prompt_s:g} s")
        if self._complained or not self._daemon_up or self._impaired:
            return
        calm_s = self._at - self._disturbed_at - self._rules.clock_s
        if self._stop_asked_at is not None:
            if calm_s > self._rules.stop_within_s:
                self._complained = True
                self._say("I6", f"not stopped within {self._rules.stop_within_s:g} s")
        elif self._whole_since is None and calm_s > self._rules.whole_within_s and not self._hidden:
            self._complained = True
            within_s, flaws = self._rules.whole_within_s, list(self._census.flaws(self._wishes))
            self._say("I2", f"not whole {within_s:g} s after the last fault: {flaws}")

    def _disturb(self) -> None:
        self._disturbed_at = self._at
        self._complained = False

    def _closed(self) -> None:
        for sentence in self._overlaps.close(self._at):
            self._say("I1", sentence)
        if self._stop_asked_at is not None and not self._daemon_up:
            for sentence in self._census.dead_registrations():
                self._say("I6", f"{sentence} after the stop")
        elif self._whole_since is None or self._at - self._whole_since < self._rules.quiet_s:
            quiet_s, flaws = self._rules.quiet_s, list(self._census.flaws(self._wishes))
            self._say("I2", f"not whole and quiet for {quiet_s:g} s at the end: {flaws}")

    # --- processes: I1, I2, I7 ------------------------------------------------------------------

    def _launched(self, name: Incarnation, revision: str) -> None:
        if name in self._census.lives:
            self._say("I7", f"{name} was used before")
            return
        if not self._wishes.wants(name.slot) or self._stop_asked_at is not None:
            self._say("I1", f"{name} is launched though slot {name.slot} is not wanted")
        if not self._daemon_up:
            self._say("I1", f"{name} is launched though no daemon runs")
        if not self._ledger.charge(name.slot, self._at):
            self._say("I7", f"the restart of slot {name.slot} is beyond the group's budget")
        if self._rules.one_at_a_time and (unbound := self._census.newborn()):
            self._say("I1", f"{name} is launched though {unbound[0]} has not registered yet")
        self._due.pop(name.slot, None)
        if wrong := self._completions.filled(name.slot):
            self._say("I2", wrong)
        self._arrive(Life(name, self._at, found=False, revision=revision))

    def _arrive(self, life: Life) -> None:
        others = self._census.present.get(life.name.slot, [])
        surplus = sum(o.found for o in others) if self._census.had_surplus(life.name.slot) else 0
        if not life.found and len(others) > surplus:
            self._overlaps.begin(life.name, others[-1].name, self._at)
            if not self._rules.overlap_s:
                self._say("I1", f"{life.name} was launched beside {others[-1]}")
        self._census.add(life)
        self._losses.arrive(life, self._at)

    def _ended(self, life: Life, left: int, exit_: Exit | None) -> None:
        wants = self._daemon_up and self._stop_asked_at is None and not self._is_surplus(life)
        self._completions.ended(life, exit_, is_seen=wants)
        if not life.signalled and not life.doomed:
            self._judge_ending(life)
        life.alive = False
        self._renewals.died(life, self._at)
        self._losses.leave(life, self._at, self._wishes.kept)
        self._due.clear()  # deaths together may have to wait for each other
        if not left:
            prompt = life.doomed and not life.signalled and self._is_replaced_at_once(life)
            self._gone(life)
            if prompt and life.name.slot not in self._census.excused:
                self._due[life.name.slot] = self._at + self._rules.prompt_s + self._rules.clock_s

    def _is_replaced_at_once(self, life: Life) -> bool:
        """A stable worker, when no other slot waits to be filled and nothing was in the way of launches lately."""
        policy = self._rules.policy
        if not self._daemon_up or self._stop_asked_at is not None or self._impaired:
            return False
        if self._at - self._impaired_at <= policy.intensity_period_s or self._is_surplus(life):
            return False
        if life.served_s(self._at) <= policy.stable_s:
            return False
        if self._ledger.balance(self._at) < 1.0 + self._ledger.slack:
            return False
        proven_s = 2 * policy.probation_s
        slots = (self._census.present.get(slot, []) for slot in self._wishes.wanted)
        return all(
            [self._at - other.since > proven_s for other in lives] == [True] for lives in slots
        )

    def _gone(self, life: Life) -> None:
        life.alive = False
        impaired = {(kind, target) for kind, target in self._impaired if target != life.name}
        if impaired != self._impaired:
            self._impaired = impaired
            self._disturb()
        self._census.remove(life)
        self._completions.gone(life, self._at)
        for sentence in self._overlaps.end(life.name, self._at):
            self._say("I1", sentence)

    # --- endings: I3, I4, I5 --------------------------------------------------------------------

    def _was_signalled(self, name: Incarnation, reached: Incarnation | None, *, kill: bool) -> None:
        if reached != name:
            self._say("I5", f"a signal for {name} reached {reached or 'a bystander'}")
        life = self._census.lives.get(name)
        if life is not None and life.alive and not life.signalled:
            self._judge_ending(life)
            life.signalled = True
        if life is not None and (wrong := life.is_told(self._at, self._patience_s, kill=kill)):
            self._say("I6", f"{life} was killed {wrong}")

    def _was_discarded(self, name: Incarnation) -> None:
        if name not in self._census.lives:
            self._say("I5", f"the registration of {name}, which is nobody's here, was deleted")

    def _judge_ending(self, life: Life) -> None:
        """The daemon ends a live incarnation, or nobody knows who did."""
        if self._stop_asked_at is not None or self._is_surplus(life) or KNOWN_SICK in life.ailments:
            self._losses.leave(life, self._at, self._wishes.kept)
            return
        is_excused = self._is_outdated(life) or OVERSIZED in life.ailments
        if is_excused and self._at <= life.lost_at + self._rules.sight_s:
            self._losses.leave(life, self._at, self._wishes.kept)  # not seen yet that it is missing
        elif wrong := self._losses.end(life.name, self._at, self._wishes.kept):
            self._say("I4", f"{life.name} was ended {wrong}")
        if self._store_up is False and self._at > self._store_since + self._rules.clock_s:
            self._say("I3", f"{life.name} was ended while the store was away")
        elif self._at < self._trusted_from - self._rules.clock_s:
            self._say("I3", f"{life.name} was ended before the workers had time to register again")
        if not self._daemon_up:
            self._say("I4", f"{life.name} was ended though no daemon ran and no fault hit it")
        elif self._at >= life.well_from:
            self._judge_ending_of_healthy(life)

    def _judge_ending_of_healthy(self, life: Life) -> None:
        """Only what is outdated may be ended, and only one at a time, each ready before the next."""
        if not self._is_outdated(life):
            self._say("I4", f"{life.name} was healthy and was ended")
            return
        if wrong := self._renewals.next(life, self._at, self._wishes):
            self._say("I11", f"{life.name} was ended for being outdated, or as asked, {wrong}")

    def _is_outdated(self, life: Life) -> bool:
        return life.revision != self._census.revision or self._wishes.asks(life.name)

    def _is_surplus(self, life: Life) -> bool:
        """Not wanted, or one of several found in its slot."""
        slot = life.name.slot
        return not self._wishes.wants(slot) or (life.found and self._census.had_surplus(slot))

    # --- registrations --------------------------------------------------------------------------

    def _seen_at(self) -> float:
        return self._at + self._rules.sight_s + self._rules.clock_s

    def _did_register(self, name: Incarnation) -> None:
        self._census.registered.add(name)
        life = self._census.lives.get(name)
        if life is None:
            return
        life.registered_at, life.was_registered = self._at, True
        self._note_service()
        self._losses.register(life, self._at, self._wishes.kept)

    def _did_deregister(self, name: Incarnation) -> None:
        self._census.registered.discard(name)
        life = self._census.lives.get(name)
        if life is None or life.registered_at is None:
            return
        settled = self._at - life.registered_at > 2 * self._rules.policy.probation_s
        settled = settled and not life.unprovable and life.is_expected(self._at)
        seen = self._is_peace() and life.is_news(self._at)
        life.registered_at, life.lost_at = None, self._at
        if self._store_up is not False:
            life.seen_from = None  # the daemon sees it missing, or may
        if life.alive and not life.signalled and not life.doomed and settled:
            self._losses.vanished(name, self._at, self._wishes.kept, seen=seen)

    def _is_peace(self) -> bool:
        """Whether the daemon sees what is registered, and judges it."""
        calm = self._daemon_up and not self._hidden and self._store_up is not False
        calm = calm and self._stop_asked_at is None  # else it is the stop that ends registrations
        settled = self._at - self._store_since > self._rules.policy.settle_s
        return calm and settled and self._at > self._trusted_from

    def _was_lost_unseen(self, life: Life) -> bool:
        was_seen = life.seen_from is not None and not life.signalled and not life.doomed
        return was_seen and life.lost_at > self._store_since

    def _note_service(self) -> None:
        """From when the daemon can know of each worker that it is well, and that it serves."""
        can_see = self._daemon_up and self._store_up is not False
        for life in () if self._hidden else self._census.all_present():
            life.recover(self._seen_at())
            if can_see and life.registered_at is not None:
                life.note_seen(self._seen_at())

    # --- the store, the daemon, the operator, faults --------------------------------------------

    def _wanted(self, record: tale.Wanted | tale.Overridden) -> None:
        self._wishes.take(record)
        self._losses.scale(self._at, self._wishes.kept)
        self._completions.want(self._wishes, self._at, is_heard=self._daemon_up)
        self._ledger.scale(self._at, self._wishes.replicas)
        self._due.clear()
        self._disturb()

    def _store_is(self, up: bool) -> None:
        if up is self._store_up:
            return
        (self._store_came if up else self._store_went)()
        self._store_up, self._store_since = up, self._at
        self._note_service()
        self._disturb()

    def _store_came(self) -> None:
        """Who lived through it has time to register again; nobody did where the first connection finds none."""
        if self._was_up or self._census.present:
            self._trusted_from = self._at + self._rules.policy.settle_s
        is_listed = not any(kind.startswith(NO_LIST) for kind in self._hidden)
        if is_listed and (self._store_up is None or self._was_up):
            missing = {
                life.name
                for life in self._census.unregistered()
                if not self._is_surplus(life) and (not self._was_up or self._was_lost_unseen(life))
            }
            self._losses.found(missing, self._at, self._wishes.kept)
        self._was_up = True

    def _store_went(self) -> None:
        """What the daemon cannot have seen yet it does not know; a mass loss it will see then, if it still is one."""
        for life in self._census.all_present():
            life.unless_seen_by(self._at)
        self._losses.store_went(self._at)

    def _daemon_started(self) -> None:
        self._daemon_up = True
        self._stop_asked_at = None
        self._patience_s = self._rules.policy.grace_s - self._rules.clock_s
        for life in self._census.all_present():
            life.asked_at, life.adopted = NEVER, True  # a new daemon does not know of it
        self._ledger.open(self._at, self._census.visible_slots(), self._wishes.replicas)
        self._completions.want(self._wishes, self._at)
        self._renewals.begin()
        self._note_service()
        self._disturb()

    def _daemon_ended(self, farewell: Farewell) -> None:
        self._daemon_up = False
        self._losses.daemon_ended()
        self._completions.daemon_ended(self._at, is_stopped=farewell is Farewell.STOPPED)
        self._store_up, self._was_up = None, False
        self._trusted_from = NEVER
        self._due.clear()
        for life in self._census.all_present():
            life.serves_from = life.seen_from = None
        if farewell is Farewell.STOPPED:
            if self._stop_asked_at is None:
                self._say("I6", "the daemon ended although nobody asked it to")
            for life in self._census.all_present():
                if not life.unprovable:
                    self._say("I6", f"{life} outlived the stop")
        self._disturb()

    def _stop_asked(self, *, force: bool) -> None:
        if force or self._stop_asked_at is not None:
            self._patience_s = 0.0
        if self._stop_asked_at is None:
            self._stop_asked_at = self._at
        self._due.clear()
        self._disturb()

    def _fault(self, kind: str, harm: Harm, target: Incarnation | None) -> None:
        self._disturb()
        life = None if target is None else self._census.lives.get(target)
        match harm:
            case Harm.HIDES:
                self._hidden.add(kind)
                if kind.startswith(NO_LIST):
                    self._losses.list_failed(self._at)
            case Harm.IMPAIRS:
                if life is not None:
                    life.unprovable |= kind == UNPROVABLE
                self._impaired.add((kind, target))
                self._impaired_at = self._at
                self._due.clear()
            case Harm.KILLS if life is not None:
                life.doomed = True
            case Harm.UNREGISTERS if life is not None:
                life.fall_ill(kind)
            case Harm.WITHHOLDS if life is not None:
                life.cannot_serve(kind)
            case Harm.DISTURBS if life is not None:
                life.overlooked = True

    def _relief(self, kind: str, target: Incarnation | None) -> None:
        self._disturb()
        self._hidden.discard(kind)
        if (kind, target) in self._impaired:
            self._impaired.discard((kind, target))
            self._impaired_at = self._at
        for life in self._census.all_present():
            if target in {None, life.name}:
                life.get_over(kind, known_at=self._at + self._rules.asked_within_s)
        self._note_service()
