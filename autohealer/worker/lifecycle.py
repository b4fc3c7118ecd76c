"""A worker from its start to its end: signals, registration, exit codes.

Theory of operation: entering a `Worker` installs the signal handlers first, so that a TERM is never
lost, then connects and registers. The first TERM or INT only sets `stopping` and puts the former
handlers back, so that a second one kills as usual. Leaving closes the session.

A forked child is not the worker: as soon as it can be signalled the handlers are what they were before, its
copy of the `Worker` is inert, and nothing it does at its exit touches the session. One that was
started otherwise (`identity` knows which) gets a `Worker` without registration. A child that
`multiprocessing` spawned imports the worker's script before it does its work: `run` lets it.

Must never know: ZooKeeper's protocol, what the work is.

Limits: handlers can only be installed from the main thread. A worker that never looks at `stopping`
must be killed. One `Worker` at a time in each process.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from dataclasses import replace

from autohealer.contract import ENV_REGISTRAR
from autohealer.worker.identity import checked_address, identify
from autohealer.worker.registration import Registration
from autohealer.worker.stopping import Stopping

TYPE_CHECKING = False  # what `typing` says too, and importing it would cost 2 ms
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import FrameType, TracebackType
    from typing import Any, Self

EXIT_SUPERSEDED = 75
"""The exit code of a worker whose slot was given to a newer incarnation while it had no session."""

_WHY_NOT = {
    False: "%s is another process's: this child of it does not register",
    True: "%s is registered by its daemon (--register agent): with --register self it would do so itself, and be "
    "replaced when it freezes",
}
"""Why a process does not register, by whether its daemon does."""

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

log = logging.getLogger("autohealer.worker")


class Worker:
    """A registered process: a context manager that registers on entry and says goodbye on exit.

    Args:
        register: whether entering registers; a slow starter says False and calls `register()`
            when it is ready to serve.
        handle_signals: whether TERM and INT set `stopping`; only possible in the main thread.
        address: where this worker serves, for those who look it up; free text, at most 128 characters.

    Raises:
        RuntimeError: it is a child of `multiprocessing` that only imports the worker's script.
        ValueError: a variable of the environment cannot be what a daemon gave, or the address is too long.
        TypeError: the address is not text.
    """

    def __init__(
        self, *, register: bool = True, handle_signals: bool = True, address: str = ""
    ) -> None:
        if _only_imports():
            raise RuntimeError(
                "this process was spawned by multiprocessing and only imports the worker's script: "
                'create the Worker below `if __name__ == "__main__":`'
            )
        self.stopping = Stopping()
        self.superseded = False
        self._register_on_entry = register
        self._handle_signals = handle_signals
        self._former_handlers: dict[signal.Signals, Any] = {}
        self._identify(address)

    def _identify(self, address: str) -> None:
        self._identity = identify(os.environ, address)
        self._record = self._identity.record
        self._registration: Registration | None = None
        if self._identity.path:
            self._registration = Registration(self._identity, self._on_superseded)

    @property
    def name(self) -> str:
        """The name of the registration: `<group>-<slot>-<generation>`, or one that starts with `manual-`."""
        return self._identity.name

    @property
    def group(self) -> str | None:
        """The group this worker belongs to; None when it was started by hand."""
        incarnation = self._identity.incarnation
        return None if incarnation is None else incarnation.group

    @property
    def slot(self) -> int | None:
        """Its place in the group, from 0, the same for all its replacements; None when it was started by hand."""
        incarnation = self._identity.incarnation
        return None if incarnation is None else incarnation.slot

    @property
    def generation(self) -> int | None:
        """What tells it from those that had its slot before; it only grows. None when it was started by hand."""
        incarnation = self._identity.incarnation
        return None if incarnation is None else incarnation.generation

    @property
    def address(self) -> str:
        """Where this worker serves; setting it publishes it, without waiting. Raises as the class does."""
        return self._record.address

    @address.setter
    def address(self, address: str) -> None:
        self._record = replace(self._record, address=checked_address(address))
        if self._registration is not None:
            self._registration.publish(self._record)

    def __enter__(self) -> Self:
        _enter(self)
        if self._record.pid != os.getpid():  # made before a fork, entered after it
            self._identify(self.address)
        try:
            self._take_signals()
            if self._registration is None:
                log.warning(_WHY_NOT[os.environ.get(ENV_REGISTRAR) == "agent"], self.name)
            else:
                self._registration.open()
                if self._register_on_entry:
                    self.register()
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if _active is self:  # not so in a child that was forked inside the block
            self._leave()

    def register(self) -> bool:
        """Be registered, and say whether the worker is: by this process, or by another one of its processes.

        Waits for ZooKeeper, or for what is in the way, for 5 s at most, and not when asked to stop; if that is not
        enough, registering goes on beside the work. Always False in a child of the worker.
        """
        return self._registration is not None and self._registration.register(self.stopping.is_set)

    def unregister(self) -> None:
        """End the session for good, so that nobody counts on this process; its work may go on."""
        if self._registration is not None:
            self._registration.close()

    def abandon(self) -> None:
        """Be inert: what this process inherited by `os.fork` stays the parent's."""
        self._restore_handlers()
        if self._registration is not None:
            self._registration.abandon()

    def _leave(self) -> None:
        self.unregister()
        self._restore_handlers()
        _forget()

    def _on_superseded(self) -> None:
        self.superseded = True
        self.stopping.set()

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._restore_handlers()
        self.stopping.set()

    def _take_signals(self) -> None:
        if not self._handle_signals:
            return
        if threading.current_thread() is not threading.main_thread():
            log.warning(
                "%s runs in a thread, where TERM and INT cannot be handled: run it in the main thread, or say "
                "handle_signals=False and set `stopping` yourself",
                self.name,
            )
            return
        for number in _STOP_SIGNALS:
            self._former_handlers[number] = signal.signal(number, self._on_signal)

    def _restore_handlers(self) -> None:
        while self._former_handlers:
            number, handler = self._former_handlers.popitem()
            # None stands for a handler that Python did not install and cannot put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


