"""The oracle's book of mass losses: many registrations gone together, and whose turn it is to be ended then.

Theory of operation. A mass loss is one that the daemon could see and had to take for one; where that is not certain,
none is noted, and nobody is held to it. It is seen when it happens in peace (`vanished`), when a daemon connects for
the first time, or again (`found`). What has happened unseen by then counts as the daemon finds it: who was missing when
the connection went and is missing when it is back is nothing new to it, whether it was registered in between or not.
So it is with who comes back and is lost again while the daemon sees nothing, its connection or not. What it orders or
the kernel tells is known to it at once, what vanished just before is not: who is the last one missing by then, and
whether the next ones are the same loss or another, is not certain.

Must never know: the daemon's view, its decisions, how records are gathered.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from autohealer.core.model import Incarnation
from autohealer.core.policy import Policy
from tests.support.ailments import WITHHELD
from tests.support.ledgers import NEVER, Census, Life, Rules


@dataclass(slots=True)
class MassLoss:
    """Registrations that vanished together while their processes lived, and what has been done about it since.

    A witness that polls may see a replacement's registration later than the daemon does, or never; where the record is
    not `exact`, its launch stands for it. The first replacement is followed by a hold of its own. As many lost together
    meanwhile begin it anew: `latest` are the last that did, `latest_at` when. Until `unseen_until` the daemon may not
    have seen that, and is judged by what held before (`held_until`, `replaced_before`). `awaited` are slots whose
    incarnation was ended for a loss before this one, perhaps under the brake: then a replacement that registers in one
    of them shows as well that the store takes registrations, and lets one more be ended.
    """

    policy: Policy
    began: float
    missing: set[Incarnation]
    exact: bool = True
    awaited: set[int] = field(default_factory=set)
    ended_at: dict[int, float] = field(default_factory=dict)
    replaced: int = 0
    hold_until: float = field(init=False)
    latest: set[Incarnation] = field(init=False)
    latest_at: float = field(init=False)
    unseen_until: float = NEVER
    held_until: float = NEVER
    replaced_before: int = 0

    def __post_init__(self) -> None:
        self.hold_until = self._first_hold_until
        self.latest, self.latest_at = self.missing, self.began

    def begin_anew(self, at: float, together: set[Incarnation], sight_s: float) -> None:
        """As many again are lost: hold again, and then one at a time, as soon as that can be seen."""
        if at > self.unseen_until:
            self.held_until, self.replaced_before = self.hold_until, self.replaced
        self.unseen_until = at + sight_s
        self.latest, self.latest_at = set(together), at
        self.missing |= together
        self.hold_until, self.replaced = at + self.policy.settle_s, 0

    def forget(self, name: Incarnation) -> None:
        """One is missing no more."""
        self.missing.discard(name)
        self.latest.discard(name)

    @property
    def _first_hold_until(self) -> float:
        return self.began + self.policy.settle_s

    def end(self, name: Incarnation, at: float) -> str | None:
        """One of the missing is ended; what is wrong with that, if anything is."""
        self.missing.discard(name)
        is_seen = at > self.unseen_until
        replaced = self.replaced if is_seen else self.replaced_before
        if at < (self.hold_until if is_seen else self.held_until):
            return "while the mass-loss brake had to hold"
        timeout_s = self.policy.registration_timeout_s
        waiting = sum(at - ended_at < timeout_s for ended_at in self.ended_at.values())
        self.ended_at[name.slot] = at
        if waiting > replaced:
            return f"beside {waiting} others after a mass loss, of which {replaced} were replaced"
        return None

    def register(self, life: Life, at: float) -> None:
        """One is registered (again); a replacement's registration lets one more be ended."""
        self.missing.discard(life.name)
        if self.exact:
            self._replace(life, at)

    def arrive(self, life: Life, at: float) -> None:
        """One is launched."""
        if not self.exact:
            self._replace(life, at)

    def _replace(self, life: Life, at: float) -> None:
        was_awaited = life.name.slot in self.awaited
        self.awaited.discard(life.name.slot)
        was_ended = self.ended_at.pop(life.name.slot, None) is not None
        if was_ended and not self.replaced:
            self.hold_until = at + self.policy.settle_s
        # When the hold began and ended is not exact either: then it counts that one of the slot's was ended.
        is_replacement = life.since >= self._first_hold_until if self.exact else was_ended
        if is_replacement or was_awaited:
            self.replaced += 1
            self.replaced_before += 1


