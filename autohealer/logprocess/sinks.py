"""Where lines go besides the file: the standard output that the daemon handed on, or the journal.

Both may be gone while workers go on writing: then what they write is kept in the file alone. Must never know: pipes.
"""

from __future__ import annotations

import os
import select
import socket
import time
from contextlib import suppress
from typing import Protocol

from autohealer.logprocess.layout import JOURNAL, stamp_now, stamped

PATIENCE_S = 5.0
"""How long the journal may take to take something."""
AGAIN_S = 1.0
"""Between two attempts to reach it."""
REST_MAX_BYTES = 64 * 1024
_INFO = 6


class Sink(Protocol):
    """What takes the output of one slot; nothing here raises."""

    def write(self, chunk: bytes) -> None:
        """Take a chunk, which may end in the middle of a line."""

    def close(self) -> None:
        """There is nothing more to come."""


class StandardOutput:
    """Our own standard output, which slots share: so it gets whole lines. It may hold us up for as long as it likes."""

    def __init__(self, *, is_stamped: bool) -> None:
        self._is_stamped = is_stamped
        self._rest = b""

    def write(self, chunk: bytes) -> None:
        """Write the lines that are whole; what no line ends for too long is one."""
        text = self._rest + chunk
        end = text.rfind(b"\n") + 1
        if len(text) - end > REST_MAX_BYTES:
            end = len(text)
        lines, self._rest = text[:end], text[end:]
        if lines and self._is_stamped:
            lines = stamped(lines, stamp_now(), begins_line=True)
        with suppress(OSError):  # nobody reads it any more, or its disk is full
            _write_all(lines)

    def close(self) -> None:
        """Write what no line has ended."""
        if self._rest:
            self.write(b"\n")


def _write_all(text: bytes) -> None:
    while text:
        try:
            text = text[os.write(1, text) :]
        except BlockingIOError:  # whoever we have it from made it so
            select.select([], [1], [])


class Journal:
    """A stream of one slot to systemd's journal, opened with the first line and again when it breaks."""

    def __init__(self, identifier: str, path: str = JOURNAL) -> None:
        self._identifier = identifier
        self._path = path
        self._stream: socket.socket | None = None
        self._tried_at = -AGAIN_S

    def write(self, chunk: bytes) -> None:
        """Send a chunk, which the journal takes apart into lines."""
        try:
            if self._stream is None and not self._connect():
                return
            assert self._stream is not None, "a stream that was connected is not there"
            self._stream.sendall(chunk)
        except OSError:  # it was restarted, or does not take anything
            self.close()

    def close(self) -> None:
        """End the stream, if there is one."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _connect(self) -> bool:
        now = time.monotonic()
        if now - self._tried_at < AGAIN_S:
            return False
        self._tried_at = now
        self._stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._stream.settimeout(PATIENCE_S)
        self._stream.connect(self._path)
        self._stream.sendall(header(self._identifier))
        return True


def header(identifier: str) -> bytes:
    """What a stream to the journal begins with (sd_journal_stream_fd(3)): a `<3>` before a line is its priority."""
    unit, levels_count, forwarding = "", 1, (0, 0, 0)
    lines = (identifier, unit, _INFO, levels_count, *forwarding)
    return "".join(f"{line}\n" for line in lines).encode()
