"""How long a killed program is missing that knows nothing of ZooKeeper: kill -9 to its replacement's first instruction.

Run `python -m benchmarks.plain [--workers 10] [--kills 60] [--ways floor,autohealer,runit,pm2] [--json]`; it needs gcc,
and of the rivals measures those that are installed (`runsv` of runit, `pm2`).

Theory of operation. The smallest program there is (`plain_worker.c`) reads the clock first of all. It is kept by each
way in turns, one kill of each per round with random pauses, so that whatever else the machine does hits all alike:

floor       posix_spawn by this process, to the program's first instruction; nothing is killed
autohealer  a daemon with `--register agent` and the embedded server
runit       a `runsv` for each program
pm2         one daemon, in fork mode

Limits: one machine; the kernel's taking apart of the killed process is in every figure but the floor's.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.lab import FOLDER, Report, Reports, say, server, summary
from tests.support.daemon import Daemon

PAUSE_S = (0.05, 0.15)
SERVED_S = 1.5
"""Who dies within a second has failed to start, to us as to runit, and its replacement waits on purpose."""

KillOne = Callable[[], float]
"""Kills one and says after how many milliseconds its replacement began; by hand: only starts one."""


class Kept:
    """The programs that one way keeps, as they told of themselves."""

    def __init__(self, reports: Reports, word: str, workers: int) -> None:
        self._reports = reports
        self._word = word
        self._alive = [reports.next_below(word) for _ in range(workers)]

    def kill_one(self) -> float:
        """End one of those that are oldest."""
        victim = self._alive.pop(random.randrange(max(1, len(self._alive) // 3)))
        _wait_until(victim.began_ns + int(SERVED_S * 1e9))
        since_ns = time.monotonic_ns()
        os.kill(victim.pid, signal.SIGKILL)
        while (report := self._reports.next_below(self._word)).began_ns < since_ns:
            pass
        self._alive.append(report)
        return (report.began_ns - since_ns) / 1e6


def _wait_until(at_ns: int) -> None:
    time.sleep(max(0.0, (at_ns - time.monotonic_ns()) / 1e9))


class Bench:
    """What every way needs."""

    def __init__(self, folder: Path, workers: int, stack: ExitStack) -> None:
        self.folder = folder
        self.workers = workers
        self._stack = stack
        self.program = compiled_program(folder)

    def reports(self) -> Reports:
        """A mailbox of its own for each way, so that nobody takes another's reports."""
        return self._stack.enter_context(Reports())

    def argv(self, reports: Reports, word: str) -> list[str]:
        """How the program is run."""
        return [str(self.program), *reports.environment.values(), word]

    # --- the ways ---------------------------------------------------------------------------------

    def floor(self) -> KillOne:
        """By hand."""
        reports = self.reports()
        argv = self.argv(reports, "floor")

        def start_one() -> float:
            since_ns = time.monotonic_ns()
            pid = os.posix_spawn(argv[0], argv, os.environ, setsid=True)
            report: Report = reports.next_below("floor")
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return (report.began_ns - since_ns) / 1e6

        return start_one

    def autohealer(self) -> KillOne:
        """By our daemon."""
        reports = self.reports()
        address = self._stack.enter_context(server(None, "embedded", self.folder))
        program, *words = self.argv(reports, "autohealer")
        daemon = Daemon(
            self.folder / "state",
            address,
            replicas=self.workers,
            program=program,
            args=tuple(words),
            options=("--register", "agent"),
        )
        self._stack.enter_context(daemon)
        return Kept(reports, "autohealer", self.workers).kill_one

    def runit(self) -> KillOne:
        """By a `runsv` for each."""
        reports = self.reports()
        for number in range(self.workers):
            self._stack.enter_context(
                _runsv(self.folder / f"runit-{number}", self.argv(reports, "runit"))
            )
        return Kept(reports, "runit", self.workers).kill_one

    def pm2(self) -> KillOne:
        """By pm2's daemon."""
        reports = self.reports()
        self._stack.enter_context(
            _pm2(self.folder / "pm2", self.workers, self.argv(reports, "pm2"))
        )
        return Kept(reports, "pm2", self.workers).kill_one


def compiled_program(folder: Path) -> Path:
    """The smallest program there is."""
    program = folder / "plain_worker"
    if shutil.which("gcc") is None:
        raise SystemExit("the program that is kept is written in C, and there is no gcc here")
    subprocess.run(("gcc", "-O2", "-o", program, FOLDER / "plain_worker.c"), check=True)
    return program


@contextmanager
def _runsv(folder: Path, argv: list[str]) -> Iterator[None]:
    folder.mkdir()
    run = folder / "run"
    run.write_text(f"#!/bin/sh\nexec {' '.join(argv)}\n")
    run.chmod(0o755)
    process = subprocess.Popen(("runsv", folder), start_new_session=True)
    yield
    process.send_signal(signal.SIGTERM)  # it ends its program first
    process.wait()


@contextmanager
def _pm2(home: Path, workers: int, argv: list[str]) -> Iterator[None]:
    environment = dict(os.environ) | {"PM2_HOME": str(home)}

    def pm2(*words: str) -> None:
        subprocess.run(("pm2", *words), env=environment, check=True, stdout=subprocess.DEVNULL)

    program, *rest = argv
    for number in range(workers):
        pm2("start", program, "--name", f"plain-{number}", "--interpreter", "none", "--", *rest)
    yield
    pm2("kill")


# --- measuring ------------------------------------------------------------------------------------

RIVALS = {"runit": "runsv", "pm2": "pm2"}


def main() -> int:
    """Measure and print."""
    options = _options()
    ways = [way for way in options.ways.split(",") if _is_there(way)]
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        bench = Bench(Path(name), options.workers, stack)
        kills: dict[str, KillOne] = {way: getattr(bench, way)() for way in ways}
        taken: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(options.kills):
            for way in random.sample(ways, len(ways)):
                taken[way].append(kills[way]())
                time.sleep(random.uniform(*PAUSE_S))
    figures = {way: summary(values) for way, values in taken.items()}
    if options.json:
        say(json.dumps({"workers": options.workers, "first_instruction_ms": figures}, indent=2))
        return 0
    say(f"kill -9 to the replacement's first instruction, in ms; {options.workers} workers,")
    say(f"{options.kills} kills of each in turns, load {os.getloadavg()[0]:.1f}")
    say()
    say(f"{'':12}{'p50':>8}{'p95':>8}{'min':>8}{'max':>8}")
    for way, row in figures.items():
        say(f"{way:12}" + "".join(f"{row[key]:8.2f}" for key in ("p50", "p95", "min", "max")))
    return 0


def _is_there(way: str) -> bool:
    if way in RIVALS and shutil.which(RIVALS[way]) is None:
        say(f"{way} is not installed here")
        return False
    return True


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.plain", description=__doc__.split("\n")[0])
    parser.add_argument("--workers", type=int, default=10, metavar="N")
    parser.add_argument("--kills", type=int, default=60, metavar="N", help="of each way")
    parser.add_argument("--ways", default="floor,autohealer,runit,pm2", metavar="WAY,WAY")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
