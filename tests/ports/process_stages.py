"""Where the suite of the `Processes` port plays: on virtual processes, and on real ones.

Theory of operation: a stage offers the port, the facts it posted, and what a test does behind the port's
back, in the same words for both. Real workers are small shell scripts that say `up` once they are what
they are meant to be.

Limits: on leaving a real stage everything it started is killed, by pid.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import random
import signal
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import psutil

from autohealer.contract import WorkerRecord
from autohealer.core.events import Event, WorkerSpawned
from autohealer.core.model import Exit, Incarnation
from autohealer.daemon.ports import Processes
from autohealer.launchspec import LaunchSpec
from autohealer.processes.census import Census
from autohealer.processes.identity import boot_id, environment_of, start_ticks, token_of
from autohealer.processes.ledger import Ledger
from autohealer.processes.local import LocalProcesses
from autohealer.processes.output import OutputFiles
from autohealer.processes.procfs import own_pid_namespace
from autohealer.processes.reaper import Reaper
from tests.support.eventually import eventually_async
from tests.support.fakehost import FakeHost
from tests.support.fakes import FakeProcesses

if TYPE_CHECKING:
    from collections.abc import Sequence

WITHIN_S = 10.0
GROUP = "web"
MARK = "TEST_STAGE"
_PR_SET_CHILD_SUBREAPER = 36

F = TypeVar("F")


class Manner(Enum):
    """How a worker behaves; the value is the script of a real one."""

    OBEYS = "echo up; exec sleep 600"
    EXITS_3 = "exit 3"
    IGNORES_TERM = "trap '' TERM; echo up; sleep 600"
    HAS_A_CHILD = "sleep 600 & echo up; wait"
    HAS_A_STRAY = "setsid sh -c 'echo up; exec sleep 600' & wait"
    HAS_A_LATE_STRAY = "sleep 0.7; setsid sh -c 'echo up; exec sleep 600' & wait"
    SHOWS_ENVIRONMENT = "env; echo up; exec sleep 600"


class Stage(ABC):
    """The port under test and the world around it."""

    facts: list[Event]
    processes: Processes

    @abstractmethod
    async def up(self, name: Incarnation) -> None:
        """Return when a spawned worker is what it is meant to be."""

    @abstractmethod
    def exists(self, pid: int) -> bool:
        """Whether the kernel knows the pid, be it as a zombie."""

    @abstractmethod
    def signal(self, pid: int, number: signal.Signals) -> None:
        """Signal one process behind the port's back."""

    @abstractmethod
    def tree_size(self, name: Incarnation) -> int:
        """How many live processes belong to an incarnation."""

    @abstractmethod
    def record_of(self, pid: int) -> WorkerRecord:
        """What a process would write into its registration."""

    @abstractmethod
    def next_daemon(self) -> None:
        """Replace the port by that of a next daemon; the processes live on."""

    @abstractmethod
    def break_the_program(self) -> None:
        """Make every later launch impossible."""

    async def spawn(self, name: Incarnation) -> int:
        """Launch a worker and wait until it is up; its pid. That it was launched is taken off the facts."""
        self.processes.spawn(name)
        pid = await self.spawned(name)
        await self.up(name)
        return pid

    async def spawned(self, name: Incarnation) -> int:
        """Wait until a launch is told of, and take that off the facts; the pid."""

        def told() -> WorkerSpawned | None:
            facts = (fact for fact in self.facts if isinstance(fact, WorkerSpawned))
            return next((fact for fact in facts if fact.name == name), None)

        found = await eventually_async(told, within_s=WITHIN_S, view=lambda: self.facts)
        assert found is not None
        self.facts.remove(found)
        return found.pid

    async def told(self, kind: type[F], count: int = 1) -> list[F]:
        """Wait until that many facts of a kind were posted."""

        def enough() -> list[F] | None:
            posted: Sequence[object] = self.facts
            found = [fact for fact in posted if isinstance(fact, kind)]
            return found if len(found) >= count else None

        found = await eventually_async(enough, within_s=WITHIN_S, view=lambda: self.facts)
        assert found is not None
        return found


