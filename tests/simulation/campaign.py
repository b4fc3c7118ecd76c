"""Many seeds at once: dealt out in lots to one process per processor, and added up."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context

from tests.simulation.story import play

LOT = 100


@dataclass(slots=True)
class Tally:
    """How many faults struck, and which seeds broke what."""

    faults: Counter[str] = field(default_factory=Counter)
    failures: dict[int, tuple[str, ...]] = field(default_factory=dict)


def play_all(seeds: range) -> Iterator[Tally]:
    """One tally per lot, in order."""
    lots = (
        range(first, min(first + LOT, seeds.stop)) for first in range(seeds.start, seeds.stop, LOT)
    )
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        yield from pool.map(play_lot, lots)


def play_lot(seeds: range) -> Tally:
    """Play some seeds here, one after another."""
    tally = Tally()
    for seed in seeds:
        outcome = play(seed)
        tally.faults += outcome.faults
        if outcome.violations:
            tally.failures[seed] = outcome.violations
    return tally
