"""Let clients of the control socket in, few at a time and not for long: nothing they do or leave undone costs healing.

Theory of operation. Connections are accepted a few per turn of the loop. When as many are open as may be, the one that
has been silent for longest makes room, so a client that asks at once is served however many others keep silent. A
client has `REQUEST_S` to ask and `ANSWER_S` until it has read the answer. When a connection cannot be accepted for want
of descriptors, the silent ones are closed and the door stays shut for a moment: the kernel keeps those who wait.

Must never know: what is asked.
"""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import Callable
from dataclasses import dataclass, field

from autohealer.control.complaints import Complaints

OPEN_MAX = 32
OPEN_MIN = 4
DESCRIPTORS_PER_OPEN = 16
"""One in so many of the descriptors a process may have is for clients, up to `OPEN_MAX`."""

ACCEPTS_PER_TURN = 4
REQUEST_S = 5.0
ANSWER_S = 30.0
UNREAD_S = 2.0
"""An answer not read for so long makes room for others."""

SHUT_S = 1.0


@dataclass(slots=True)
class _Client:
    """One connection; the socket is closed when its transport is done with it."""

    connection: socket.socket
    since: float
    transport: asyncio.BaseTransport | None = None
    has_asked: bool = False
    timers: list[asyncio.TimerHandle] = field(default_factory=list)

    @property
    def is_open(self) -> bool:
        return self.connection.fileno() >= 0

    def cut(self) -> None:
        """End it now, whatever is under way."""
        if isinstance(self.transport, asyncio.WriteTransport):
            self.transport.abort()
        elif self.transport is None:
            self.connection.close()


class Door:
    """Accepts the connections of one listening socket; used from the loop's thread only."""

    def __init__(
        self, protocol: Callable[[], asyncio.BaseProtocol], complain: Complaints, open_max: int = 0
    ) -> None:
        """`protocol` makes what talks to a client; `open_max` 0 chooses by the descriptors there are."""
        self._protocol = protocol
        self._complain = complain
        self._open_max = open_max or _open_max()
        self._loop = asyncio.get_running_loop()
        self._listener: socket.socket | None = None
        self._clients: list[_Client] = []
        self._greetings: set[asyncio.Task[None]] = set()
        self._reopening: asyncio.TimerHandle | None = None

    def open(self, listener: socket.socket) -> None:
        """Accept from this socket from now on, and from no other."""
        self.shut()
        self._listener = listener
        self._loop.add_reader(listener.fileno(), self._accept)

    def shut(self) -> None:
        """Accept no more; who is in stays."""
        if self._reopening is not None:
            self._reopening.cancel()
        if self._listener is not None:
            self._loop.remove_reader(self._listener.fileno())
            self._listener.close()
            self._listener = None

    def close(self) -> None:
        """Accept no more and end all connections."""
        self.shut()
        for client in self._clients:
            self._forget(client)
            client.cut()
        for greeting in self._greetings:
            greeting.cancel()

    def has_asked(self, transport: asyncio.BaseTransport | None) -> None:
        """A client's request is in: it is silent no more."""
        for client in self._clients:
            if client.transport is transport:
                client.has_asked = True

    def _accept(self) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            if self._listener is None:
                return
            try:
                connection, _address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._complain("a client cannot be let in", error.strerror or repr(error))
                self._rest()
                return
            self._admit(connection)

    def _rest(self) -> None:
        """Not be called for every turn of the loop while there is nothing to accept with."""
        assert self._listener is not None
        for client in self._clients:
            if not client.has_asked:
                client.cut()
        self._loop.remove_reader(self._listener.fileno())
        self._reopening = self._loop.call_later(SHUT_S, self._reopen)

    def _reopen(self) -> None:
        if self._listener is not None:
            self._loop.add_reader(self._listener.fileno(), self._accept)

    def _admit(self, connection: socket.socket) -> None:
        connection.settimeout(0.0)
        now = self._loop.time()
        if not self._makes_room(now):
            self._complain("clients of the control socket are turned away", "too many ask at once")
            connection.close()
            return
        client = _Client(connection, now)
        client.timers = [
            self._loop.call_later(REQUEST_S, self._end_silent, client),
            self._loop.call_later(ANSWER_S, client.cut),
        ]
        self._clients.append(client)
        greeting = self._loop.create_task(self._greet(client))
        self._greetings.add(greeting)
        greeting.add_done_callback(self._greetings.discard)

    async def _greet(self, client: _Client) -> None:
        try:
            client.transport, _ = await self._loop.connect_accepted_socket(
                self._protocol, client.connection
            )
        except OSError:
            client.connection.close()  # it is gone again

    def _makes_room(self, now: float) -> bool:
        """Whether one more may come in, after the one that needs its place least was ended."""
        for client in [client for client in self._clients if not client.is_open]:
            self._forget(client)
        if len(self._clients) < self._open_max:
            return True
        victim = min(self._clients, key=lambda client: (client.has_asked, client.since))
        if victim.has_asked and now < victim.since + UNREAD_S:
            return False
        if not victim.has_asked:
            self._complain("clients of the control socket keep silent", "the oldest made room")
        self._forget(victim)
        victim.cut()
        return True

    def _end_silent(self, client: _Client) -> None:
        if not client.has_asked:
            client.cut()

    def _forget(self, client: _Client) -> None:
        for timer in client.timers:
            timer.cancel()
        self._clients = [other for other in self._clients if other is not client]


def _open_max() -> int:
    """How many connections may be open: few where descriptors are few."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return OPEN_MAX
    return max(OPEN_MIN, min(OPEN_MAX, soft // DESCRIPTORS_PER_OPEN))
