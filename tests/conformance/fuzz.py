"""`python -m tests.conformance.fuzz`: Apache ZooKeeper against the embedded server, at random.

Usage: `--seeds 1-2000 --steps 60` plays many seeds; `--seed 1234` plays one. Both servers are started
here. A seed after which they differ is shrunk and printed with what each client saw; the exit code is
then 1.

Theory of operation: see `drawing`, `lockstep` and `shrinking`. Servers are replaced before they
tidy up by themselves, and after a difference.

Limits: Apache runs without syncing its log to the disk, which no client can see.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from contextlib import contextmanager
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from tests.conformance.drawing import SLOTS, Generator
from tests.conformance.lockstep import Pair
from tests.conformance.shrinking import shrink
from tests.support.apache import ApacheZooKeeper, apache_is_installed
from tests.support.embedded import EmbeddedZooKeeper
from tests.support.eventually import eventually
from tests.support.servers import four_letter_word, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.conformance.lockstep import Difference
    from tests.conformance.operations import Action
    from tests.support.servers import ServerProcess

PAIR_LIFE_S = 40.0
"""Both servers delete deserted containers after 60 s, each at a moment of its own."""

PROGRESS_EVERY = 100
_APACHE_TICK_MS = 2000
_TERMINATED = 143
_SERVES_WITHIN_S = 20.0


class UnsyncedApache(ApacheZooKeeper):
    """Apache ZooKeeper that leaves its log to the page cache: hundreds of writes per second more."""

    def _command(self) -> Sequence[str]:
        java, *rest = super()._command()
        return (java, "-Dzookeeper.forceSync=no", *rest)


@contextmanager
def apache_and(second: Callable[[Path], ServerProcess], directory: Path) -> Iterator[Pair]:
    """Apache ZooKeeper and another server, both fresh."""
    with (
        running(UnsyncedApache(directory / "apache", tick_ms=_APACHE_TICK_MS)) as apache,
        running(second(directory / "embedded")) as other,
    ):
        for server in (apache, other):  # Apache says `imok` a little before it lets anybody in
            eventually(partial(_serves, server), within_s=_SERVES_WITHIN_S)
        yield Pair(apache.port, other.port)


def _serves(server: ServerProcess) -> bool:
    return "Mode: standalone" in four_letter_word(server.address, "srvr")


def transcript(actions: Sequence[Action], difference: Difference) -> str:
    """The actions up to a difference, and what each client saw of the last one."""
    lines = [f"  {index:3} {action.text()}" for index, action in enumerate(actions)]
    lines = lines[: difference.index + 1]
    if difference.index == len(actions):
        lines.append("      then the whole tree was read")
    for client in sorted({*difference.first, *difference.second}):
        both = (seen.get(client, []) for seen in (difference.first, difference.second))
        for apache, ours in zip_longest(*both, fillvalue="(nothing)"):
            if apache == ours:
                lines.append(f"      {client} both   {apache}")
            else:
                lines += [f"   >> {client} apache {apache}", f"   >> {client} ours   {ours}"]
    return "\n".join(lines)


def find_difference(pair: Pair, seed: int, steps: int) -> tuple[str, str] | None:
    """Play a seed; None when no client could tell the servers apart, else two transcripts.

    The first is what happened, the second the shortest run found that still differs.
    """
    actions = Generator(seed).run(steps)
    difference = pair.play(actions, SLOTS)
    if difference is None:
        return None
    cut = actions[: difference.index + 1]
    small = shrink(cut, lambda attempt: pair.play(attempt, SLOTS) is not None)
    again = pair.play(small, SLOTS)
    happened = f"seed {seed}, the first difference:\n{transcript(actions, difference)}"
    if again is None:
        return happened, f"{happened}\n\nIt could not be shrunk: it does not happen every time."
    shrunk = f"seed {seed}, shrunk to {len(small)} actions:\n{transcript(small, again)}"
    return happened, shrunk


def main(arguments: list[str] | None = None) -> int:
    """Run the fuzzer; returns 0 when all seeds were clean, 1 when not, 2 without Apache."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.fuzz")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--seeds", help="a range, such as 1-2000")
    which.add_argument("--seed", type=int, help="one seed")
    parser.add_argument("--steps", type=int, default=60, help="actions per seed")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at a difference")
    given = parser.parse_args(arguments)
    if not apache_is_installed():
        print("Apache ZooKeeper is not installed here (Debian: apt-get install zookeeper).")
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_TERMINATED))  # the servers end as well
    first, _, last = (given.seeds or str(given.seed)).partition("-")
    seeds = range(int(first), int(last or first) + 1)
    return _play_all(seeds, given.steps, keep_going=given.keep_going)


def _play_all(seeds: range, steps: int, *, keep_going: bool) -> int:
    began_s = time.monotonic()
    clean = different = 0
    while clean + different < len(seeds):
        left = seeds[clean + different :]
        played, report = _play_on_fresh_servers(left, steps)
        clean += played - (report is not None)
        different += report is not None
        if report is not None:
            print(*(report if len(seeds) == 1 else report[1:]), sep="\n\n", flush=True)
        if report is not None and not keep_going:
            break
        print(f"{clean} clean, {different} different, to seed {left[played - 1]}", flush=True)
    print(f"{clean} sequences clean, {different} different, {time.monotonic() - began_s:.0f} s")
    return 1 if different else 0


def _play_on_fresh_servers(seeds: range, steps: int) -> tuple[int, tuple[str, str] | None]:
    """Play until a difference, or as long as the servers may live: how many, and the report."""
    began_s = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="fuzz-") as directory,
        apache_and(EmbeddedZooKeeper, Path(directory)) as pair,
    ):
        for played, seed in enumerate(seeds, 1):
            report = find_difference(pair, seed, steps)
            if report is not None:
                return played, report
            if played % PROGRESS_EVERY == 0:
                print(f"seed {seed}: clean so far", flush=True)
            if time.monotonic() - began_s > PAIR_LIFE_S:
                return played, None
    return len(seeds), None


if __name__ == "__main__":
    sys.exit(main())
