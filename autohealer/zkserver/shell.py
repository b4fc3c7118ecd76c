"""The shell: clocks, timers and turns around the machine.

Theory of operation. Whatever happens (frames, a lost connection, the timer) is passed to the machine
with the time it happened at; then its effects are carried out and the timer is set to the moment the
machine names, or not at all. There is one thread and nothing is awaited between a request and its
reply, so replies keep their order.

What arrives waits for its turn (`turns`); between two slices of turns the event loop reads what came meanwhile. A
client's turn ends when it has taken long or made much to send. A stranger's turn counts once for each of the
stranger's connections, so that opening more of them gains nothing. Who has opened its session and no
more is still a newcomer.

Must never know: what the bytes mean.
Limits: `connections_max`, `buffered_bytes_max`, and a stranger's share of both; a slice of turns is over after
`SLICE_S`, or with the costly request that is under way by then.
"""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import TYPE_CHECKING

from autohealer.zkserver import fourletter
from autohealer.zkserver.effects import Drop, Moment, Part, Send, Tell
from autohealer.zkserver.host import look
from autohealer.zkserver.shares import Share
from autohealer.zkserver.turns import Turns
from autohealer.zkserver.wire import pack_frame

if TYPE_CHECKING:
    import asyncio

    from autohealer.zkserver.client import ClientConnection
    from autohealer.zkserver.machine import Machine
    from autohealer.zkserver.wire import FrameDecoder

BATCH = 16
"""Requests of one client served in a row at most."""

TURN_S = 0.01
TURN_BYTES = 262_144
"""Its turn also ends here, with the request under way: others wait for one costly request, not for 16."""

SLICE_S = 0.01
"""So long are turns served before sockets are read again."""

COST_PER_BYTE_S = 1e-6
"""Less than the costliest kind of request takes for its size, a multi of the smallest steps."""

RECEIVED_BYTES_MAX = 16_384
"""Read of one client at a time: a thousand who send much at once hold up the others for some 20 ms."""

_log = logging.getLogger(__name__)


