"""The shell: sockets, clocks, timers and signals around the machine.

Theory of operation. Whatever happens (bytes, a lost connection, the timer) is passed to the machine
with the time it happened at; then its effects are carried out and the timer is set to the moment the
machine names, or not at all. There is one thread and nothing is awaited between a request and its
reply, so replies keep their order.

A client's turn ends when it has taken long or made much to send. A client that does not read its
replies is not read from until it does, and dropped when what waits for it exceeds `unsent_bytes_max`
(events come whether it asks or not).

Must never know: what the bytes mean.
Limits: `connections_max`, `unsent_bytes_max`, `buffered_bytes_max`, `handshake_timeout_ms`.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import resource
import signal
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

from autohealer.zkserver import fourletter
from autohealer.zkserver.effects import Drop, Moment, Send, Tell
from autohealer.zkserver.host import look
from autohealer.zkserver.journal import StartError, lock_directory, open_journal
from autohealer.zkserver.log import log_to
from autohealer.zkserver.machine import Machine
from autohealer.zkserver.protocol import MalformedError
from autohealer.zkserver.wire import FrameDecoder, pack_frame

if TYPE_CHECKING:
    from collections.abc import Callable

    from autohealer.zkserver.log import OwnLog
    from autohealer.zkserver.settings import ServerSettings

EXIT_OK = 0
EXIT_CAN_NOT_START = 3

_SECRET_BYTES = 32
_LOOPBACK = "127.0.0.1"
_LOOPBACK_6 = "::1"
"""Java's client picks one of `localhost`'s addresses by chance, and waits a second when that refuses."""

_BATCH = 16
"""Requests of one client served in a row at most."""

_TURN_S = 0.01
_TURN_BYTES = 262_144
"""Its turn also ends here, with the request under way: others wait for one costly request, not for 16."""

_SPARE_FILES = 64

_log = logging.getLogger(__name__)


def serve(settings: ServerSettings) -> int:
    """Run a server until TERM or INT; returns the exit code: 0 stopped, 3 could not start.

    Blocks. Why it could not start is one sentence on stderr.
    """
    log = log_to(settings.log, time.monotonic)
    _allow_files(settings.connections_max + _SPARE_FILES)
    try:
        lock = lock_directory(settings.data_dir)
        try:
            asyncio.run(_serve(settings, log))
        finally:
            os.close(lock)
    except StartError as error:
        sys.stderr.write(f"The embedded ZooKeeper server can not start: {error}.\n")
        return EXIT_CAN_NOT_START
    return EXIT_OK


async def _serve(settings: ServerSettings, log: OwnLog) -> None:
    loop = asyncio.get_running_loop()
    log.look_after(loop)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    journal, state = open_journal(settings.data_dir, settings, os.urandom(_SECRET_BYTES))
    shell = Shell(Machine(settings, state, journal, read_clocks()), loop)
    try:
        listeners = await _listen(shell, settings)
        await stop.wait()
        for listener in listeners:
            listener.close()
        shell.close()
        await asyncio.sleep(0)  # lets the transports close their sockets
    finally:
        journal.close()


async def _listen(shell: Shell, settings: ServerSettings) -> list[asyncio.Server]:
    try:
        listeners = [await _listen_on(settings.host, settings.port, shell)]
    except OSError as error:
        reason = error.strerror or str(error)
        where = f"{settings.host}:{settings.port}"
        raise StartError(f"it can not listen on {where}: {reason}") from error
    shell.port = listeners[0].sockets[0].getsockname()[1]
    _log.info("serving on %s:%d, data in %s", settings.host, shell.port, settings.data_dir)
    if settings.host == _LOOPBACK:
        try:
            listeners.append(await _listen_on(_LOOPBACK_6, shell.port, shell))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                _log.warning("another program has port %d of %s", shell.port, _LOOPBACK_6)
    return listeners


async def _listen_on(host: str, port: int, shell: Shell) -> asyncio.Server:
    return await asyncio.get_running_loop().create_server(
        lambda: ClientConnection(shell), host, port, backlog=fourletter.LISTEN_BACKLOG
    )


def _allow_files(count: int) -> None:
    """Raise the limit on open files as far as allowed; beyond it, asyncio stops accepting for a second."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def read_clocks() -> Moment:
    """The only place that reads a clock: CLOCK_MONOTONIC for expiry, the wall clock for timestamps."""
    return Moment(time.monotonic_ns() // 1_000_000, time.time_ns() // 1_000_000)


class Shell:
    """Joins connections and timer to the machine."""

    def __init__(self, machine: Machine, loop: asyncio.AbstractEventLoop) -> None:
        self.machine = machine
        self.settings = machine.settings
        self.port = 0
        self._started_ms = read_clocks().monotonic_ms
        self._loop = loop
        self._clients: dict[int, ClientConnection] = {}
        self._last_id = 0
        self._timer: asyncio.TimerHandle | None = None
        self._wake_ms: int | None = None
        self._set_timer()

    def admit(self, client: ClientConnection, address: str, port: int) -> int | None:
        """Give a new connection its number; None when there are too many."""
        if len(self._clients) >= self.settings.connections_max:
            _log.warning(
                "refused %s: %d connections are the limit", address, self.settings.connections_max
            )
            return None
        self._last_id += 1
        self._clients[self._last_id] = client
        self.machine.opened(self._last_id, address, port)
        return self._last_id

    def serve_turn(self, connection_id: int, decoder: FrameDecoder) -> bool:
        """Serve some frames in order, then send everything they caused; True when there may be more.

        Raises:
            MalformedError: the next length can not be; the frames before it were served.
        """
        now: Moment | None = None
        ends_s = time.monotonic() + _TURN_S
        try:
            for _ in range(_BATCH):
                frame = decoder.next_frame()
                if frame is None:
                    return False
                now = now or self._now()
                self.machine.received(connection_id, frame, now)
                if self.machine.unsent_bytes > _TURN_BYTES or time.monotonic() > ends_s:
                    break
            return True
        finally:
            if now is not None:
                self._carry_out()

    def lost(self, connection_id: int) -> None:
        """A connection is gone."""
        self._clients.pop(connection_id, None)
        self.machine.closed(connection_id)

    def weigh(self, client: ClientConnection) -> None:
        """Keep within `buffered_bytes_max`; only who holds more than its share can break it."""
        limit_bytes = self.settings.buffered_bytes_max
        if client.held_bytes <= limit_bytes // self.settings.connections_max:
            return
        clients = self._clients.values()
        if sum(each.held_bytes for each in clients) > limit_bytes:
            max(clients, key=lambda each: each.held_bytes).abort("the most of too much is waiting")

    def answer_word(self, word: bytes) -> bytes:
        """The reply to a four-letter word."""
        now = self._now()
        uptime_ms = now.monotonic_ms - self._started_ms
        tell = partial(look, self.port, uptime_ms, self.settings.data_dir)
        return fourletter.answer(word, self.machine, now, tell) or b""

    def has_session(self, connection_id: int) -> bool:
        """Whether a connection has opened its session."""
        connection = self.machine.connections.get(connection_id)
        return connection is not None and connection.session is not None

    def close(self) -> None:
        """Close every connection; sessions live on in the journal."""
        if self._timer is not None:
            self._timer.cancel()
        for client in list(self._clients.values()):
            client.close()

    def _now(self) -> Moment:
        now = read_clocks()
        stalled_ms = self.machine.observe(now)
        if stalled_ms:
            _log.warning("stalled for %d ms; all sessions were given that much longer", stalled_ms)
        return now

    def _carry_out(self) -> None:
        unsent: dict[int, list[bytes]] = {}
        dropped: list[int] = []
        for effect in self.machine.take_effects():
            match effect:
                case Send(connection_id, body):
                    unsent.setdefault(connection_id, []).append(pack_frame(body))
                case Tell(connection_ids, body):
                    frame = pack_frame(body)
                    for connection_id in connection_ids:
                        unsent.setdefault(connection_id, []).append(frame)
                case Drop(connection_id, reason):
                    dropped.append(connection_id)
                    if reason is not None:
                        _log.info("closed connection %d: %s", connection_id, reason)
        for connection_id, frames in unsent.items():
            self._clients[connection_id].write(b"".join(frames))
        for connection_id in dropped:
            self._clients[connection_id].close()
        self._set_timer()

    def _set_timer(self) -> None:
        wake_ms = self.machine.wake_at_ms()
        if wake_ms is None or (self._wake_ms is not None and self._wake_ms <= wake_ms):
            return  # an earlier wake-up finds nothing to do and sets the next one
        if self._timer is not None:
            self._timer.cancel()
        self._wake_ms = wake_ms
        self._timer = self._loop.call_later(wake_ms / 1000 - time.monotonic(), self._tick)

    def _tick(self) -> None:
        self._timer = self._wake_ms = None
        self.machine.tick(self._now())
        self._carry_out()


class ClientConnection(asyncio.Protocol):
    """One client's socket."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._decoder = FrameDecoder(shell.settings.frame_bytes_max)
        self._id: int | None = None
        self._is_fresh = True
        self._is_busy = False
        self._is_blocked = False
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the socket, or refuse it when there are too many."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        address, port = (transport.get_extra_info("peername") or ("unknown", 0))[:2]
        self._id = self._shell.admit(self, address, port)
        if self._id is None:
            transport.abort()
            return
        self._set_deadline(self._check_handshake)

    def data_received(self, data: bytes) -> None:
        """Take bytes in and have the requests in them served."""
        self._decoder.feed(data)
        if not (self._is_fresh and self._take_word()):
            self._serve_batch()
        self._shell.weigh(self)

    @property
    def held_bytes(self) -> int:
        """Requests and parts of them not yet served, replies not yet sent."""
        if self._transport is None or self._transport.is_closing():
            return 0
        return self._decoder.held_bytes + self._transport.get_write_buffer_size()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio names it
        """The socket is gone."""
        if self._deadline is not None:
            self._deadline.cancel()
        if self._id is not None:
            self._shell.lost(self._id)

    def pause_writing(self) -> None:
        """The client does not read fast enough: serve it no further until it does."""
        self._is_blocked = True
        self._pace()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._is_blocked = False
        self._serve_batch()

    def write(self, data: bytes) -> None:
        """Send bytes; drops a client for whom too much is waiting."""
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.write(data)
        waiting_bytes = self._transport.get_write_buffer_size()
        if waiting_bytes > self._shell.settings.unsent_bytes_max:
            self.abort(f"{waiting_bytes} bytes unread")
        else:
            self._shell.weigh(self)

    def abort(self, reason: str) -> None:
        """Close at once, whatever waits."""
        if self._transport is not None:
            _log.warning("closed connection %s: %s", self._id, reason)
            self._transport.abort()

    def close(self) -> None:
        """Close after what was written was sent; a client that does not read it is cut off."""
        if self._transport is not None and not self._transport.is_closing():
            self._set_deadline(self._transport.abort)
            self._transport.close()

    def _serve_batch(self) -> None:
        """Serve some requests; the rest waits its turn behind other clients' requests."""
        if self._id is None or self._transport is None or self._transport.is_closing():
            return
        self._is_busy = False
        try:
            is_cut_short = not self._is_blocked and self._shell.serve_turn(self._id, self._decoder)
        except MalformedError as error:
            _log.info("closed connection %d: %s", self._id, error)
            self.close()
            return
        if is_cut_short:
            self._is_busy = True
            asyncio.get_running_loop().call_soon(self._serve_more)
        self._pace()

    def _serve_more(self) -> None:
        """A defect costs the connection that met it, as asyncio has it for `data_received`, not the server."""
        try:
            self._serve_batch()
        except Exception:  # noqa: BLE001 - the top of a connection; it is closed
            _log.exception("closed connection %s: a defect of this server", self._id)
            self.close()

    def _pace(self) -> None:
        """Leave further requests in the socket while some wait here."""
        if self._transport is None or self._transport.is_closing():
            return
        if self._is_busy or self._is_blocked:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _set_deadline(self, action: Callable[[], None]) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        delay_s = self._shell.settings.handshake_timeout_ms / 1000
        self._deadline = asyncio.get_running_loop().call_later(delay_s, action)

    def _take_word(self) -> bool:
        """Answer a four-letter word; they are larger than any frame's length, so nothing is ambiguous."""
        prefix = self._decoder.prefix()
        if len(prefix) < 4:
            return True
        self._is_fresh = False
        if not fourletter.is_word(prefix):
            return False
        self.write(self._shell.answer_word(prefix))
        self.close()
        return True

    def _check_handshake(self) -> None:
        if self._id is not None and not self._shell.has_session(self._id):
            _log.info("closed connection %d: it opened no session", self._id)
            self.close()
