"""Which slots may, and which must, stay empty because their work is done: by what is true, not by what a daemon says.

Theory of operation. A life that ended as the policy lets it excuses its slot from being filled. Where a daemon was
there to see it, from then on it must not be filled, until another number is wanted or everything was stopped; not
even by a later daemon, unless the first one died in that very moment. So it is with a slot that was stopped, and with
what was to be restarted, or tried again. What was wanted while no daemon heard it changes nothing of what is done.
One that may have been told to end just then, for its size or health, is not surely done.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from autohealer.core.policy import Restart
from tests.support.ailments import KNOWN_SICK
from tests.support.sizes import OVERSIZED
from tests.support.wishes import Wishes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from autohealer.core.model import Exit, Incarnation
    from tests.support.ledgers import Census, Life

CLEAN_SIGNALS = (1, 2, 13, 15)
NOTED_S = 0.1
"""Within this a daemon has seen an end and noted it."""


@dataclass(slots=True)
class Completions:
    """What has been done so far; whom the census has `excused` is kept up to date."""

    restart: Restart
    census: Census
    wishes: Wishes = field(default_factory=Wishes)
    _seen: set[Incarnation] = field(default_factory=set)
    _ended: set[Incarnation] = field(default_factory=set)
    _sure: dict[int, float] = field(default_factory=dict)
    _done_by: dict[int, Incarnation] = field(default_factory=dict)
    _done_at: dict[int, float] = field(default_factory=dict)
    _dropped: dict[int, float] = field(default_factory=dict)

    def ended(self, life: Life, exit_: Exit | None, *, is_seen: bool) -> None:
        """A process is gone; whether a daemon that wants it sees that, and did not ask for it."""
        well = exit_ is not None and (exit_.code == 0 or exit_.signal in CLEAN_SIGNALS)
        if life.revision != self.census.revision:
            return  # another program is wanted, and has done nothing yet
        if self.restart is Restart.NEVER or (self.restart is Restart.ON_FAILURE and well):
            self._ended.add(life.name)
            is_told = life.signalled or not life.ailments.isdisjoint({OVERSIZED, KNOWN_SICK})
            if is_seen and not is_told and not life.unprovable:
                self._seen.add(life.name)

    def gone(self, life: Life, at: float) -> None:
        """It and all it started are gone."""
        if life.revision != self.census.revision:
            return
        if self.wishes.asks(life.name):
            return  # another run was asked for in its place
        if life.name in self._ended:
            self.census.excused.add(life.name.slot)
            self._done_by[life.name.slot] = life.name
            self._done_at[life.name.slot] = at
        if life.name in self._seen:
            self._sure[life.name.slot] = at

    def filled(self, slot: int) -> str:
        """A slot is filled; what is wrong with that, if anything."""
        self.census.excused.discard(slot)
        return f"slot {slot} is filled again though it is done" if self._sure.pop(slot, 0) else ""

    def want(self, wishes: Wishes, at: float, *, is_heard: bool = True) -> None:
        """Another number is wanted, or others; who is wanted again, and who is to be replaced, is filled again."""
        self.wishes = wishes
        asked = {slot for slot, name in self._done_by.items() if wishes.asks(name)}
        self.census.excused -= asked
        self._sure = {slot: it for slot, it in self._sure.items() if slot not in asked}
        self.again(
            {slot for slot in self._done_by if not wishes.wants(slot)}, at, is_heard=is_heard
        )

    def again(self, slots: Iterable[int], at: float, *, is_heard: bool = True) -> None:
        """What was done in some slots is to be done once more, as soon as they are wanted."""
        self._sure = {slot: it for slot, it in self._sure.items() if slot not in set(slots)}
        if is_heard:
            dropped = self.census.excused & set(slots)
            self._dropped |= dict.fromkeys(dropped, at)
            self.census.excused -= dropped

    def retried(self, slots: Iterable[int], at: float, *, is_heard: bool) -> None:
        """What a daemon knows by now to be done is to be done once more; of what ended just now it may not know."""
        known = {slot for slot in slots if at - self._done_at.get(slot, at) > NOTED_S}
        self._sure = {slot: it for slot, it in self._sure.items() if slot not in set(slots)}
        self.again(known, at, is_heard=is_heard)

    def respecified(self, at: float) -> None:
        """Another program is wanted, and has done nothing yet."""
        self.again(set(self._done_by), at)

    def daemon_ended(self, at: float, *, is_stopped: bool) -> None:
        """Nobody sees anything; after a stop everything is done anew."""
        self._seen.clear()
        unnoted = {slot for slot, heard_at in self._dropped.items() if at - heard_at <= NOTED_S}
        self.census.excused |= unnoted
        self._dropped.clear()
        self._sure = {slot: it for slot, it in self._sure.items() if at - it > NOTED_S}
        if is_stopped:
            self._sure.clear()
            self.census.excused.clear()
