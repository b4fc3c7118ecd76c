"""From an exit seen to its replacement exec'd: the daemon's own share of a heal, measured inside it.

Theory of operation: the production core, loop, executor and processes adapter run in this process with
`sleep` as the worker; registrations are told as soon as a worker is spawned. The clock is read when the
adapter posts that a worker exited and again when the executor posts that its replacement was spawned,
so everything between the pidfd's news and the exec is in it, and nothing else.

Limits: no ZooKeeper, no logging; how long the kernel takes to tell of a death is measured by `heal`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import statistics
import tempfile
import time
from pathlib import Path

from autohealer.contract import WorkerRecord
from autohealer.core.children import Child
from autohealer.core.events import (
    Event,
    ReplicasSet,
    StopRequested,
    StoreChanged,
    WorkerExited,
    WorkersListed,
    WorkerSpawned,
)
from autohealer.core.model import Budget, Incarnation, Store, View
from autohealer.core.policy import Policy
from autohealer.daemon.executor import Executor
from autohealer.daemon.loop import Loop
from autohealer.daemon.mailbox import Mailbox
from autohealer.daemon.ports import Gone
from autohealer.launchspec import LaunchSpec
from autohealer.processes.ledger import Ledger
from autohealer.processes.local import LocalProcesses
from autohealer.processes.output import OutputFiles
from autohealer.processes.reaper import Reaper

PATIENT = Policy(
    min_ready_s=0.0,
    stable_s=0.0,
    intensity=10**9,
    budget_burst=10**9,
    in_flight_min=10**9,
    in_flight_max=10**9,
)


class NoRegistry:
    """Nothing is registered anywhere, so there is nothing to delete or read."""

    def discard(self, name: Incarnation, child: Child | None = None) -> None:
        """Nothing to delete."""

    def relist(self) -> None:
        """Nothing to list."""

    async def read(self, name: Incarnation | str) -> WorkerRecord:
        """Nothing to read."""
        raise Gone(str(name))


class Stopwatch:
    """Passes facts on and notes when exits and spawns were posted."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._exit_seen_ns = 0
        self.pids: dict[Incarnation, int] = {}
        self.taken_us: list[float] = []
        self.spawned = asyncio.Event()

    def post(self, fact: Event) -> None:
        """The `Post` given to the adapters."""
        if isinstance(fact, WorkerExited):
            self._exit_seen_ns = time.perf_counter_ns()
            self.pids.pop(fact.name, None)
        self._mailbox.put(fact)
        if isinstance(fact, WorkerSpawned):
            if self._exit_seen_ns:
                self.taken_us.append((time.perf_counter_ns() - self._exit_seen_ns) / 1000)
            self.pids[fact.name] = fact.pid
            self._mailbox.put(WorkersListed(frozenset(self.pids), frozenset()))
            self.spawned.set()


async def measure(workers: int, kills: int, folder: Path) -> list[float]:
    """Microseconds from exit seen to replacement exec'd, one for each kill."""
    mailbox, rng = Mailbox(), random.Random(1)
    watch = Stopwatch(mailbox)
    reaper = Reaper(asyncio.get_running_loop())
    reaper.start()
    output = OutputFiles(folder, 10**9, print)
    spec = LaunchSpec(("/bin/sleep", "1000"))
    ledger = Ledger(folder, print)
    processes = LocalProcesses(
        spec, os.environ, "bench", b"x", output, ledger, reaper, watch.post, rng
    )
    view = View(PATIENT, Budget(10**9), generation_base=1, now=time.monotonic())
    executor = Executor(processes, NoRegistry(), watch.post, mailbox.fail)
    loop = asyncio.ensure_future(Loop(view, mailbox, executor, time.monotonic, ()).run())
    mailbox.put(StoreChanged(Store.CONNECTED))
    mailbox.put(WorkersListed(frozenset(), frozenset()))
    mailbox.put(ReplicasSet(workers))
    while len(watch.pids) < workers:
        watch.spawned.clear()
        await watch.spawned.wait()
    for _ in range(kills):
        await asyncio.sleep(0.01)
        watch.spawned.clear()
        os.kill(rng.choice(sorted(watch.pids.values())), signal.SIGKILL)
        await watch.spawned.wait()
    mailbox.put(StopRequested(force=True))
    await loop
    reaper.close()
    return watch.taken_us


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--kills", type=int, default=200)
    args = parser.parse_args()
    print("from exit seen to replacement exec'd, milliseconds")
    for workers in args.workers:
        with tempfile.TemporaryDirectory() as folder:
            taken = sorted(asyncio.run(measure(workers, args.kills, Path(folder))))
        p95 = taken[int(len(taken) * 0.95)]
        print(
            f"{workers:6} workers: p50 {statistics.median(taken) / 1000:.2f}, p95 {p95 / 1000:.2f}"
        )


if __name__ == "__main__":
    main()
