"""Run a command beside a worker, as the worker is run, and tell how it ended: an exec probe.

Theory of operation. It gets the worker's user, folder and environment, but nothing that would prove it to be the
worker, a session of its own, and a pipe for what it writes, of which the end is kept. What is left of its group goes
with it. Where it is given up, all it started is killed: its group while its leader is not reaped, and then whoever
carries its mark, looked for on a thread.

Most commands end within a millisecond. They are launched many at once and told of together, by when most have ended:
those are collected as they are, and only of one that still runs are its end and its words waited for.

Must never know: what the command is for. Limits: what cleared its environment and left the group is not found; a daemon
that is killed leaves the command running.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from secrets import token_hex

from autohealer.core.model import Exit, Incarnation
from autohealer.processes.launch import ENV_PROBE, Launcher
from autohealer.processes.launching import Launching, Order, Outcome
from autohealer.processes.procfs import all_pids, raw_environment_of
from autohealer.processes.reaper import Reaper, Watched
from autohealer.processes.tree import signal_group

KEPT_BYTES = 4096
READ_BYTES = 65536
OUTPUT_BYTES_MAX = 1 << 20
"""Who writes more finds nobody to read it."""

TOGETHER_S = 0.01
"""How long a command that has been launched waits for others to be told of with it."""

HUNTS_MAX = 5


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended, and the end of what it wrote."""

    exit: Exit
    last_line: str


class Beside:
    """Runs commands beside the workers of one group; used from the event loop's thread."""

    def __init__(self, launcher: Callable[[], Launcher], reaper: Reaper) -> None:
        """`launcher` tells which one launches workers now."""
        self._launcher = launcher
        self._reaper = reaper
        self._loop = asyncio.get_running_loop()
        self._launching = Launching(self._loop, together_s=TOGETHER_S)

    async def run(self, name: Incarnation, argv: Sequence[str]) -> Done:
        """Until it ends; cancelled, it is killed with all that it started. Raises `OSError` where it cannot be run."""
        mark = token_hex(8)
        heard, told = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(told, True)
        words = _Words(self._loop, heard)
        try:
            running = _Running(self._reaper, self._loop, mark, words.listen)
            launch = partial(self._launcher().launch_beside, name, argv, told, mark)
            running.begin(self._launching, launch, told)
            exit_ = await running.wait()
            words.read_rest()
            return Done(exit_, words.last_line())
        finally:
            words.close()

    def close(self, within_s: float) -> None:
        """Run nothing any more."""
        self._launching.close(within_s)


class _Running:
    """One command, from its order to its end."""

    def __init__(
        self,
        reaper: Reaper,
        loop: asyncio.AbstractEventLoop,
        mark: str,
        listen: Callable[[], None],
    ) -> None:
        self._reaper = reaper
        self._loop = loop
        self._mark = mark
        self._listen = listen
        self._given_up = False
        self._order: Order | None = None
        self._output = -1
        self._watched: Watched | None = None
        self._end: asyncio.Future[Exit | OSError] = loop.create_future()

    def begin(self, launching: Launching, launch: Callable[[], int], output: int) -> None:
        self._reaper.expect_child()
        self._output = output
        self._order = launching.order(launch, self._launched)

    async def wait(self) -> Exit:
        """Raises `OSError`."""
        try:
            end = await self._end
        except asyncio.CancelledError:
            self._give_up()
            raise
        if isinstance(end, OSError):
            raise end
        return end

    def _give_up(self) -> None:
        self._given_up = True
        if self._order is not None and self._order.withdraw():
            os.close(self._output)
            self._reaper.child_is_known()
            return
        if self._watched is not None:
            signal_group(self._watched.pid, signal.SIGKILL)
        # Without a thread the group alone has been killed.
        with suppress(RuntimeError):
            self._loop.run_in_executor(None, _hunt, self._mark)

    def _launched(self, outcome: Outcome) -> None:
        os.close(self._output)
        try:
            if isinstance(outcome, OSError):
                raise outcome
            self._await_end(outcome)
        except OSError as error:
            if isinstance(outcome, int):
                signal_group(outcome, signal.SIGKILL)  # it is collected as a stray
            self._tell(error)
        self._reaper.child_is_known()
        if self._given_up and self._watched is not None:
            self._give_up()

    def _await_end(self, pid: int) -> None:
        if self._reaper.has_ended(pid):
            signal_group(pid, signal.SIGKILL)  # the unreaped leader still pins the group
            self._tell(self._reaper.reap_expected(pid))
        else:
            self._watched = self._reaper.watch(pid, self._ended)
            self._listen()

    def _ended(self, watched: Watched) -> None:
        signal_group(watched.pid, signal.SIGKILL)  # as above
        self._watched = None
        self._tell(self._reaper.reap(watched))

    def _tell(self, end: Exit | OSError) -> None:
        if not self._end.done():
            self._end.set_result(end)


class _Words:
    """The end of what a command writes."""

    def __init__(self, loop: asyncio.AbstractEventLoop, heard: int) -> None:
        self._loop = loop
        self._heard: int | None = heard
        self._kept = b""
        self._count = 0
        self._listens = False

    def listen(self) -> None:
        """Make room in the pipe for a command that still runs, if somebody waits for it."""
        if self._heard is not None:
            self._listens = True
            self._loop.add_reader(self._heard, self._read)

    def read_rest(self) -> None:
        """What is in the pipe when its writer has ended."""
        for _ in range(KEPT_BYTES):
            if self._heard is None or not self._read():
                return

    def last_line(self) -> str:
        lines = self._kept.decode(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else ""

    def close(self) -> None:
        if self._heard is not None:
            if self._listens:
                self._loop.remove_reader(self._heard)
            os.close(self._heard)
            self._heard = None

    def _read(self) -> bool:
        """Whether there was something."""
        if self._heard is None:
            return False
        try:
            found = os.read(self._heard, READ_BYTES)
        except BlockingIOError:
            return False
        self._kept = (self._kept + found)[-KEPT_BYTES:]
        self._count += len(found)
        if not found or self._count > OUTPUT_BYTES_MAX:
            self.close()
        return bool(found)


def _hunt(mark: str) -> None:
    """On a thread: kill whoever carries a mark, until nobody does."""
    marked = f"{ENV_PROBE}={mark}".encode()
    for _ in range(HUNTS_MAX):
        if not sum(_kill_if_marked(pid, marked) for pid in all_pids()):
            return


def _kill_if_marked(pid: int, marked: bytes) -> bool:
    """The pidfd pins the process that is looked at afterwards."""
    try:
        if marked not in (raw_environment_of(pid) or b""):
            return False
        pidfd = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if marked not in (raw_environment_of(pid) or b""):
            return False
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except OSError:
        return False
    finally:
        os.close(pidfd)
    return True
