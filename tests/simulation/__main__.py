"""Run the simulation: `python -m tests.simulation --seeds 50000`, or `--seed 12345` for one story to read.

A failing seed is printed with what it broke, the faults are added up, and the exit code says whether every seed was
clean.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter

from tests.simulation.campaign import play_all
from tests.simulation.transcript import transcript_of


def main() -> int:
    """Parse the command line and run; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seed", type=int, help="play one seed and print its transcript")
    parser.add_argument("--seeds", type=int, default=10_000, help="how many seeds to play")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    options = parser.parse_args()
    if options.seed is not None:
        return _show(options.seed)
    return _run(range(options.first, options.first + options.seeds))


def _show(seed: int) -> int:
    outcome, lines = transcript_of(seed)
    for line in lines:
        print(line)
    for violation in outcome.violations:
        print(f"VIOLATION {violation}")
    return 1 if outcome.violations else 0


def _run(seeds: range) -> int:
    began = time.monotonic()
    faults: Counter[str] = Counter()
    failed = 0
    for tally in play_all(seeds):
        faults += tally.faults
        failed += len(tally.failures)
        for seed, violations in tally.failures.items():
            print(f"seed {seed}: {'; '.join(violations)}", flush=True)
    took_s = time.monotonic() - began
    for name, count in faults.most_common():
        print(f"{count:9,} {name}")
    print(
        f"{len(seeds):,} seeds, {faults.total():,} faults, {took_s:.0f} s, "
        f"{len(seeds) / took_s:.0f} seeds/s, {failed} failed"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
