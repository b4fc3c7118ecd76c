"""How long a killed or frozen worker is missing, beside what launching it by hand costs.

Run `python -m benchmarks.heal [--zookeeper HOST:PORT] [--workers 10] [--kills 40] [--freezes 5] [--json]`;
without `--zookeeper` it starts a server of its own (`--server embedded` or `apache`).

Theory of operation. The same worker program is started in two ways, in turns, so that whatever else
the machine does hits both alike:

floor   posix_spawn by this process; from just before it to the worker's znode created
heal    kill -9 of a worker that has served, of a real daemon; from just before kill(2) to the
        znode of its replacement created
own     the daemon's part: from kill(2) to the replacement's first statement, less the floor's own
        time from posix_spawn to the same statement. It holds the kernel's killing of the process,
        its pidfd, the decision, and the launch up to exec; the interpreter's start cancels out.

A pair of programs is used: one with kazoo alone and one with the SDK. All times are taken by the
workers themselves from CLOCK_MONOTONIC. Freezing is SIGSTOP to the replacement's znode created; most
of it is the session timeout, which is what tells a frozen worker from a quiet one.

Limits: one machine, loopback. The floor's worker registers outside `/workers`, so that the daemon
does not work for it. `own` is a difference of medians of a noisy quantity: good to about a
millisecond.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autohealer.contract import (
    DEFAULT_SESSION_TIMEOUT_S,
    ENV_SESSION_TIMEOUT_S,
    ENV_ZNODE,
    ENV_ZOOKEEPER,
    WORKERS_PATH,
)
from benchmarks.lab import (
    FOLDER,
    Reports,
    compiled_environment,
    make_paths,
    percentile,
    say,
    server,
    summary,
)
from tests.support.daemon import Daemon

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAMS = {"kazoo": FOLDER / "bare_worker.py", "SDK": FOLDER / "sdk_worker.py"}
FLOOR_PATH = "/floor"
PAUSE_S = (0.1, 0.4)
"""Random, so that no measurement falls into step with anything periodic."""

SHORT_SESSION_S = 1.0


@dataclass(slots=True)
class Sample:
    """Figures of one way to start one program, in milliseconds since just before the cause."""

    first_ms: list[float] = field(default_factory=list)
    registered_ms: list[float] = field(default_factory=list)

    def add(self, since_ns: int, began_ns: int, registered_ns: int) -> None:
        """Take one measurement in."""
        self.first_ms.append((began_ns - since_ns) / 1e6)
        self.registered_ms.append((registered_ns - since_ns) / 1e6)


class Group:
    """One daemon with its workers, known by the reports they sent."""

    def __init__(self, daemon: Daemon, reports: Reports) -> None:
        self._reports = reports
        self._prefix = f"{WORKERS_PATH}/{daemon.group}-"
        self._pids = list(daemon.becomes_whole().values())

    def replace_one(self, number: signal.Signals) -> tuple[int, int, int]:
        """Signal one of the older workers: when, and its replacement's first statement and registration, in ns.

        Who dies within a second of being ready has failed to start, and its replacement waits on purpose.
        """
        victim = random.choice(self._pids[: len(self._pids) // 3])
        since_ns = time.monotonic_ns()
        os.kill(victim, number)
        while True:
            report = self._reports.next_below(self._prefix)
            if report.began_ns > since_ns:
                break
        self._pids.remove(victim)
        self._pids.append(report.pid)
        return since_ns, report.began_ns, report.registered_ns


class Floor:
    """Launches a worker program by hand, as bare as it gets, and ends it again."""

    def __init__(self, reports: Reports, environment: dict[str, str], address: str) -> None:
        self._reports = reports
        self._environment = environment | {
            ENV_ZOOKEEPER: address,
            ENV_SESSION_TIMEOUT_S: f"{DEFAULT_SESSION_TIMEOUT_S:g}",
        }
        self._launched = 0

    def launch(self, program: Path) -> tuple[int, int, int]:
        """When, and the worker's first statement and registration, in ns."""
        self._launched += 1
        path = f"{FLOOR_PATH}/floor-0-{self._launched}"
        argv = [sys.executable, str(program)]
        environment = self._environment | {ENV_ZNODE: path}
        since_ns = time.monotonic_ns()
        pid = os.posix_spawn(argv[0], argv, environment, setsid=True)
        report = self._reports.next_below(path)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return since_ns, report.began_ns, report.registered_ns


@dataclass(frozen=True, slots=True)
class Bench:
    """What every measurement needs."""

    workers: int
    address: str
    reports: Reports
    environment: dict[str, str]
    folder: Path

    @contextmanager
    def group(self, name: str, *switches: str) -> Iterator[Group]:
        """A daemon with ready workers of the named program, for the duration of a block."""
        with Daemon(
            Path(tempfile.mkdtemp(prefix="state-", dir=self.folder)),
            self.address,
            replicas=self.workers,
            program=str(PROGRAMS[name]),
            args=(),
            options=switches,
            environment=self.environment,
        ) as daemon:
            yield Group(daemon, self.reports)


