"""A daemon that starts and stops many workers on processors they all share, and what that costs.

Theory of operation. The production loop, core and executor run on the fakes; what a worker does takes time of a
simulated processor. It starts, and then shakes hands with the server; that is work, too, and one that waits longer
than its client has patience for gives up, does it again, and leaves a session behind that costs the server work. So
too much at once is done twice, and then ten times: the collapse. A worker that is asked to end needs the processor for
its farewell.

Must never know: the view, pacing. Limits: costs are constants; one group, one daemon, no faults.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from autohealer.core.events import ReplicasSet, StopRequested
from autohealer.core.model import Budget, Exit, Incarnation, View
from autohealer.daemon.executor import Executor
from autohealer.daemon.loop import Loop
from autohealer.daemon.mailbox import Mailbox
from autohealer.launchspec import LaunchSpec
from autohealer.settings import GroupSettings
from tests.simulation.processor import Processor
from tests.support.fakehost import KILL, FakeHost, FakeProcess, HostWitness
from tests.support.fakes import FakeProcesses, FakeRegistry
from tests.support.virtual_time import pass_time

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE_S = 4.0 / 3
"""A client's, for its first handshake with a session of 4 s."""
PATIENCE_GROWTH = 1.5
SESSION_WORK_S = 0.005
"""What a session that nobody uses costs the server, from its begin to its expiry."""
LOOK_S = 0.05


@dataclass(frozen=True, slots=True)
class Costs:
    """What one worker needs: seconds of a core (`_work_s`), and seconds in which it waits for something else."""

    start_work_s: float = 0.08
    start_wait_s: float = 0.0
    handshake_work_s: float = 0.02
    end_work_s: float = 0.015
    end_wait_s: float = 0.0

    def start_floor_s(self, workers: int, cores: float) -> float:
        """No sooner can so many be there."""
        return workers * (self.start_work_s + self.handshake_work_s) / cores + self.start_wait_s

    def end_floor_s(self, workers: int, cores: float) -> float:
        """No sooner can so many be gone."""
        return workers * self.end_work_s / cores + self.end_wait_s


@dataclass(slots=True)
class Ramp(HostWitness):
    """One daemon on one machine."""

    cores: float
    costs: Costs
    workers: int
    handshakes: int = 0
    launches: int = 0
    killed: int = 0
    most_under_way: int = 0
    _registered: set[Incarnation] = field(default_factory=set)

    async def begin(self) -> None:
        """Start the daemon."""
        self.processor = Processor(self.cores)
        self.mailbox = Mailbox()
        host = FakeHost(witness=self, ignores_term=True)
        self.processes = FakeProcesses(self.mailbox.put, host, self._born)
        self.registry = FakeRegistry(self.mailbox.put)
        executor = Executor(self.processes, self.registry, self.mailbox.put, self.mailbox.fail)
        settings = GroupSettings("web", self.workers, LaunchSpec(("worker",)))
        clock = asyncio.get_running_loop().time
        view = View(settings.policy(max(1, round(self.cores))), Budget(0.0), "web", now=clock())
        gauge = self.processor.idle
        self.loop = Loop(view, self.mailbox, executor, clock, [], gauge=gauge)
        self.registry.connect()
        self.mailbox.put(ReplicasSet(self.workers))
        self.task = asyncio.ensure_future(self.loop.run())

    async def whole(self, within_s: float) -> float:
        """How long it takes until all are registered; infinity if that is too long."""
        return await self._until(lambda: len(self._registered) == self.workers, within_s)

    async def stop(self, within_s: float) -> float:
        """How long it takes until all are gone."""
        self.mailbox.put(StopRequested())
        return await self._until(self.task.done, within_s)

    async def end(self) -> None:
        """Be done with it, and raise what the daemon raised."""
        if not self.task.done():
            self.task.cancel()
        await asyncio.wait([self.task])
        if not self.task.cancelled():
            self.task.result()

    def crash(self) -> Incarnation:
        """A registered worker dies."""
        name = random.Random(1).choice(sorted(self._registered))
        self.processes.process(name).die(Exit(signal=KILL))
        return name

    def now_s(self) -> float:
        """The virtual time."""
        return asyncio.get_running_loop().time()

    def is_filled(self, slot: int) -> bool:
        """Whether somebody is registered for a slot."""
        return any(name.slot == slot for name in self._registered)

    async def _until(self, is_so: Callable[[], bool], within_s: float) -> float:
        clock = asyncio.get_running_loop().time
        began = clock()
        while not is_so():
            if clock() - began > within_s:
                return float("inf")
            await pass_time(LOOK_S)
        return clock() - began

    # --- workers ------------------------------------------------------------------------------

    def _born(self, process: FakeProcess) -> None:
        self.launches += 1
        under_way = len(self.processes.host.running()) - len(self._registered)
        self.most_under_way = max(self.most_under_way, under_way)
        self.processor.work(self.costs.start_work_s, partial(self._started, process))

    def _started(self, process: FakeProcess) -> None:
        shake = partial(self._shake_hands, process, PATIENCE_S)
        asyncio.get_running_loop().call_later(self.costs.start_wait_s, shake)

    def _shake_hands(self, process: FakeProcess, patience_s: float) -> None:
        if not process.alive:
            return
        self.handshakes += 1
        gives_up_at = asyncio.get_running_loop().time() + patience_s
        answered = partial(self._answered, process, patience_s, gives_up_at)
        self.processor.work(self.costs.handshake_work_s, answered)

    def _answered(self, process: FakeProcess, patience_s: float, gives_up_at: float) -> None:
        if asyncio.get_running_loop().time() > gives_up_at:
            self.processor.work(SESSION_WORK_S, _nothing)
            self._shake_hands(process, patience_s * PATIENCE_GROWTH)
        elif process.alive:
            self._registered.add(process.name)
            self.registry.register(process.name, self.processes.host.record_of(process))

    # --- what the kernel shows ------------------------------------------------------------------

    def signalled(self, _name: Incarnation, process: FakeProcess, number: int) -> None:
        """Who is asked to end finishes its work and says goodbye."""
        if number == KILL:
            self.killed += process.alive
            return
        farewell = partial(self._says_goodbye, process)
        asyncio.get_running_loop().call_later(self.costs.end_wait_s, farewell)

    def _says_goodbye(self, process: FakeProcess) -> None:
        gone = partial(process.die, Exit(code=0))
        self.processor.work(self.costs.end_work_s, gone)

    def ended(self, process: FakeProcess) -> None:
        """Its session ends with it."""
        self._registered.discard(process.name)
        self.registry.vanish(process.name)


def _nothing() -> None:
    """Nobody waits for the work of a session without a client."""
