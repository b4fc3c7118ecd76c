"""Run the simulation: `python -m tests.simulation --seeds 50000`, or `--seed 12345` for one story to read.

With `--groups 3` the stories are those of a daemon that keeps three groups, which the same seeds draw differently.

The first failing seed ends the run: its story is cut down to the few troubles it takes and printed, to be read
(`--seed N`), mended and pasted into `kept.py`. The exit code says whether every seed was clean.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterator

from tests.simulation.campaign import play_all
from tests.simulation.drawing import drawn
from tests.simulation.drawing_several import drawn_several
from tests.simulation.kept import KEPT
from tests.simulation.kept_several import KEPT_OF_SEVERAL
from tests.simulation.script import Script, in_python
from tests.simulation.several import OutcomeOfSeveral, Several, play_several
from tests.simulation.shrinking import shrunk, shrunk_several
from tests.simulation.story import Outcome, play
from tests.simulation.transcript import transcript_of, transcript_of_several


def main() -> int:
    """Parse the command line and run; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seed", type=int, help="play one seed and print its transcript")
    parser.add_argument("--kept", help="the same of the first kept story whose sentence has this")
    parser.add_argument("--shrink", action="store_true", help="cut that story down first")
    parser.add_argument("--seeds", type=int, default=10_000, help="how many seeds to play")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--groups", type=int, default=1, help="how many groups a daemon keeps")
    parser.add_argument("--processes", type=int, help="how many at once; default: one a processor")
    parser.add_argument("--keep-going", action="store_true", help="name every failing seed")
    options = parser.parse_args()
    kept: dict[str, Script | Several] = {**KEPT, **KEPT_OF_SEVERAL}
    if options.kept is not None:
        return _show(next(it for what, it in kept.items() if options.kept in what), options.shrink)
    if options.seed is not None:
        return _show(_drawn(options.seed, options.groups), options.shrink)
    seeds = range(options.first, options.first + options.seeds)
    return _run(seeds, options.processes, options.groups, keep_going=options.keep_going)


def _drawn(seed: int, groups: int) -> Script | Several:
    return drawn(seed) if groups == 1 else drawn_several(seed, groups)


def _shrunk(script: Script | Several) -> Script | Several:
    return shrunk_several(script) if isinstance(script, Several) else shrunk(script)


def _transcript(script: Script | Several) -> tuple[Outcome | OutcomeOfSeveral, Iterator[str]]:
    return transcript_of_several(script) if isinstance(script, Several) else transcript_of(script)


def _show(script: Script | Several, shrink: bool) -> int:
    script = _shrunk(script) if shrink else script
    outcome, lines = _transcript(script)
    for line in lines:
        print(line)
    print(in_python(script))
    for violation in outcome.violations:
        print(f"VIOLATION {violation}")
    return 1 if outcome.violations else 0


def _run(seeds: range, processes: int | None, groups: int, *, keep_going: bool) -> int:
    began = time.monotonic()
    troubles: Counter[str] = Counter()
    played = 0
    failed: list[int] = []
    for tally in play_all(seeds, processes, groups):
        troubles += tally.troubles
        played += tally.seeds
        failed += tally.failures
        for seed, violations in tally.failures.items():
            print(f"seed {seed}: {'; '.join(violations)}", flush=True)
        if failed and not keep_going:
            break
    took_s = time.monotonic() - began
    for name, count in troubles.most_common():
        print(f"{count:9,} {name}")
    print(
        f"{played:,} seeds, {troubles.total():,} troubles, {took_s:.0f} s, "
        f"{played / took_s:.0f} seeds/s, {len(failed)} failed",
        flush=True,
    )
    if failed and not keep_going:
        _explain(failed[0], groups)
    return 1 if failed else 0


def _explain(seed: int, groups: int) -> None:
    script = _shrunk(_drawn(seed, groups))
    print(f"seed {seed} comes down to")
    print(in_python(script))
    outcome = play_several(script) if isinstance(script, Several) else play(script)
    for violation in outcome.violations:
        print(f"VIOLATION {violation}")


if __name__ == "__main__":
    raise SystemExit(main())