def read_clocks() -> Moment:
    """The only place that reads a clock: CLOCK_MONOTONIC for expiry, the wall clock for timestamps."""
    return Moment(time.monotonic_ns() // 1_000_000, time.time_ns() // 1_000_000)


class Shell:
    """Joins connections and timer to the machine."""

    def __init__(self, machine: Machine, loop: asyncio.AbstractEventLoop) -> None:
        self.machine = machine
        self.settings = machine.settings
        self.port = 0
        self.received = memoryview(bytearray(RECEIVED_BYTES_MAX))
        """What was just read; one buffer for all, emptied before the next is read."""
        self._started_ms = read_clocks().monotonic_ms
        self._loop = loop
        self._clients: dict[int, ClientConnection] = {}
        self._connected = Share(self.settings.connections_max)
        self._buffered = Share(self.settings.buffered_bytes_max)
        self._turns = Turns()
        self._is_serving = False
        self._is_tidying = False
        self._last_id = 0
        self._timer: asyncio.TimerHandle | None = None
        self._wake_ms: int | None = None
        self._set_timer()

    def admit(self, client: ClientConnection, address: str, port: int) -> int | None:
        """Give a new connection its number; None when there are too many."""
        if self._connected.room(client.stranger) < 1:
            if client.stranger is None or self._connected.room(None) < 1:
                _log.warning(
                    "refused %s: %d connections are the limit", address, self._connected.taken
                )
            else:
                _log.warning("refused a client of user %d: its share is used up", client.stranger)
            return None
        self._connected.take(client.stranger, 1)
        self._last_id += 1
        self._clients[self._last_id] = client
        self.machine.opened(self._last_id, address, port, client.stranger)
        return self._last_id

    def lost(self, connection_id: int) -> None:
        """A connection is gone."""
        client = self._clients.pop(connection_id)
        self._connected.take(client.stranger, -1)
        self._note_held(client)
        self._turns.leave(connection_id)
        self.machine.closed(connection_id)
        self._have_tidied()

    # --- turns --------------------------------------------------------------------------------

    def ask_turn(self, connection_id: int, waiting_bytes: int) -> None:
        """Have the client's `take_turn` called when it is its turn; so much waits to be served."""
        at_least_s = waiting_bytes * COST_PER_BYTE_S
        is_stranger = self._clients[connection_id].stranger is not None
        self._turns.ask(connection_id, at_least_s=at_least_s, is_stranger=is_stranger)
        if not self._is_serving:
            self._is_serving = True
            self._loop.call_soon(self._serve_slice)

    def is_waiting(self, connection_id: int) -> bool:
        """Whether a client waits for its turn."""
        return connection_id in self._turns

    def serve_turn(self, connection_id: int, decoder: FrameDecoder) -> None:
        """Serve some frames in order, or more of one that is under way, then send everything they caused.

        Raises:
            MalformedError: the next length can not be; the frames before it were served.
        """
        now: Moment | None = None
        ends_s = time.monotonic() + TURN_S
        try:
            for _ in range(BATCH):
                if self.machine.is_under_way(connection_id):
                    now = now or self._now()
                    self.machine.go_on(connection_id, now)
                else:
                    frame = decoder.next_frame()
                    if frame is None:
                        return
                    now = now or self._now()
                    self.machine.received(connection_id, frame, now)
                if self.machine.unsent_bytes > TURN_BYTES or time.monotonic() > ends_s:
                    return
        finally:
            if now is not None:
                self._carry_out()

    def _serve_slice(self) -> None:
        ends_s = time.monotonic() + SLICE_S
        began_s = time.thread_time()  # nobody pays for what other programs took of the processor
        while (connection_id := self._turns.take()) is not None:
            client = self._clients[connection_id]
            is_known = self.has_session(connection_id)
            client.take_turn()
            ended_s = time.thread_time()
            weight = 1 if client.stranger is None else self._connected.of(client.stranger)
            self._turns.charge(connection_id, (ended_s - began_s) * weight, is_known=is_known)
            began_s = ended_s
            client.go_on()
            if time.monotonic() > ends_s:
                break
        self._is_serving = len(self._turns) > 0
        if self._is_serving:
            self._loop.call_soon(self._serve_slice)

    # --- what waits ---------------------------------------------------------------------------

    def weigh(self, client: ClientConnection) -> None:
        """Keep within `buffered_bytes_max`: beyond it, or beyond a stranger's share, the greediest is closed."""
        self._note_held(client)
        if self._buffered.room(client.stranger) >= 0:
            return
        for each in self._clients.values():  # what was sent meanwhile shows only now
            self._note_held(each)
        while self._buffered.room(client.stranger) < 0:
            held_too_much = self._buffered.room(None) >= 0
            rivals = [
                each
                for each in self._clients.values()
                if each.noted_bytes and (not held_too_much or each.stranger == client.stranger)
            ]
            if not rivals:
                return
            greediest = max(rivals, key=lambda each: each.noted_bytes)
            greediest.abort("the most of too much is waiting")
            self._note_held(greediest)

    def _note_held(self, client: ClientConnection) -> None:
        held_bytes = client.held_bytes
        if held_bytes != client.noted_bytes:
            self._buffered.take(client.stranger, held_bytes - client.noted_bytes)
            client.noted_bytes = held_bytes

    # --- the machine --------------------------------------------------------------------------

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
                case Part(connection_id, data):
                    unsent.setdefault(connection_id, []).append(data)
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
        self._have_tidied()
        self._set_timer()

    def _have_tidied(self) -> None:
        """A little at a time: the loop looks at its sockets in between."""
        if self.machine.watches.is_untidy and not self._is_tidying:
            self._is_tidying = True
            self._loop.call_soon(self._tidy)

    def _tidy(self) -> None:
        self.machine.watches.tidy()
        self._is_tidying = False
        self._have_tidied()

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
