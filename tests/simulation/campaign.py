"""Many seeds at once: dealt out in lots to processes, and added up; and what a failing one comes down to."""

from __future__ import annotations

import gc
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from multiprocessing import get_context

from tests.simulation.drawing import drawn
from tests.simulation.drawing_several import drawn_several
from tests.simulation.several import OutcomeOfSeveral, play_several
from tests.simulation.story import Outcome, play

LOT = 100
GARBAGE = 100_000
"""Objects between two collections: a story leaves little that hangs together, and looking for it costs a tenth."""


@dataclass(slots=True)
class Tally:
    """How many troubles struck, and which seeds broke what."""

    seeds: int = 0
    troubles: Counter[str] = field(default_factory=Counter)
    failures: dict[int, tuple[str, ...]] = field(default_factory=dict)


def play_all(seeds: range, processes: int | None = None, groups: int = 1) -> Iterator[Tally]:
    """One tally per lot, in order; who has enough stops asking. As many processes as processors, unless told.

    `groups`: how many the daemon of each story keeps.
    """
    play_here = partial(play_lot, groups=groups)
    processes = processes or os.cpu_count() or 1
    lots = iter(
        range(first, min(first + LOT, seeds.stop)) for first in range(seeds.start, seeds.stop, LOT)
    )
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        under_way = [pool.submit(play_here, lot) for lot in islice(lots, 2 * processes)]
        try:
            while under_way:
                yield under_way.pop(0).result()
                under_way += [pool.submit(play_here, lot) for lot in islice(lots, 1)]
        finally:
            pool.shutdown(cancel_futures=True)


def play_seed(seed: int, groups: int = 1) -> Outcome | OutcomeOfSeveral:
    """Play the story of a seed and of so many groups."""
    return play(drawn(seed)) if groups == 1 else play_several(drawn_several(seed, groups))


def play_lot(seeds: range, groups: int = 1) -> Tally:
    """Play some seeds here, one after another."""
    gc.freeze()
    gc.set_threshold(GARBAGE)
    tally = Tally()
    for seed in seeds:
        outcome = play_seed(seed, groups)
        tally.seeds += 1
        tally.troubles += outcome.troubles
        if outcome.violations:
            tally.failures[seed] = outcome.violations
    return tally