_active: Worker | None = None
"""The worker whose block this process is in."""


def _enter(worker: Worker) -> None:
    global _active  # noqa: PLW0603 - a process is one worker
    if _active is not None:
        raise RuntimeError(f"this process is {_active.name} already: one Worker at a time")
    _active = worker


def _forget() -> None:
    global _active  # noqa: PLW0603 - a process is one worker
    _active = None


_masks: dict[int, set[int]] = {}
"""What each thread that is forking blocked before, by its number."""


def _hold_signals() -> None:
    """Before a fork: a TERM that reaches the child before it is itself must wait, or Python would forget it."""
    if _active is not None:
        ours = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
        _masks[threading.get_ident()] = set(ours)


def _release_signals() -> None:
    mask = _masks.pop(threading.get_ident(), None)
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _be_a_child() -> None:
    """Right after a fork, in the child."""
    if _active is not None:
        _active.abandon()
        _forget()
    _release_signals()
    _masks.clear()


os.register_at_fork(
    before=_hold_signals, after_in_parent=_release_signals, after_in_child=_be_a_child
)


def run(
    main: Callable[[Worker], int | bool | Awaitable[int | bool | None] | None],
    *,
    register: bool = True,
    address: str = "",
) -> None:
    """Run `main` as a registered worker and exit with what it returns, or with EXIT_SUPERSEDED.

    A coroutine function is run by asyncio; in it, `await worker.stopping` waits until the worker is to stop. A truth
    value is no exit code, so either of them exits with 0, as None does. An exception of `main` prints its traceback
    and exits with 1, as in any Python program, and the session is closed first.

    It returns in one case only: in a child of `multiprocessing` that imports the worker's script to find the functions
    it is to call. Put the call below `if __name__ == "__main__":` and the question does not arise.

    Raises:
        SystemExit: always but in that case.
        TypeError: `main` cannot be called, or returned something that is no exit code; the address is not text.
    """
    if not callable(main):
        raise TypeError(
            f"run takes a function that takes the worker, not {main!r}: write `run(main)`, without calling it"
        )
    if _only_imports():
        return
    with Worker(register=register, address=address) as worker:
        status = _exit_status(main(worker))
    raise SystemExit(EXIT_SUPERSEDED if worker.superseded else status)


def _exit_status(result: object) -> int | str:
    """The exit code that `main` asks for; a text is printed and stands for 1, as with `sys.exit`."""
    if hasattr(result, "__await__"):
        from autohealer.worker.coroutines import finish  # only who awaits pays for asyncio

        result = finish(result)
    match result:
        case None | bool():
            return 0
        case int() | str():
            return result
        case _:
            raise TypeError(f"the worker's main function returned {result!r}, not an exit code")


def _only_imports() -> bool:
    """Whether this process was spawned by multiprocessing and is still importing what it needs for its work."""
    process = sys.modules.get("multiprocessing.process")
    return process is not None and getattr(process.current_process(), "_inheriting", False)
