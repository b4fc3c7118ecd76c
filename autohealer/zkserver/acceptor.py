"""Take new connections: oldest first, so many a turn, and only those that may come in.

Theory of operation. The kernel queues connections in the order they were made. Some are taken, judged together and
handed on or closed, and the event loop serves everybody else before the next are taken. Where judging is slow all
that wait are judged at once, for that costs as much as judging one. A client that has hung up costs nothing more.

What a refused client sent is not read and nothing is answered.

Must never know: the protocol, sessions, why somebody may come in.
Limits: `TAKEN_MAX` a turn, `TAKEN_TOGETHER_MAX` where judging is slow. Out of descriptors it waits for `PAUSE_S`.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, assert_never

from autohealer.zkserver.doorkeeper import Admitted, Gone, Refused

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from autohealer.zkserver.doorkeeper import Doorkeeper

TAKEN_MAX = 32
"""Taking and judging one costs some 0.1 ms."""

TAKEN_TOGETHER_MAX = 1024

PAUSE_S = 0.1

_log = logging.getLogger(__name__)


class Acceptor:
    """Takes the connections of one listening socket."""

    def __init__(
        self,
        listener: socket.socket,
        doorkeeper: Doorkeeper,
        make_protocol: Callable[[int | None], asyncio.BaseProtocol],
    ) -> None:
        """`make_protocol` gets the stranger's user id, None for the server's own user and root."""
        self._listener = listener
        self._doorkeeper = doorkeeper
        self._make_protocol = make_protocol
        self._loop = asyncio.get_running_loop()
        self._entering: set[asyncio.Task[object]] = set()
        self._pause: asyncio.TimerHandle | None = None
        listener.settimeout(0)
        self._resume()

    def close(self) -> None:
        """Take no more."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._listener)
        self._listener.close()

    def _resume(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listener, self._take)

    def _take(self) -> None:
        taken: list[socket.socket] = []
        at_most = TAKEN_MAX if self._doorkeeper.is_quick else TAKEN_TOGETHER_MAX
        try:
            while len(taken) < at_most:
                taken.append(self._listener.accept()[0])
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            pass  # no more are there now
        except OSError as error:
            _log.error("no connection can be taken now: %s", error)
            self._loop.remove_reader(self._listener)
            self._pause = self._loop.call_later(PAUSE_S, self._resume)
        for connection, verdict in zip(taken, self._doorkeeper.judge(taken), strict=True):
            match verdict:
                case Admitted(stranger):
                    self._enter(connection, stranger)
                case Refused(why):
                    _log.warning("%s", why)
                    connection.close()
                case Gone():
                    connection.close()
                case _:
                    assert_never(verdict)

    def _enter(self, connection: socket.socket, stranger: int | None) -> None:
        connection.settimeout(0)
        entering = self._loop.connect_accepted_socket(
            lambda: self._make_protocol(stranger), connection
        )
        task: asyncio.Task[object] = self._loop.create_task(entering)
        self._entering.add(task)
        task.add_done_callback(self._entered)

    def _entered(self, task: asyncio.Task[object]) -> None:
        self._entering.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a connection could not be served", exc_info=error)
