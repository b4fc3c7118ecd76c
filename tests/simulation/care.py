"""Draw what befalls workers that are asked for their health, or speak of it.

Must never know: stages, the oracle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.simulation.ailing import CannotServe, Sicken
from tests.simulation.faults import Freeze, Overlooked, Unprovable
from tests.simulation.script import At, Script, Trouble, Whom
from tests.simulation.speaking import FallSilent, SayReadyLate
from tests.simulation.stage import POLICY, WATCHDOG_S

if TYPE_CHECKING:
    from tests.simulation.drawing import Deck

    Draw = Callable[[Deck], Trouble]

ASKED_SHARE = 0.6
"""Of those that do not only speak."""
SPEECHES = ((False, False), (False, False), (True, False), (False, True), (True, True))
"""Whether workers are to say that they are ready, and that they are well."""
UNASKABLE = (Overlooked, Unprovable)
"""Troubles of those whom nobody can ask, because nobody can tell whose they are."""


def asked(script: Script, deck: Deck) -> Script:
    """The same story of workers that are asked for their health, or speak of it, or both, and ail."""
    speech = deck.rng.choice(SPEECHES)
    is_asked = deck.rng.random() < ASKED_SHARE or not any(speech)
    notify, watchdog = speech
    kept = [at for at in script.troubles if not isinstance(at.trouble, UNASKABLE)]
    script = replace(script, asked=is_asked, notify=notify, watchdog=watchdog)
    ailments = tuple(_ailments(deck, script))
    return replace(script, troubles=(*kept, *ailments))


def _ailments(deck: Deck, script: Script) -> Iterator[At]:
    """Some ail, or most of them together, some time in the story or after it."""
    rng = deck.rng
    last_s = max((at.at_s for at in script.troubles), default=0.0)
    draws = _ailments_of(script)
    for _ in range(rng.randint(1, 6)):
        yield At(rng.uniform(1.0, last_s + 30.0), rng.choice(draws)(deck))


def _whom(deck: Deck) -> Whom:
    return deck.rng.choice(((deck.one(),), deck.some(), deck.most()))


def _for_a_time(deck: Deck) -> tuple[float | None, ...]:
    return deck.rng.choice(((None,), deck.each(0.2, 30.0)))


def _strangers_after_s(deck: Deck) -> float | None:
    return deck.rng.uniform(0.5, WATCHDOG_S) if deck.rng.random() < 0.4 else None


def _late(deck: Deck) -> Trouble:
    after_s = deck.rng.choice(((None,), deck.each(0.5, POLICY.registration_timeout_s + 5.0)))
    return SayReadyLate(after_s, deck.some(), _strangers_after_s(deck))


def _stand_still(deck: Deck) -> Trouble:
    return Freeze(_whom(deck), _for_a_time(deck))


def _sicken(deck: Deck) -> Trouble:
    return Sicken(_whom(deck), _for_a_time(deck))


def _unfit(deck: Deck) -> Trouble:
    return CannotServe(_whom(deck), deck.each(0.2, 20.0))


def _silence(deck: Deck) -> Trouble:
    return FallSilent(_whom(deck), _for_a_time(deck), _strangers_after_s(deck))


def _ailments_of(script: Script) -> list[Draw]:
    """What may befall whom, as often as it is named."""
    draws: list[Draw] = [_stand_still, _stand_still]
    if script.asked:
        draws += [_sicken, _sicken, _sicken, _unfit, _unfit]
    if script.notify:
        draws += [_late, _late, _late]
    if script.watchdog:
        draws += [_silence, _silence, _silence]
    return draws
