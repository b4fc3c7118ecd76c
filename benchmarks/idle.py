"""What a daemon costs while nothing happens: CPU, wake-ups, memory.

Run `python -m benchmarks.idle [--zookeeper HOST:PORT] [--workers 10] [--seconds 30] [--rounds 1] [--json]`;
without `--zookeeper` it starts a server of its own (`--server embedded` or `apache`).

Theory of operation. A real daemon keeps workers that do nothing but hold their znodes. Once all are
ready and things have settled, its threads' `schedstat` (nanoseconds on a CPU) and `status` (context
switches, voluntary and not) are read from /proc, and again after the given time. A voluntary switch
is a thread that waited and was woken, so their rate is the number of wake-ups. Memory is RSS and PSS
of the daemon alone. The embedded server, where one is used, is a process of its own and not counted.

Limits: a daemon's rare work (its list of registrations is read again every half a minute) is seen
in full only when `--seconds` is well above that.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.lab import FOLDER, Reports, compiled_environment, say, server
from tests.support.daemon import Daemon

SETTLE_S = 5.0
"""By then the ramp's own resync and the last connection's handshakes are over."""


@dataclass(frozen=True, slots=True)
class Usage:
    """One thread's totals so far."""

    cpu_ns: int
    voluntary: int
    involuntary: int


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.idle", description=__doc__.split("\n")[0])
    parser.add_argument("--zookeeper", metavar="HOST:PORT", help="a server that runs already")
    parser.add_argument("--server", choices=("embedded", "apache"), default="embedded")
    parser.add_argument("--workers", type=int, default=10, metavar="N")
    parser.add_argument("--seconds", type=float, default=30.0, metavar="S", help="of each round")
    parser.add_argument("--rounds", type=int, default=1, metavar="N")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as undo:
        folder = Path(name)
        address = undo.enter_context(server(options.zookeeper, options.server, folder))
        reports = undo.enter_context(Reports())
        daemon = undo.enter_context(_daemon(options.workers, address, reports, folder))
        daemon.becomes_whole()
        time.sleep(SETTLE_S)
        rounds = [measure(daemon.pid, options.seconds) for _ in range(options.rounds)]
    if options.json:
        say(json.dumps({"workers": options.workers, "rounds": rounds}, indent=2))
    else:
        _print_rounds(options.workers, options.seconds, rounds)
    return 0


def _daemon(workers: int, address: str, reports: Reports, folder: Path) -> Daemon:
    return Daemon(
        folder / "state",
        address,
        replicas=workers,
        program=str(FOLDER / "bare_worker.py"),
        args=(),
        environment=compiled_environment(folder / "compiled") | reports.environment,
    )


def measure(pid: int, seconds: float) -> dict[str, Any]:
    """What a process used over the next `seconds`, and what it holds."""
    before, since = usage_of(pid), time.monotonic()
    time.sleep(seconds)
    after, elapsed_s = usage_of(pid), time.monotonic() - since
    threads = [_difference(after[tid], before.get(tid), elapsed_s) for tid in sorted(after)]
    totals = {key: round(sum(t[key] for t in threads), 3) for key in threads[0]}
    return totals | {"threads": threads} | memory_mb(pid)


def usage_of(pid: int) -> dict[int, Usage]:
    """The totals of every thread, by thread id."""
    found = {}
    for folder in Path(f"/proc/{pid}/task").iterdir():
        status = dict(
            line.split(":", 1) for line in (folder / "status").read_text().splitlines() if line
        )
        found[int(folder.name)] = Usage(
            int((folder / "schedstat").read_text().split()[0]),
            int(status["voluntary_ctxt_switches"]),
            int(status["nonvoluntary_ctxt_switches"]),
        )
    return found


def _difference(after: Usage, before: Usage | None, elapsed_s: float) -> dict[str, float]:
    before = before or Usage(0, 0, 0)
    return {
        "cpu_percent": round((after.cpu_ns - before.cpu_ns) / elapsed_s / 1e7, 4),
        "wakeups_per_s": round((after.voluntary - before.voluntary) / elapsed_s, 3),
        "preempted_per_s": round((after.involuntary - before.involuntary) / elapsed_s, 3),
    }


def memory_mb(pid: int) -> dict[str, float]:
    """Resident and proportional set size in MB (2**20 bytes)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    kb = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    return {"rss_mb": round(kb["Rss"] / 1024, 1), "pss_mb": round(kb["Pss"] / 1024, 1)}


def _print_rounds(workers: int, seconds: float, rounds: list[dict[str, Any]]) -> None:
    say(f"{workers} idle workers, {seconds:g} s a round, load {os.getloadavg()[0]:.1f}")
    for figures in rounds:
        say(
            f"  CPU {figures['cpu_percent']:.3f} % of a core, "
            f"{figures['wakeups_per_s']:.1f} wake-ups/s, preempted {figures['preempted_per_s']:.1f}/s, "
            f"RSS {figures['rss_mb']} MB, PSS {figures['pss_mb']} MB"
        )
        for number, thread in enumerate(figures["threads"]):
            name = "main" if number == 0 else f"thread {number}"
            say(f"    {name:<10}{thread['cpu_percent']:.3f} %  {thread['wakeups_per_s']:.1f}/s")


if __name__ == "__main__":
    raise SystemExit(main())
