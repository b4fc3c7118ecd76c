"""Draw a story of several groups from a seed: one story's troubles, dealt out to the groups or striking all.

Theory of operation. The seeds are a space of their own: what one draws here has nothing to do with what it draws for
one group. A trouble of workers strikes one group or, as often, all at one moment, so that small groups together lose
as many as a large one; some befall each in a story of its own.

Must never know: stages, the oracle.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

from autohealer.core.policy import Registrar, Restart
from tests.simulation.ailing import Sicken
from tests.simulation.breaking import BreakRules
from tests.simulation.care import asked
from tests.simulation.drawing import (
    DONE_SHARE,
    LARGE_SHARE,
    Deck,
    anonymous,
    drawn_troubles,
    growths,
    is_of_registrants,
)
from tests.simulation.drawing_operator import operated
from tests.simulation.faults import Overlooked
from tests.simulation.script import At, Ending, Script
from tests.simulation.several import Several
from tests.simulation.surroundings import (
    CutDaemon,
    CutPlanShort,
    Detach,
    ForkFailure,
    KillDaemon,
    LateLists,
    ListFails,
    LoseWatch,
    Outage,
    WipeRegistry,
)

SIZES = (1, 4)
ALL_SHARE = 0.5
ANONYMOUS_SHARE = 0.3
AGENT_SHARE = 0.3
ASKED_SHARE = 0.5
SICK_SHARE = 0.5
FROZEN_SHARE = 0.25
FROZEN_S = (10.0, 400.0)
"""How long one may be frozen: for a while, or for as long as it takes to see what becomes of the others."""
OF_ALL = (
    CutDaemon,
    CutPlanShort,
    Detach,
    ForkFailure,
    KillDaemon,
    LateLists,
    ListFails,
    LoseWatch,
    Outage,
    WipeRegistry,
)
"""Troubles of what groups share."""


def drawn_several(seed: int, count: int) -> Several:
    """The story of a seed, of `count` groups."""
    rng = random.Random(f"{count} groups {seed}")
    deck = Deck(rng, SIZES)
    # Only one that its registration alone shows would let a store go for some groups and not for others.
    troubles = [at for at in drawn_troubles(deck) if not isinstance(at.trouble, Overlooked)]
    dealt: list[list[At]] = [[] for _ in range(count)]
    for at in troubles:
        strikes_all = rng.random() < ALL_SHARE
        if not isinstance(at.trouble, OF_ALL):
            for number in range(count) if strikes_all else (rng.randrange(count),):
                dealt[number].append(at)
    if troubles and rng.random() < FROZEN_SHARE:
        at_s = rng.choice(troubles).at_s + deck.about_s()
        dealt[rng.randrange(count)].append(At(at_s, BreakRules(rng.choice(FROZEN_S))))
    return Several(
        groups=tuple(
            operated(_group(deck, own), f"{seed} of {number}") for number, own in enumerate(dealt)
        ),
        troubles=(
            *(at for at in troubles if isinstance(at.trouble, OF_ALL)),
            *_sick(deck, troubles),
        ),
        ending=rng.choice(tuple(Ending)),
        hasty=rng.random() < 0.25,
        again_after_s=rng.uniform(0.0, 3.0),
        luck=seed,
    )


def _sick(deck: Deck, troubles: Sequence[At]) -> Iterator[At]:
    """Some of all groups whose workers are asked ail at one moment."""
    if deck.rng.random() < SICK_SHARE:
        at_s = deck.rng.choice([at.at_s for at in troubles] or [5.0]) + deck.about_s()
        whom = deck.rng.choice(((deck.one(),), deck.some()))
        yield At(at_s, Sicken(whom, deck.rng.choice(((None,), deck.each(0.2, 30.0)))))


def _group(deck: Deck, troubles: list[At]) -> Script:
    rng = deck.rng
    script = Script(deck.size(), tuple(troubles))
    share = rng.random()
    if share < ANONYMOUS_SHARE:
        return anonymous(script, deck)
    if share < ANONYMOUS_SHARE + AGENT_SHARE:
        script = replace(
            script,
            troubles=tuple(at for at in script.troubles if not is_of_registrants(at.trouble)),
            registrar=Registrar.AGENT,
        )
    if rng.random() < ASKED_SHARE:
        script = asked(script, deck)
    if rng.random() < DONE_SHARE:
        script = replace(script, restart=rng.choice((Restart.ON_FAILURE, Restart.NEVER)))
    if rng.random() < LARGE_SHARE:
        script = replace(script, troubles=(*script.troubles, *growths(deck, script)))
    return script