class MassLosses:
    """The mass loss of the moment, if there is one, and what is needed to tell the next."""

    def __init__(self, rules: Rules, census: Census) -> None:
        self.now: MassLoss | None = None
        self._rules = rules
        self._census = census
        self._vanished: list[tuple[float, Incarnation, bool]] = []
        self._changed_at = NEVER
        self._awaited: set[int] = set()

    @property
    def _is_exact(self) -> bool:
        return not self._rules.clock_s

    def end(self, name: Incarnation, at: float, replicas: int) -> str | None:
        """The daemon ends one; what is wrong with that, if anything is."""
        if self._census.lives[name].is_missing:
            self._awaited.add(name.slot)
        if self.now is None or name not in self.now.missing:
            return None
        wrong = self.now.end(name, at + self._rules.clock_s)
        self._part(at, replicas)
        return wrong

    def leave(self, life: Life, at: float, replicas: int) -> None:
        """One is dead, or told to go since it is not wanted: missed no more."""
        self.miss_no_more(life, at, replicas)
        self._part(at, replicas)

    def _part(self, at: float, replicas: int) -> None:
        """Who is left may have vanished too late to be seen before the last one of those before was gone."""
        lately_s = self._rules.sight_s + self._rules.clock_s
        left = set() if self.now is None else self.now.missing
        if not left or any(at > self._census.lives[name].lost_at + lately_s for name in left):
            return
        if self.now is not None and len(left & self.now.latest) > self._limit(replicas):
            self.now.ended_at.clear()  # it is a mass loss either way
        else:
            self.now = None

    def arrive(self, life: Life, at: float) -> None:
        """One is there."""
        if self.now is not None:
            self.now.arrive(life, at)

    def register(self, life: Life, at: float, replicas: int) -> None:
        """One is registered (again)."""
        self.miss_no_more(life, at, replicas)
        if life.serves_from is not None:
            self._awaited.discard(life.name.slot)
        if self.now is not None:
            self.now.register(life, at)

    def miss_no_more(self, life: Life, at: float, replicas: int) -> None:
        """Who died or registered again; before the daemon could see it missing, it is no part of a mass loss at all."""
        self._changed_at = at
        if self.now is None or life.name not in self.now.missing:
            return
        self.now.forget(life.name)
        self.scale(at, replicas)

    def scale(self, at: float, replicas: int) -> None:
        """What was not seen yet has to be too many of those that are wanted when it is."""
        if self._is_unseen(at) and self.now and len(self.now.latest) <= self._limit(replicas):
            self.now = None

    def store_went(self, at: float) -> None:
        """What the daemon cannot have seen yet it will see when it is connected again, if it still is so then."""
        if self._is_unseen(at):
            self.now = None

    def list_failed(self, at: float) -> None:
        """What vanished in this very moment no list has shown; who is back before one does was never missed."""
        if self.now is not None and at <= self.now.latest_at:
            self.now = None

    def daemon_ended(self) -> None:
        """The next one knows of nothing."""
        self.now = None
        self._awaited.clear()

    def vanished(self, name: Incarnation, at: float, replicas: int, *, seen: bool) -> None:
        """A live worker's registration is gone, which the daemon has `seen` as a loss or not."""
        clock_s = self._rules.clock_s
        self._vanished = [v for v in self._vanished if at - v[0] <= clock_s]
        self._vanished.append((at, name, seen))
        together = {n for _, n, _ in self._vanished}
        news = {n for _, n, is_news in self._vanished if is_news}
        alone = {life.name for life in self._census.all_present() if life.is_missing} <= together
        before = self.now is not None and self.now.began < at - clock_s
        if self.now and before and (alone or not self.now.missing):
            # All of the last time are back or gone; whether the daemon has seen that is not certain at first.
            self.now = None
            if at <= self._changed_at + self._rules.sight_s + clock_s:
                return
        many = seen and len(news) > self._limit(replicas)
        if self.now is not None:
            self.now.missing.add(name)
            if many and self._is_exact:
                self.now.begin_anew(at, news, self._rules.sight_s)
        elif many and alone:
            self.now = MassLoss(self._rules.policy, at, together, exact=self._is_exact)

    def found(self, missing: set[Incarnation], at: float, replicas: int) -> None:
        """Who is without registration when the daemon sees the store, at first or again, all at once."""
        self._awaited -= {life.name.slot for life in self._census.all_present() if life.is_known}
        lost = {name for name in missing if not self._census.lives[name].ailments & WITHHELD}
        if self._is_exact and len(lost) > self._limit(replicas):
            self.now = MassLoss(self._rules.policy, at, lost, awaited=set(self._awaited))

    def _is_unseen(self, at: float) -> bool:
        return self.now is not None and at <= self.now.latest_at + self._rules.sight_s

    def _limit(self, replicas: int) -> int:
        """How many may vanish together before it is a mass loss."""
        policy = self._rules.policy
        return max(policy.brake_min, int(policy.brake_share * replicas))
