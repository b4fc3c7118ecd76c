"""The real daemon, run as a user runs it, and what a user can see of it.

Theory of operation: the command line is started as a process whose output (JSON lines) goes to a
file. What a test asserts comes from three independent witnesses: the daemon's own status, the
kernel's process table, and a ZooKeeper client of the test's own.

Limits: on leaving the block everything that carries one of this state directory's tokens is ended,
by pid, whether or not the daemon still knows of it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

import psutil

from autohealer.contract import ENV_GROUP, ENV_TOKEN
from autohealer.control.client import NoAnswer, fetch_status, parse_status
from autohealer.processes.companion import ENV_COMPANION
from autohealer.settings import group_dir, group_of_program
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from autohealer.control.records import SlotRecord, StatusRecord

RAMP_WITHIN_S = 60.0
EXIT_WITHIN_S = 30.0
ANSWER_WITHIN_S = 20.0
MIN_READY_S = 1.0
_MARK = "AUTOHEALER_TEST_STATE_DIR"
_NO_AUTHORITIES = {"SSL_CERT_FILE": os.devnull}
"""aiohttp reads the certificates of the whole system when it is imported; no daemon here meets anybody who has one."""
IMMORTAL = ("--mean-life", "inf")


class Daemon:
    """One daemon of one group; `args` go to the workers, `options` to the daemon."""

    def __init__(
        self,
        state_dir: Path,
        zookeeper: str,
        *,
        replicas: int = 10,
        program: str = "flaky_worker",
        args: Sequence[str] = IMMORTAL,
        options: Sequence[str] = (),
        environment: dict[str, str] | None = None,
        group: str | None = None,
    ) -> None:
        self.state_dir = state_dir
        self.replicas = replicas
        self.group = group or group_of_program(program)
        self.command = [
            *(sys.executable, "-m", "autohealer"),
            *("--zookeeper", zookeeper, "--state-dir", str(state_dir)),
            *options,
            *(str(replicas), program, *args),
        ]
        common = _NO_AUTHORITIES | {_MARK: str(state_dir)}
        self.environment = dict(os.environ) | common | (environment or {})
        self.output = state_dir / f"{self.group}.out"
        self.says_into: int | None = None
        """A descriptor all it says goes to, in place of `output`."""
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        while left := self.everything_started():
            for process in left:
                with suppress(psutil.NoSuchProcess):  # its parent's end took it along
                    process.kill()

    # --- running it ---------------------------------------------------------------------------

    def start(self) -> None:
        """Start the process; does not wait for anything."""
        self.state_dir.mkdir(parents=True, exist_ok=True)
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output if self.says_into is None else self.says_into,
                stderr=subprocess.STDOUT,
                env=self.environment,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The daemon's own process."""
        assert self._process is not None, "the daemon was not started"
        return self._process.pid

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the daemon alone."""
        assert self._process is not None, "the daemon was not started"
        self._process.send_signal(number)

    def kill(self) -> None:
        """End the daemon with SIGKILL and collect it."""
        self.signal(signal.SIGKILL)
        self.wait()

    def stop(self) -> int:
        """Ask it to end (TERM) and return its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def wait(self, within_s: float = EXIT_WITHIN_S) -> int:
        """Its exit code, once it has ended by itself."""
        assert self._process is not None, "the daemon was not started"
        return self._process.wait(within_s)

    # --- what a user sees ---------------------------------------------------------------------

    def status(self) -> StatusRecord | None:
        """What `autohealer status` shows; None while nobody answers."""
        try:
            return parse_status(fetch_status(group_dir(self.state_dir, self.group)))
        except NoAnswer:
            return None

    def slots(self) -> list[SlotRecord]:
        """The rows of the status."""
        status = self.status()
        return [] if status is None else list(status.slots)

    def log(self, event: str | None = None) -> list[dict[str, object]]:
        """The log lines so far, all or those of one event."""
        written, _, _being_written = self.output.read_text(errors="replace").rpartition("\n")
        lines = written.splitlines()
        records = [json.loads(line) for line in lines if line.startswith("{")]
        return [r for r in records if event is None or r["event"] == event]

    def pids(self) -> dict[int, int]:
        """Slot to pid, of the ready ones, as soon as the daemon answers."""
        return ready_pids(eventually(self.status, within_s=ANSWER_WITHIN_S, view=self.view))

    def is_whole(self) -> bool:
        """Whether exactly the wanted number of slots is ready and nothing else runs."""
        return self._whole() is not None

    def becomes_whole(self, within_s: float = RAMP_WITHIN_S) -> dict[int, int]:
        """Wait until every slot is ready; slot to pid."""
        return self.replaces({}, within_s)

    def replaces(self, old: dict[int, int], within_s: float) -> dict[int, int]:
        """Wait until every slot of `old` is ready with another pid and the group is whole."""

        def all_new() -> StatusRecord | None:
            status = self._whole()
            if status is None:
                return None
            now = ready_pids(status)
            new = all(now.get(slot) not in {None, pid} for slot, pid in old.items())
            return status if new else None

        return ready_pids(eventually(all_new, within_s=within_s, view=self.view))

    def has_served(self) -> dict[int, int]:
        """Wait until every slot has been ready for so long that its end is no failed start; slot to pid."""

        def served() -> StatusRecord | None:
            status = self._whole()
            if status is None:
                return None
            long_enough = all(slot.phase_age_s >= MIN_READY_S for slot in status.slots)
            return status if long_enough else None

        return ready_pids(eventually(served, within_s=RAMP_WITHIN_S, view=self.view))

    def _whole(self) -> StatusRecord | None:
        """The status, if it shows exactly the wanted number of slots, all ready."""
        status = self.status()
        if status is None:
            return None
        return (
            status if status.ready == len(status.slots) == status.desired == self.replicas else None
        )

    def view(self) -> str:
        """Everything there is to see, for a failing test."""
        rows = "\n".join(str(slot) for slot in self.slots())
        return f"{rows}\n{self.output.read_text(errors='replace')[-4000:]}"

    # --- what the kernel says -----------------------------------------------------------------

    def workers_alive(self) -> list[psutil.Process]:
        """Every live process that carries this group's name and a token, whoever knows of it."""
        return [
            p for p in self.everything_started() if environment_of(p).get(ENV_GROUP) == self.group
        ]

    def everything_started(self) -> list[psutil.Process]:
        """Every live process of this state directory's daemons: workers, what they started, embedded servers."""
        return [p for p in psutil.process_iter() if self._started(environment_of(p))]

    def _started(self, environment: dict[str, str]) -> bool:
        ours = environment.get(_MARK) == str(self.state_dir)
        return ours and (ENV_TOKEN in environment or ENV_COMPANION in environment)


def ready_pids(status: StatusRecord) -> dict[int, int]:
    """Slot to pid, of the ready ones."""
    return {s.slot: s.pid for s in status.slots if s.ready and s.pid is not None}


def environment_of(process: psutil.Process) -> dict[str, str]:
    """A live process's environment; empty for a zombie or what is gone."""
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return {}
        return process.environ()
    except psutil.Error:
        return {}


def exists(pid: int) -> bool:
    """Whether a process lives (a zombie does not)."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
