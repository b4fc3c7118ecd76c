"""A worker from its start to its end: signals, registration, exit codes.

Theory of operation: entering a `Worker` installs the signal handlers first, so that a TERM is never
lost, then connects and registers. The first TERM or INT only sets `stopping` and puts the former
handlers back, so that a second one kills as usual. Leaving closes the session.

Must never know: ZooKeeper's protocol, what the work is.

Limits: handlers can only be installed from the main thread. After `os.fork` the child's copy is
inert: the session stays the parent's. A worker that never looks at `stopping` must be killed.
"""

from __future__ import annotations

import os
import signal
import threading

from autohealer.worker.identity import identify
from autohealer.worker.registration import Registration
from autohealer.worker.stopping import Stopping

TYPE_CHECKING = False  # what `typing` says too, and importing it would cost 2 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType
    from typing import Any, NoReturn, Self

EXIT_SUPERSEDED = 75
"""The exit code of a worker whose slot was given to a newer incarnation while it had no session."""

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Worker:
    """A registered process: a context manager that registers on entry and says goodbye on exit.

    Args:
        register: whether entering registers; a slow starter says False and calls `register()`
            when it is ready to serve.
        handle_signals: whether TERM and INT set `stopping`; only possible in the main thread.
        address: where this worker serves, for those who look it up; free text.
    """

    def __init__(
        self, *, register: bool = True, handle_signals: bool = True, address: str = ""
    ) -> None:
        self.stopping = Stopping()
        self.superseded = False
        self._register_on_entry = register
        self._handle_signals = handle_signals
        self._former_handlers: dict[signal.Signals, Any] = {}
        self._pid = os.getpid()
        identity = identify(os.environ, address)
        self.name = identity.name
        self._registration = Registration(identity, self._on_superseded)

    def __enter__(self) -> Self:
        if self._handle_signals and threading.current_thread() is threading.main_thread():
            for number in _STOP_SIGNALS:
                self._former_handlers[number] = signal.signal(number, self._on_signal)
        try:
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
        if os.getpid() == self._pid:
            self._leave()

    def register(self) -> None:
        """Be registered, waiting for ZooKeeper if need be; returns early when asked to stop."""
        self._registration.register(self.stopping.is_set)

    def unregister(self) -> None:
        """End the session for good, so that nobody counts on this worker; its work may go on."""
        self._registration.close()

    def _leave(self) -> None:
        self._registration.close()
        self._restore_handlers()

    def _on_superseded(self) -> None:
        self.superseded = True
        self.stopping.set()

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._restore_handlers()
        self.stopping.set()

    def _restore_handlers(self) -> None:
        while self._former_handlers:
            number, handler = self._former_handlers.popitem()
            # None stands for a handler that Python did not install and cannot put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def run(
    main: Callable[[Worker], int | None], *, register: bool = True, address: str = ""
) -> NoReturn:
    """Run `main` as a registered worker and exit with what it returns, or with EXIT_SUPERSEDED.

    An exception of `main` prints its traceback and exits with 1, as in any Python program, and the
    session is closed first.
    """
    with Worker(register=register, address=address) as worker:
        status = main(worker)
    raise SystemExit(EXIT_SUPERSEDED if worker.superseded else status)
