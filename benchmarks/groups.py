"""What a configuration costs: the start of a daemon with it, and its memory and processor time with many groups.

Run `python -m benchmarks.groups [--groups 20] [--workers 10] [--rounds 3] [--seconds 20] [--json]`; it needs gcc.

Theory of operation. The smallest program there is (`plain_worker.c`) is kept in as many groups of as many workers, with
`register = "agent"` and a server that runs already; in each round, in turns:

by hand     posix_spawn of as many, by this process
one-liner   `autohealer --register agent N PROGRAM`: one group of N
file        `autohealer up` with that one group in a file
groups      `autohealer up` with all groups in a file

Told are the times from just before the exec of the daemon to the first instruction of the first program and of the
last, and of the last round's `groups` what the daemon holds and uses while nothing happens, beside a Python that only
sleeps.

Limits: one machine; every group has a session of its own with ZooKeeper, which is made while the programs start.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.idle import measure, memory_mb
from benchmarks.lab import Reports, say, server, summary
from benchmarks.plain import compiled_program
from tests.support.daemon import Daemon

SETTLE_S = 5.0
"""By then every program is registered, and the last handshakes are over."""

WORD = "plain"

Started = tuple[float, float]
"""Milliseconds to the first program's first instruction and to the last one's."""


class Bench:
    """What every way needs."""

    def __init__(self, folder: Path, address: str, groups: int, workers: int) -> None:
        self._folder = folder
        self._address = address
        self._groups = groups
        self._workers = workers
        self._program = compiled_program(folder)
        self._daemons = 0
        self.held: dict[str, Any] = {}
        """What the daemon of many groups held and used, as of when that was measured last."""

    def by_hand(self) -> Started:
        """Without a daemon."""
        with Reports() as reports:
            argv = self._argv(reports)
            since_ns = time.monotonic_ns()
            count = self._groups * self._workers
            pids = [os.posix_spawn(argv[0], argv, os.environ, setsid=True) for _ in range(count)]
            started = _started(reports, since_ns, count)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        return started

    def one_liner(self) -> Started:
        """One group without a file."""
        with Reports() as reports:
            program, *words = self._argv(reports)
            daemon = self._daemon(program, words)
            with _running(daemon) as since_ns:
                return _started(reports, since_ns, self._workers)

    def file(self) -> Started:
        """One group in a file."""
        with Reports() as reports, _running(self._up(reports, 1)) as since_ns:
            return _started(reports, since_ns, self._workers)

    def groups(self, seconds: float = 0.0) -> Started:
        """All groups in a file; then what the daemon uses in so many seconds."""
        with Reports() as reports:
            daemon = self._up(reports, self._groups)
            with _running(daemon) as since_ns:
                started = _started(reports, since_ns, self._groups * self._workers)
                if seconds:
                    time.sleep(SETTLE_S)
                    self.held = measure(daemon.pid, seconds)
        return started

    def _argv(self, reports: Reports) -> list[str]:
        return [str(self._program), *reports.environment.values(), WORD]

    def _daemon(self, program: str = "", words: Sequence[str] = ()) -> Daemon:
        self._daemons += 1
        folder = self._folder / f"state-{self._daemons}"
        options = ("--register", "agent")
        return Daemon(
            folder,
            self._address,
            replicas=self._workers,
            program=program,
            args=words,
            options=options,
            group=f"g{self._daemons}",
        )

    def _up(self, reports: Reports, groups: int) -> Daemon:
        daemon = self._daemon()
        daemon.state_dir.mkdir()
        file = daemon.state_dir / "autohealer.toml"
        group = f'command = {json.dumps(self._argv(reports))}\nreplicas = {self._workers}\nregister = "agent"\n'
        parts = [f"[group.{daemon.group}-{number}]\n{group}" for number in range(groups)]
        file.write_text("".join((f'[daemon]\nzookeeper = "{self._address}"\n', *parts)))
        where = ("-c", str(file), "--state-dir", str(daemon.state_dir))
        daemon.command = [sys.executable, "-m", "autohealer", "up", *where]
        return daemon


@contextmanager
def _running(daemon: Daemon) -> Iterator[int]:
    """When it was started; it is stopped afterwards."""
    since_ns = time.monotonic_ns()
    with daemon:
        yield since_ns
        daemon.stop()


def _started(reports: Reports, since_ns: int, count: int) -> Started:
    began = [reports.next_below(WORD).began_ns - since_ns for _ in range(count)]
    return min(began) / 1e6, max(began) / 1e6


def _python_pss_mb() -> float:
    """What a Python holds that does nothing."""
    said = "import time; print(flush=True); time.sleep(60)"
    with subprocess.Popen((sys.executable, "-c", said), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = memory_mb(process.pid)["pss_mb"]
        process.kill()
    return found


def main() -> int:
    """Measure and print."""
    options = _options()
    with (
        tempfile.TemporaryDirectory() as name,
        server(None, "embedded", Path(name)) as address,
    ):
        bench = Bench(Path(name), address, options.groups, options.workers)
        ways: dict[str, Callable[[], Started]] = {
            "by hand": bench.by_hand,
            "one-liner": bench.one_liner,
            "file": bench.file,
            "groups": bench.groups,
        }
        taken: dict[str, list[Started]] = {way: [] for way in ways}
        for _ in range(options.rounds):
            for way in random.sample(list(ways), len(ways)):
                taken[way].append(ways[way]())
        bench.groups(options.seconds)
    figures = {
        way: {"first": summary([it[0] for it in all_]), "last": summary([it[1] for it in all_])}
        for way, all_ in taken.items()
    }
    held = bench.held | {"python_pss_mb": _python_pss_mb()}
    if options.json:
        say(json.dumps({"started_ms": figures, "daemon": held}, indent=2))
    else:
        _print_figures(options, figures, held)
    return 0


def _print_figures(
    options: argparse.Namespace, figures: dict[str, Any], held: dict[str, Any]
) -> None:
    say(f"start to first instruction, in ms; {options.groups} groups of {options.workers},")
    say(f"{options.rounds} rounds in turns, load {os.getloadavg()[0]:.1f}")
    say()
    say(f"{'':12}{'first p50':>12}{'max':>8}{'last p50':>12}{'max':>8}")
    for way, row in figures.items():
        cells = (row["first"]["p50"], row["first"]["max"], row["last"]["p50"], row["last"]["max"])
        say(f"{way:12}{cells[0]:12.0f}{cells[1]:8.0f}{cells[2]:12.0f}{cells[3]:8.0f}")
    say()
    say(
        f"the daemon of all groups: PSS {held['pss_mb']} MB (a Python that sleeps: {held['python_pss_mb']} MB), "
        f"idle {held['cpu_percent']:.2f} % of a core, {held['wakeups_per_s']:.1f} wake-ups/s"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.groups", description=__doc__.split("\n")[0])
    parser.add_argument("--groups", type=int, default=20, metavar="G")
    parser.add_argument("--workers", type=int, default=10, metavar="N", help="of each group")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--seconds", type=float, default=20.0, metavar="S", help="of idleness")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
