"""One helper process of the daemon's own: the embedded ZooKeeper server.

It runs in a session of its own, so it outlives a crashed daemon; the next one finds it and takes it over. It is not a
slot: it has no registration and cannot be scaled. Whoever owns this object says when to launch it and is told
when it ended.

Theory of operation. Candidates are the processes that carry its token and the one whose pid it noted itself.
A candidate is held through a pidfd first and verified afterwards: by its token, or, where its environment cannot be
read, by the note and by its command line. One whose launcher lives and is its parent belongs to that.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from autohealer.processes.identity import age_s, parse_environment
from autohealer.processes.procfs import all_pids, raw_environment_of, stat_of
from autohealer.processes.reaper import Reaper, Watched
from autohealer.processes.spawn import spawn_detached

ENV_COMPANION = "AUTOHEALER_COMPANION"
STOP_GRACE_S = 5.0


class Companion:
    """One process or none; used from the event loop's thread only, but for `find`."""

    def __init__(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        token: str,
        pid_note: Path,
        reaper: Reaper,
        on_end: Callable[[int, float], None],
    ) -> None:
        """`pid_note` is where it writes its pid; `on_end` gets the pid and how long it lived, in seconds."""
        self._argv = list(argv)
        self._environment = dict(environment)
        self._token = token
        self._pid_note = pid_note
        self._reaper = reaper
        self._on_end = on_end
        self._process: Watched | None = None
        self._gone = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """The process, if it lives."""
        return None if self._process is None else self._process.pid

    def find(self) -> list[int]:
        """What may be one that an earlier daemon left; looks at every process, on any thread. Raises `OSError`."""
        noted = self._noted_pid()
        return [pid for pid in all_pids() if pid == noted or self._carries_token(pid)]

    def adopt(self, pids: Sequence[int]) -> bool:
        """Hold the first of these that proves to be ours and nobody's. Raises `OSError`."""
        return any(self._hold_if_ours(pid) for pid in pids)

    @property
    def is_as_told(self) -> bool:
        """Whether it was started with the same words, its interpreter aside; what cannot be read is taken for that."""
        if self._process is None:
            return True
        words = _words_of(self._process.pid)
        return not words or words[1:] == [os.fsencode(word) for word in self._argv[1:]]

    @property
    def is_noted(self) -> bool:
        """Whether it has written its pid."""
        return self.pid is not None and self._noted_pid() == self.pid

    def launch(self, output: int) -> None:
        """Start it; `output` is closed here. Raises `OSError` when it cannot be exec'd or held."""
        environment = self._environment | {ENV_COMPANION: f"{self._token}:{os.getpid()}"}
        pid = spawn_detached(self._argv, environment, output)
        try:
            self._hold(pid)
        except OSError:
            os.kill(
                pid, signal.SIGKILL
            )  # not reaped yet, so the pid is its own; collected like any stray
            raise

    async def stop(self) -> None:
        """TERM, a grace, KILL, and as long again; returns when it is gone, or if even that did not help."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._process is None:
                return
            self._process.signal(number)
            self._process.signal(signal.SIGCONT)
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP_GRACE_S):
                    await self._gone.wait()
        self.release()

    def kill(self) -> None:
        """KILL, without waiting: `on_end` tells when it is gone."""
        if self._process is not None:
            self._process.signal(signal.SIGKILL)

    def release(self) -> None:
        """Leave it running for the next daemon to take over."""
        if self._process is not None:
            self._reaper.forget(self._process)
            self._process = None

    # --- whose it is --------------------------------------------------------------------------

    def _hold_if_ours(self, pid: int) -> bool:
        """The pidfd pins the process that is verified afterwards."""
        try:
            self._hold(pid)
        except ProcessLookupError:
            return False  # it ended meanwhile
        try:
            is_ours = self._is_ours(pid)
        except OSError:
            self.release()
            raise
        if not is_ours:
            self.release()
        return is_ours

    def _is_ours(self, pid: int) -> bool:
        raw = raw_environment_of(pid)
        if raw is None:
            return pid == self._noted_pid() and self._names_our_folder(pid)
        token, _, launcher = parse_environment(raw).get(ENV_COMPANION, "").partition(":")
        return token == self._token and not _is_parent(pid, launcher)

    def _carries_token(self, pid: int) -> bool:
        raw = raw_environment_of(pid)
        return raw is not None and f"{ENV_COMPANION}={self._token}:".encode() in raw

    def _noted_pid(self) -> int | None:
        try:
            return int(self._pid_note.read_text(encoding="ascii", errors="replace")[:16])
        except (OSError, ValueError):
            return None  # there is no note, or an unfinished one

    def _names_our_folder(self, pid: int) -> bool:
        """Whether the note's folder stands in its command line, which all may read."""
        return os.fsencode(self._pid_note.parent) in _words_of(pid)

    # --- holding ------------------------------------------------------------------------------

    def _hold(self, pid: int) -> None:
        self._process = self._reaper.watch(pid, self._ended)
        self._gone.clear()

    def _ended(self, watched: Watched) -> None:
        lived_s = age_s(watched.pid)
        self._reaper.reap(watched)
        self._process = None
        self._gone.set()
        self._on_end(watched.pid, lived_s)


def _words_of(pid: int) -> list[bytes]:
    """The command line of a process; empty where it is gone or cannot be read."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().removesuffix(b"\0").split(b"\0")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return []


def _is_parent(pid: int, launcher: str) -> bool:
    """Whether a process is still the child of the daemon that launched it, which therefore lives."""
    stat = stat_of(pid)
    return stat is None or str(stat.parent) == launcher