def main() -> int:
    """Measure and print."""
    options = _options()
    with tempfile.TemporaryDirectory() as name, ExitStack() as undo:
        folder = Path(name)
        address = undo.enter_context(server(options.zookeeper, options.server, folder))
        make_paths(address, WORKERS_PATH, FLOOR_PATH)
        reports = undo.enter_context(Reports())
        environment = compiled_environment(folder / "compiled") | reports.environment
        bench = Bench(options.workers, address, reports, environment, folder)
        healed = _measure_kills(bench, options.kills)
        frozen = _measure_freezes(bench, options.freezes)
    figures = {
        "workers": options.workers,
        "server": options.zookeeper or options.server,
        "load_1min": os.getloadavg()[0],
        "heal": healed,
        "frozen_s": frozen,
    }
    if options.json:
        say(json.dumps(figures, indent=2))
    else:
        _print_table(figures)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.heal", description=__doc__.split("\n")[0])
    parser.add_argument("--zookeeper", metavar="HOST:PORT", help="a server that runs already")
    parser.add_argument("--server", choices=("embedded", "apache"), default="embedded")
    parser.add_argument("--workers", type=int, default=10, metavar="N")
    parser.add_argument("--kills", type=int, default=40, metavar="N", help="of each program")
    parser.add_argument("--freezes", type=int, default=5, metavar="N", help="of each timeout")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


# --- measuring --------------------------------------------------------------------------------


def _measure_kills(bench: Bench, kills: int) -> dict[str, Any]:
    """Floor and heal of both programs, in turns, one of each per round."""
    launcher = Floor(bench.reports, bench.environment, bench.address)
    floors = {name: Sample() for name in PROGRAMS}
    heals = {name: Sample() for name in PROGRAMS}
    with ExitStack() as undo:
        groups = {name: undo.enter_context(bench.group(name)) for name in PROGRAMS}
        for _ in range(kills):
            for name, program in PROGRAMS.items():
                floors[name].add(*launcher.launch(program))
                _pause()
                heals[name].add(*groups[name].replace_one(signal.SIGKILL))
                _pause()
    return {name: _compare(floors[name], heals[name]) for name in PROGRAMS}


def _compare(floor: Sample, heal: Sample) -> dict[str, Any]:
    floor_ms, heal_ms = summary(floor.registered_ms), summary(heal.registered_ms)
    own_ms = percentile(heal.first_ms, 0.5) - percentile(floor.first_ms, 0.5)
    return {
        "floor_ms": floor_ms,
        "heal_ms": heal_ms,
        "ratio_p50": round(heal_ms["p50"] / floor_ms["p50"], 3),
        "ratio_p95": round(heal_ms["p95"] / floor_ms["p95"], 3),
        "floor_to_first_statement_ms": summary(floor.first_ms),
        "heal_to_first_statement_ms": summary(heal.first_ms),
        "own_p50_ms": round(own_ms, 2),
    }


def _measure_freezes(bench: Bench, freezes: int) -> dict[str, Any]:
    """SIGSTOP to replaced in seconds, with the session timeout as it comes and with a short one."""
    measured: dict[str, Any] = {}
    for timeout_s in (DEFAULT_SESSION_TIMEOUT_S, SHORT_SESSION_S) if freezes else ():
        sample = Sample()
        with bench.group("kazoo", "--session-timeout", f"{timeout_s:g}") as group:
            for _ in range(freezes):
                _pause()
                sample.add(*group.replace_one(signal.SIGSTOP))
        measured[f"{timeout_s:g}"] = summary([ms / 1e3 for ms in sample.registered_ms])
    return measured


def _pause() -> None:
    time.sleep(random.uniform(*PAUSE_S))


# --- printing ---------------------------------------------------------------------------------


def _print_table(figures: dict[str, Any]) -> None:
    say(
        f"{figures['workers']} workers, server {figures['server']}, load {figures['load_1min']:.1f}"
    )
    say()
    say(f"{'kill -9, milliseconds':<34}{'p50':>8}{'p95':>8}{'min':>8}{'max':>8}{'runs':>6}")
    for name, of in figures["heal"].items():
        _print_row(f"{name}: floor, launch to registered", of["floor_ms"])
        _print_row(f"{name}: heal, kill to registered", of["heal_ms"])
        _print_row(f"{name}: floor, to first statement", of["floor_to_first_statement_ms"])
        _print_row(f"{name}: heal, to first statement", of["heal_to_first_statement_ms"])
        say(
            f"  heal/floor p50 {of['ratio_p50']:.2f}, p95 {of['ratio_p95']:.2f}; "
            f"the daemon's own part {of['own_p50_ms']:.1f} ms (p50)"
        )
    if figures["frozen_s"]:
        say()
        say(f"{'SIGSTOP, seconds':<34}{'p50':>8}{'p95':>8}{'min':>8}{'max':>8}{'runs':>6}")
    for timeout, figure in figures["frozen_s"].items():
        _print_row(f"replaced, session timeout {timeout} s", figure)


def _print_row(what: str, figure: dict[str, float]) -> None:
    numbers = "".join(f"{figure[key]:8.2f}" for key in ("p50", "p95", "min", "max"))
    say(f"{what:<34}{numbers}{figure['runs']:6d}")


if __name__ == "__main__":
    raise SystemExit(main())
