"""Learn of a process's end through its pidfd, and collect every exit status exactly once.

A pidfd becomes readable the moment its process ends, child or not. A child's status is then collected
with `waitid`; a non-child's cannot be known. Because the daemon is a child subreaper, descendants whose
parents died become its children too: SIGCHLD tells of their end, and they are collected as strays, never
before the processes watched here.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import select
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from autohealer.core.model import Exit
from autohealer.processes.platform import wake_quietly
from autohealer.processes.procfs import own_children

_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True, slots=True)
class Watched:
    """A process held through its pidfd, so that no signal can reach another that took its pid."""

    pid: int
    pidfd: int

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to exactly this process; a no-op once it is gone, or when it is not ours to signal."""
        try:
            signal.pidfd_send_signal(self.pidfd, number)
        except (ProcessLookupError, PermissionError):
            return

    def is_alive(self) -> bool:
        """Whether it has not ended yet; needs no descriptor."""
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        return not poll.poll(0)


class Reaper:
    """Owner of all pidfds; used from the event loop's thread only."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._watched: dict[int, Watched] = {}
        # A pid can be held twice for a moment: by what has ended, and by what was given its number since.
        self._holds: Counter[int] = Counter()
        self._on_next_stray: list[Callable[[], None]] = []
        self._expected = 0

    def start(self) -> None:
        """Become the parent of orphaned descendants and listen for their end."""
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
        self._loop.add_signal_handler(signal.SIGCHLD, self._child_ended)
        wake_quietly()

    def close(self) -> None:
        """Stop watching; the processes are not touched."""
        self._loop.remove_signal_handler(signal.SIGCHLD)
        for watched in list(self._watched.values()):
            self._release(watched)

    def watch(self, pid: int, on_end: Callable[[Watched], None]) -> Watched:
        """Call `on_end` once the process has ended and before it is reaped.

        Raises:
            ProcessLookupError: there is no such process.
            OSError: it cannot be held, for want of descriptors or memory.
        """
        watched = Watched(pid, os.pidfd_open(pid))
        try:
            self._loop.add_reader(watched.pidfd, on_end, watched)
        except OSError:
            os.close(watched.pidfd)
            raise
        self._watched[watched.pidfd] = watched
        self._holds[pid] += 1
        return watched

    def reap(self, watched: Watched) -> Exit:
        """Collect an ended process's status and let go of it; `Exit()` when it was not our child."""
        exit_ = _collected(os.P_PIDFD, watched.pidfd)
        self._release(watched)
        return exit_

    def reap_expected(self, pid: int) -> Exit:
        """Collect the status of an ended child that is not watched, while it is still expected."""
        return _collected(os.P_PID, pid)

    def forget(self, watched: Watched) -> None:
        """Stop watching a process that lives."""
        self._release(watched)

    def has_ended(self, pid: int) -> bool:
        """Whether a child that is still expected has ended already; it is not reaped by that."""
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def expect_child(self) -> None:
        """A child is being launched elsewhere: until it is known, none that is unknown is collected."""
        self._expected += 1

    def child_is_known(self) -> None:
        """One that was expected is watched by now, or there is none."""
        self._expected -= 1
        if not self._expected:
            self._child_ended()

    def collect_strays(self) -> None:
        """Reap ended children nobody watches, up to the first one somebody does."""
        while not self._expected:
            try:
                status = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if status is None or self.is_watched(status.si_pid):
                return
            os.waitid(os.P_PID, status.si_pid, os.WEXITED | os.WNOHANG)

    async def end_strays(self, within_s: float) -> None:
        """End the children nobody watches: they descend from what was launched and had hidden from it; bounded."""
        try:
            async with asyncio.timeout(within_s):
                while strays := self._strays():
                    ended = asyncio.Event()
                    self.on_next_stray(ended.set)
                    for pid in strays:
                        with suppress(PermissionError):
                            os.kill(pid, signal.SIGKILL)  # not reaped yet, so its pid is its own
                    await ended.wait()
        except TimeoutError:
            return

    def _strays(self) -> list[int]:
        self.collect_strays()
        try:
            return [pid for pid in own_children() if not self.is_watched(pid)]
        except OSError:
            return []

    def on_next_stray(self, callback: Callable[[], None]) -> None:
        """Call back once, after the next SIGCHLD was dealt with."""
        self._on_next_stray.append(callback)

    def is_watched(self, pid: int) -> bool:
        """Whether somebody here waits for the end of `pid`."""
        return self._holds[pid] > 0

    def _child_ended(self) -> None:
        self.collect_strays()
        callbacks, self._on_next_stray = self._on_next_stray, []
        for callback in callbacks:
            callback()

    def _release(self, watched: Watched) -> None:
        if self._watched.get(watched.pidfd) is not watched:
            return
        del self._watched[watched.pidfd]
        self._holds[watched.pid] -= 1
        if not self._holds[watched.pid]:
            del self._holds[watched.pid]
        self._loop.remove_reader(watched.pidfd)
        os.close(watched.pidfd)


def _collected(kind: int, number: int) -> Exit:
    """How a process ended that is reaped by this; `Exit()` when it was not our child."""
    try:
        status = os.waitid(kind, number, os.WEXITED | os.WNOHANG)
    except ChildProcessError:
        return Exit()
    if status is None:
        return Exit()
    if status.si_code == os.CLD_EXITED:
        return Exit(code=status.si_status)
    return Exit(signal=status.si_status)