class FakeStage(Stage):
    """On a `FakeHost`."""

    def __init__(self, manner: Manner) -> None:
        self.facts = []
        self._host = FakeHost(
            ignores_term=manner is Manner.IGNORES_TERM,
            tree=int(manner in {Manner.HAS_A_CHILD, Manner.HAS_A_STRAY}),
        )
        self._exits = manner is Manner.EXITS_3
        self._fake = FakeProcesses(self.facts.append, self._host)
        self.processes: Processes = self._fake

    async def up(self, name: Incarnation) -> None:
        """Play what the manner says happens by itself."""
        if self._exits:
            self._fake.process(name).die(Exit(code=3))

    def exists(self, pid: int) -> bool:
        """Look it up."""
        return pid in self._host.processes

    def signal(self, pid: int, number: signal.Signals) -> None:
        """Do what the kernel would."""
        process = self._host.processes[pid]
        if number is signal.SIGSTOP:
            process.frozen = True
        else:
            process.die(Exit(signal=number))

    def tree_size(self, name: Incarnation) -> int:
        """Count the leader and the others."""
        return sum(1 + p.tree for p in self._host.running() if p.name == name)

    def record_of(self, pid: int) -> WorkerRecord:
        """As its host says."""
        return self._host.record_of(self._host.processes[pid])

    def next_daemon(self) -> None:
        """Have another daemon on the same host."""
        self._fake.release()
        self._fake = self.processes = FakeProcesses(self.facts.append, self._host)

    def break_the_program(self) -> None:
        """Say why."""
        self._host.broken = "/no/such/program: No such file or directory"


class RealStage(Stage):
    """On this machine."""

    def __init__(
        self,
        manner: Manner,
        folder: Path,
        loop: asyncio.AbstractEventLoop,
        reaper_type: type[Reaper] = Reaper,
    ) -> None:
        self.facts = []
        self.folder = folder
        self.secret = f"the secret of {folder}".encode()  # test runs side by side share no token
        self.argv = ["/bin/sh", "-c", manner.value]
        self.warnings: list[str] = []
        self.reaper = reaper_type(loop)
        self.failures: list[str] = []
        loop.set_exception_handler(lambda _, context: self.failures.append(str(context)))
        self.reaper.start()
        self.local = self._local()
        self.processes: Processes = self.local

    async def up(self, name: Incarnation) -> None:
        """Wait for the script's word, where it has one."""
        if "echo up" in self.argv[-1]:
            output = self.folder / f"slot-{name.slot}.log"
            await eventually_async(lambda: "up\n" in output.read_text(), within_s=WITHIN_S)

    def exists(self, pid: int) -> bool:
        """Ask the kernel."""
        return Path(f"/proc/{pid}").exists()

    def signal(self, pid: int, number: signal.Signals) -> None:
        """Ask the kernel to; what is to be stopped is, on return."""
        os.kill(pid, number)
        if number is signal.SIGSTOP:
            os.waitid(os.P_PID, pid, os.WSTOPPED)

    def tree_size(self, name: Incarnation) -> int:
        """Count what carries the token."""
        return len(self.members(name))

    def members(self, name: Incarnation) -> list[int]:
        """The pids of what carries the token."""
        sighting = Census(lambda _pid: False).of_all()
        return sighting.members(token_of(self.secret, GROUP, name))

    def record_of(self, pid: int) -> WorkerRecord:
        """As the kernel knows it."""
        return WorkerRecord(
            pid,
            start_ticks(pid) or 0,
            boot_id(),
            os.uname().nodename,
            pidns=own_pid_namespace(),
        )

    def next_daemon(self) -> None:
        """Have another adapter with the same secret."""
        self.local.release()
        self.local = self.processes = self._local()

    def break_the_program(self) -> None:
        """Name one that is not there."""
        self.argv[0] = str(self.folder / "missing")
        self.next_daemon()

    def close(self) -> None:
        """Leave nothing behind, not even this process's adoption of orphans; nothing may have been raised."""
        self.local.release()
        while left := self._left():
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for pid in left:
                with suppress(ChildProcessError):
                    os.waitpid(pid, 0)
        self.reaper.collect_strays()
        self.reaper.close()
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
        assert self.failures == []

    def _left(self) -> list[int]:
        return [pid for pid in psutil.pids() if environment_of(pid).get(MARK) == str(self.folder)]

    def _local(self) -> LocalProcesses:
        output = OutputFiles(self.folder, 1 << 20, self.warnings.append)
        return LocalProcesses(
            LaunchSpec(tuple(self.argv)),
            {"PATH": os.environ["PATH"], "NOTIFY_SOCKET": "/run/x", MARK: str(self.folder)},
            GROUP,
            self.secret,
            output,
            Ledger(self.folder, self.warnings.append),
            self.reaper,
            self.facts.append,
            random.Random(1),
        )


Opens = Callable[[Manner], AbstractAsyncContextManager[Stage]]


@asynccontextmanager
async def real_stage(
    manner: Manner, folder: Path, reaper_type: type[Reaper] = Reaper
) -> AsyncIterator[RealStage]:
    """Have real processes for a block."""
    stage = RealStage(manner, folder, asyncio.get_running_loop(), reaper_type)
    try:
        yield stage
    finally:
        stage.close()


@asynccontextmanager
async def fake_stage(manner: Manner) -> AsyncIterator[FakeStage]:
    """Have virtual processes for a block."""
    yield FakeStage(manner)
