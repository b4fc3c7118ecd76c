"""One client's socket: bytes in, bytes out, and what becomes of a client that does not keep up.

Theory of operation. What was read is cut into frames, and as soon as there is a whole one the client asks for a
turn. A client that waits for its turn or does not read its replies is not read from beyond a little, so the rest
stays in its own socket; it is dropped when what waits for it exceeds `unsent_bytes_max` (events come whether it
asks or not). Requests that were sent before the client said that it sends no more are served; a handshake is not,
when its client has gone: it has given up and tries again.

Must never know: what the frames mean.
Limits: `frame_bytes_max`, `unsent_bytes_max`, `handshake_timeout_ms`, `READ_AHEAD_BYTES`.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from autohealer.zkserver import fourletter
from autohealer.zkserver.endpoints import TcpState, state_of
from autohealer.zkserver.protocol import MalformedError
from autohealer.zkserver.wire import FrameDecoder

if TYPE_CHECKING:
    from collections.abc import Callable

    from autohealer.zkserver.shell import Shell

READ_AHEAD_BYTES = 65_536
"""Waiting requests a client is read from beyond."""

_log = logging.getLogger(__name__)


class ClientConnection(asyncio.BufferedProtocol):
    """One client; `stranger` is its user's id, None for the server's own user and root."""

    def __init__(self, shell: Shell, stranger: int | None = None) -> None:
        self.stranger = stranger
        self.noted_bytes = 0
        """What the shell last knew of `held_bytes`."""
        self._shell = shell
        self._decoder = FrameDecoder(shell.settings.frame_bytes_max)
        self._id: int | None = None
        self._is_fresh = True
        self._is_blocked = False
        self._has_ended = False
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None

    @property
    def held_bytes(self) -> int:
        """Requests and parts of them not yet served, replies not yet sent."""
        if self._transport is None or self._transport.is_closing():
            return 0
        waiting_bytes = self._decoder.held_bytes + self._transport.get_write_buffer_size()
        return waiting_bytes + (0 if self._id is None else self._shell.machine.kept_bytes(self._id))

    # --- called by the event loop -------------------------------------------------------------

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

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio names it
        """Where to put what is read."""
        return self._shell.received

    def buffer_updated(self, nbytes: int) -> None:
        """So much was read."""
        self._decoder.feed(self._shell.received[:nbytes])
        self.go_on()
        self._shell.weigh(self)

    def eof_received(self) -> bool:
        """The client sends no more; what it sent is served first."""
        self._has_ended = True
        return self._has_more()  # then it is closed after its last turn

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
        self._shell.weigh(self)
        self.go_on()

    # --- called by the shell ------------------------------------------------------------------

    def take_turn(self) -> None:
        """Serve some of what waits. A defect costs the connection that met it, not the server."""
        if self._id is None or not self._is_there() or self._is_blocked:
            return
        try:
            if self._is_fresh and self._take_word():
                return
            if self._has_gone_before_its_session():
                self.abort("its client has gone")
                return
            self._shell.serve_turn(self._id, self._decoder)
        except MalformedError as error:
            _log.info("closed connection %d: %s", self._id, error)
            self.close()
        except Exception:  # noqa: BLE001 - the top of a connection; it is closed
            _log.exception("closed connection %s: a defect of this server", self._id)
            self.close()

    def go_on(self) -> None:
        """Ask for a turn if there is something to serve, and read on if there is room."""
        if self._id is None or not self._is_there():
            return
        if not self._is_blocked:
            if self._has_more():
                self._shell.ask_turn(self._id, self._decoder.held_bytes)
            elif self._has_ended:
                self.close()
                return
        self._pace()

    def write(self, data: bytes) -> None:
        """Send bytes; drops a client for whom too much is waiting."""
        if self._transport is None or not self._is_there():
            return
        self._transport.write(data)
        waiting_bytes = self._transport.get_write_buffer_size()
        if waiting_bytes > self._shell.settings.unsent_bytes_max:
            self.abort(f"{waiting_bytes} bytes unread")
        elif waiting_bytes or self._has_job():
            self._shell.weigh(self)

    def abort(self, reason: str) -> None:
        """Close at once, whatever waits."""
        if self._transport is not None:
            _log.warning("closed connection %s: %s", self._id, reason)
            self._transport.abort()

    def close(self) -> None:
        """Close after what was written was sent; a client that does not read it is cut off."""
        if self._transport is not None and self._is_there():
            self._set_deadline(self._transport.abort)
            self._transport.close()

    # --- its own ------------------------------------------------------------------------------

    def _is_there(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def _has_more(self) -> bool:
        return self._has_job() or self._decoder.has_frame()

    def _has_job(self) -> bool:
        return self._id is not None and self._shell.machine.is_under_way(self._id)

    def _pace(self) -> None:
        """Leave further requests in the socket while many wait here."""
        if self._transport is None or self._id is None or not self._is_there():
            return
        is_waiting = self._shell.is_waiting(self._id)
        if self._is_blocked or (is_waiting and self._decoder.held_bytes >= READ_AHEAD_BYTES):
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
        self._is_fresh = False
        prefix = self._decoder.prefix()
        if not fourletter.is_word(prefix):
            return False
        self.write(self._shell.answer_word(prefix))
        self.close()
        return True

    def _has_gone_before_its_session(self) -> bool:
        if self._transport is None or self._id is None or self._shell.has_session(self._id):
            return False
        return state_of(self._transport.get_extra_info("socket")) != TcpState.ESTABLISHED

    def _check_handshake(self) -> None:
        if self._id is not None and not self._shell.has_session(self._id):
            _log.info("closed connection %d: it opened no session", self._id)
            self.close()
