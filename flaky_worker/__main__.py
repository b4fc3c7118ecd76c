"""The flaky worker's command line and its working life.

Theory of operation: it registers, counts its work aloud, and fails when its plan says so. Its life
is planned before it starts and printed, so that every run can be repeated with the printed seed.

Must never know: who supervises it.

Limits: its output is written straight to the descriptor, and an output that is closed or full is
not its fault: it works on in silence.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import random
import sys
import time
from typing import TYPE_CHECKING

from autohealer.contract import ENV_GENERATION, ENV_SLOT
from autohealer.worker import run
from flaky_worker.faults import (
    DEFAULT_MIX,
    WHAT_HAPPENS,
    Fault,
    Kind,
    parse_mix,
    plan,
    seed_of_life,
)
from flaky_worker.misbehave import LEAK_STEP_MIB, commit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from autohealer.worker import Worker

_SEED_BITS = 32


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the flaky worker as the command line says."""
    options = _parser().parse_args(arguments)
    seed = _seed(options.seed, os.environ)
    fault = plan(seed, options.fail, options.mean_life)
    say(f"pid {os.getpid()}, {fault}; --seed {seed} repeats this life")
    registers_late = fault.happens and fault.kind in (Kind.SLOW_START, Kind.NEVER_REGISTER)
    run(lambda worker: _live(worker, fault, options), register=not registers_late)


def say(line: str) -> None:
    """Print one line, or keep silent when nobody can read it."""
    # Without an open stdout its descriptor may be anything by now, even our ZooKeeper connection.
    if sys.stdout is None:
        return
    try:
        os.write(sys.stdout.fileno(), f"{line}\n".encode())
    except (OSError, ValueError):
        # A closed pipe or a full disk must not decide when this worker dies: its plan does.
        return


def _live(worker: Worker, fault: Fault, options: argparse.Namespace) -> int:
    """Work until asked to stop, or until the fault is due and fatal."""
    pieces = itertools.count(1)
    fails_at = time.monotonic() + fault.at_s
    if _works_until(fails_at, worker, pieces, options.report_every):
        say(f"{worker.name}: now {fault.kind.value}")
        commit(fault, worker, options.leak_limit)
        _works_until(math.inf, worker, pieces, options.report_every)
    say(f"{worker.name}: stopping as asked")
    return 0


def _works_until(
    moment: float, worker: Worker, pieces: Iterator[int], report_every_s: float
) -> bool:
    """Count aloud until a moment of the monotonic clock; False when asked to stop before."""
    while (left_s := moment - time.monotonic()) > 0:
        if worker.stopping.wait(min(left_s, report_every_s)):
            return False
        say(f"{worker.name}: {next(pieces)} pieces of work done")
    return True


def _seed(given: int | None, environ: Mapping[str, str]) -> int:
    seed = random.SystemRandom().getrandbits(_SEED_BITS) if given is None else given
    slot, generation = environ.get(ENV_SLOT), environ.get(ENV_GENERATION)
    if given is None or slot is None or generation is None:
        return seed
    return seed_of_life(seed, slot, generation)


def _parser() -> argparse.ArgumentParser:
    kinds = "\n".join(f"  {kind.value:<15} {what}" for kind, what in WHAT_HAPPENS.items())
    parser = argparse.ArgumentParser(
        prog="flaky_worker",
        description="Registers as a worker, counts its work aloud, then fails in a way you choose.",
        epilog=f"ways to fail, each when the worker's random life time is over:\n{kinds}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--mean-life",
        type=_life_s,
        default=20.0,
        metavar="S",
        help="average seconds until it fails, exponentially distributed (default 20; "
        "0 or inf: never)",
    )
    parser.add_argument(
        "--fail",
        type=_mix,
        default=DEFAULT_MIX,
        metavar="KIND[=WEIGHT],...",
        help="how it fails, one drawn from these by weight (default crash)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        metavar="N",
        help="makes its life repeatable; a daemon's workers each get a life of their own from it "
        "(default: drawn, and printed)",
    )
    parser.add_argument(
        "--report-every",
        type=_report_s,
        default=5.0,
        metavar="S",
        help="seconds between two lines of output (default 5)",
    )
    parser.add_argument(
        "--leak-limit",
        type=_limit_mib,
        default=256.0,
        metavar="MIB",
        help="where leak ends (default 256)",
    )
    return parser


def _mix(text: str) -> Mapping[Kind, float]:
    try:
        return parse_mix(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _life_s(text: str) -> float:
    return _number(text, at_least=0.0, at_most=math.inf)


def _report_s(text: str) -> float:
    return _number(text, at_least=0.01, at_most=3600.0)


def _limit_mib(text: str) -> float:
    return _number(text, at_least=LEAK_STEP_MIB, at_most=1 << 20)


def _number(text: str, at_least: float, at_most: float) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not at_least <= number <= at_most:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number from {at_least:g} to {at_most:g}"
        )
    return number


if __name__ == "__main__":
    main()
