"""What it costs to ask many workers for their health: processor time of whoever asks, for each kind of probe.

Run `python -m benchmarks.probes [--workers 1000] [--period 10] [--seconds 20] [--kind http tcp exec] [--json]`.

Theory of operation. The production's rounds ask as many workers as told, each at its own period, in this process; what
they ask is one server in a process of its own, which answers at once, so that the time this process spends on a
processor is the price of asking alone. Of `exec` the commands' own time is theirs, and told apart, as is the floor:
what it costs to launch as many commands and wait for each, and nothing else.

Limits: workers share one server, so nothing is said of what an answer costs them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autohealer.core.actions import Plan
from autohealer.core.events import Event, WorkerAdopted
from autohealer.core.model import Budget, Incarnation, View
from autohealer.core.policy import Policy
from autohealer.healthspec import (
    ExecTarget,
    HealthSpec,
    HttpTarget,
    ProbeSpec,
    ProbeTarget,
    TcpTarget,
)
from autohealer.launchspec import LaunchSpec
from autohealer.probes.asking import Ran
from autohealer.probes.rounds import Rounds
from autohealer.processes.beside import Beside
from autohealer.processes.launch import Launcher
from autohealer.processes.output import OutputFiles
from autohealer.processes.reaper import Reaper
from benchmarks.lab import say

KINDS = ("http", "tcp", "exec")
SETTLE_S = 3.0
"""By then everybody was asked once."""

FLOOR_COMMANDS = 500

SERVER = """
import asyncio, sys

class Answer(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nConnection: close\\r\\n\\r\\nok")
        self.transport.close()

async def main():
    server = await asyncio.get_running_loop().create_server(Answer, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


class _Commands:
    """Commands beside workers, as the daemon runs them."""

    def __init__(self, folder: Path, reaper: Reaper) -> None:
        output = OutputFiles(folder, 1 << 20, say)
        spec = LaunchSpec(("/bin/true",))
        launcher = Launcher(spec, dict(os.environ), "bench", b"secret", output)
        self._beside = Beside(lambda: launcher, reaper)

    async def run(self, name: Incarnation, argv: tuple[str, ...]) -> Ran:
        """One."""
        done = await self._beside.run(name, argv)
        return Ran(done.exit.code, done.exit.signal, done.last_line)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.probes", description=__doc__.split("\n")[0])
    parser.add_argument("--workers", type=int, default=1000, metavar="N")
    parser.add_argument("--period", type=float, default=10.0, metavar="S")
    parser.add_argument("--seconds", type=float, default=20.0, metavar="S")
    parser.add_argument("--kind", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    shares: dict[str, float] = {}
    with_commands: dict[str, float] = {}
    with _server() as port, tempfile.TemporaryDirectory() as folder:
        targets: dict[str, ProbeTarget] = {
            "http": HttpTarget(f"http://127.0.0.1:{port}/healthz"),
            "tcp": TcpTarget(f"127.0.0.1:{port}"),
            "exec": ExecTarget(("/bin/true",)),
        }
        for kind in options.kind:
            spec = ProbeSpec(targets[kind], period_s=options.period, timeout_s=5.0)
            theirs = _childrens_s()
            shares[kind] = asyncio.run(_share(spec, options.workers, options.seconds, folder))
            if kind == "exec":
                took = SETTLE_S + options.period + options.seconds
                with_commands["the commands themselves"] = (_childrens_s() - theirs) / took
                with_commands["launching and waiting alone"] = _floor(
                    options.workers / options.period
                )
    if options.json:
        say(
            json.dumps(
                {
                    "workers": options.workers,
                    "period_s": options.period,
                    "cores": shares | with_commands,
                }
            )
        )
    else:
        say(f"{options.workers} workers, each asked every {options.period:g} s:")
        for kind, share in shares.items():
            say(f"  {kind:<5} {100 * share:5.1f} % of a core")
        for what, share in with_commands.items():
            say(f"  exec, {what}: {100 * share:.1f} % of a core")
    return 0


def _childrens_s() -> float:
    """Processor time of children that were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _floor(per_s: float) -> float:
    """How much of a core it takes to launch so many commands a second and wait for them, one after another."""
    used = time.process_time()
    for _ in range(FLOOR_COMMANDS):
        os.waitpid(os.posix_spawn("/bin/true", ("/bin/true",), os.environ), 0)
    return (time.process_time() - used) / FLOOR_COMMANDS * per_s


async def _share(spec: ProbeSpec, workers: int, seconds: float, folder: str) -> float:
    """How much of a core is spent on asking."""
    reaper = Reaper(asyncio.get_running_loop())
    reaper.start()
    facts: list[Event] = []
    tasks: set[asyncio.Task[None]] = set()
    loop = asyncio.get_running_loop()

    def start(work: object) -> asyncio.Task[None]:
        task: asyncio.Task[None] = loop.create_task(work)  # type: ignore[arg-type]
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return task

    rounds = Rounds(
        HealthSpec(liveness=spec),
        lambda name: {"slot": str(name.slot)},
        _Commands(Path(folder), reaper),
        facts.append,
        start,
        random.Random(1),
        awaits_notify=False,
    )
    view = View(Policy(), Budget(1.0))
    rounds.observe(
        [WorkerAdopted(Incarnation(n, 1), 1, 60.0) for n in range(workers)], Plan(), view
    )
    await asyncio.sleep(SETTLE_S + spec.period_s)
    assert len(facts) == workers, f"only {len(facts)} answers of {workers}"
    began, used = time.monotonic(), time.process_time()
    await asyncio.sleep(seconds)
    share = (time.process_time() - used) / (time.monotonic() - began)
    rounds.close()
    await asyncio.gather(*tasks, return_exceptions=True)
    reaper.close()
    return share


@contextmanager
def _server() -> Iterator[int]:
    """What is asked: its port."""
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline())
        finally:
            server.kill()


if __name__ == "__main__":
    raise SystemExit(main())
