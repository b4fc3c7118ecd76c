"""The loop of the log process: wait until something is written, take it, until nobody is left who could.

Theory of operation. The daemon and the workers hold a slot's pipe open, so a pipe without anybody is one whose workers
ended with no daemon there; without such pipes there is nothing more to do. TERM, which a daemon sends when all
workers have ended, takes out what is left and ends. All other signals that end programs are ignored: a terminal's
Ctrl-C, or a stray HUP, must not cost lines.
"""

from __future__ import annotations

import os
import resource
import select
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from autohealer.logprocess.layout import CHUNK_BYTES, WAKE, pipe_of, pipes_in
from autohealer.logprocess.slots import SlotLog

_IGNORED = (
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGPIPE,
    signal.SIGUSR1,
    signal.SIGUSR2,
)


class LogProcess:
    """All slots of a group."""

    def __init__(self, folder: Path, make: Callable[[int], SlotLog]) -> None:
        """`make` opens a slot's pipe and file; it raises `OSError`. Raises `OSError`."""
        self._folder = folder
        self._make = make
        self._slots: dict[int, SlotLog] = {}
        self._poll = select.epoll()
        self._scratch = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._wake = _open_wake(folder / WAKE)
        self._poll.register(self._wake, select.EPOLLIN)
        self._stop = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll.register(self._stop[0], select.EPOLLIN)

    def begin(self) -> None:
        """From now on a TERM costs no line."""
        self._heed_signals()
        self._find()

    def run(self) -> None:
        """Until nobody is left who could write, or TERM."""
        had_any = bool(self._slots)
        while self._slots or not had_any:
            ready = {descriptor for descriptor, _ in self._poll.poll()}
            if self._stop[0] in ready:
                break
            if self._wake in ready:
                os.read(self._wake, CHUNK_BYTES)
                self._find()
                had_any = had_any or bool(self._slots)
            for descriptor in ready & self._slots.keys():
                self._pump(descriptor)
        self._drain()

    def _heed_signals(self) -> None:
        for number in _IGNORED:
            signal.signal(number, signal.SIG_IGN)
        signal.set_wakeup_fd(self._stop[1], warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, lambda *_: None)

    def _find(self) -> None:
        """Look which pipes there are; those of other files than before are taken instead of these."""
        known = {log.slot: log for log in self._slots.values()}
        for slot in sorted(pipes_in(self._folder)):
            with suppress(OSError):  # removed again, or none of ours
                if slot in known:
                    if pipe_of(self._folder, slot).lstat().st_ino == known[slot].inode:
                        continue
                    self._close(known[slot].descriptor)
                log = self._make(slot)
                self._slots[log.descriptor] = log
                self._poll.register(log.descriptor, select.EPOLLIN)

    def _pump(self, descriptor: int) -> None:
        if not self._slots[descriptor].pump(self._scratch):
            self._close(descriptor)

    def _close(self, descriptor: int) -> None:
        self._poll.unregister(descriptor)
        self._slots.pop(descriptor).close()

    def _drain(self) -> None:
        """Take what is left, from as many pipes as it takes."""
        for log in self._slots.values():
            log.pump(self._scratch, CHUNK_BYTES)
            log.close()


def _open_wake(path: Path) -> int:
    with suppress(FileExistsError):
        os.mkfifo(path, 0o600)
    return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)


def raise_descriptor_limit() -> None:
    """Two for each slot, of which there may be thousands."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
