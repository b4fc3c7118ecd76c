"""Stories of several groups that once showed a fault, by what it was: each is played again by every run of the tests.

Cut down by `python -m tests.simulation --groups N --seed M --shrink`, mended, and pasted here. What "would" be is no
fault that was found, but one that a mutant has and few drawn stories show.
"""

from __future__ import annotations

from autohealer.core.policy import Registrar
from tests.simulation.ailing import Grow, Sicken
from tests.simulation.breaking import BreakRules
from tests.simulation.faults import Freeze, IllBirths
from tests.simulation.script import At, Script
from tests.simulation.several import Several
from tests.simulation.surroundings import Respecify
from tests.simulation.world import Temper

LONG_S = 500.0

KEPT_OF_SEVERAL = {
    "one too large was never replaced, because a frozen group's sick workers held the brake of all": Several(
        groups=(
            Script(4, (At(10.0, Sicken((0, 1, 2))), At(11.5, BreakRules(LONG_S))), asked=True),
            Script(4, (At(30.0, Grow((0,))),)),
        ),
    ),
    "the outdated would never be replaced, if what a frozen group misses held the brake of all": Several(
        groups=(
            Script(4, (At(10.0, Freeze((0, 1, 2))), At(15.0, BreakRules(LONG_S)))),
            Script(4, (At(30.0, Respecify()),)),
        ),
    ),
    "nobody would be launched, if nobody were told that a frozen group awaits its own no more": Several(
        groups=(
            Script(
                1,
                (
                    At(0.0, IllBirths((Temper(registers_after_s=None),))),
                    At(1.0, BreakRules(LONG_S)),
                ),
                registrar=Registrar.ANONYMOUS,
            ),
            Script(2, registrar=Registrar.ANONYMOUS),
        ),
    ),
    "two of each group that ail together would be ended at once, if each group counted its own alone": Several(
        groups=(Script(4, asked=True), Script(4, asked=True)),
        troubles=(At(20.0, Sicken((0, 1))),),
    ),
}
