"""The three standard streams, made safe: open, able to take any text, and unable to hold the end of the program up.

Theory of operation. A descriptor from 0 to 2 that nobody gave us would be given to the next file or socket opened, and
`print` would write into that: missing ones are opened on /dev/null before anything else happens. What cannot be
encoded is escaped, and so is, on standard error, whatever a terminal would obey: sentences there hold names and paths
that somebody else chose. What a command prints may wait for its reader as long as that likes; what goes wrong is said
on standard error, which gets a moment.
"""

from __future__ import annotations

import io
import os
import select
import sys
import threading
import traceback
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from autohealer.cli.exit_codes import ExitCode
from autohealer.printable import printable, printable_lines

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

SAY_S = 0.5
"""How long an error message may take to be read: a stalled pipe must not keep a program that has ended."""

CHUNK_BYTES = 4096
"""A pipe that can be written to takes this much without waiting."""


class OutputLost(Exception):  # noqa: N818 - says what happened
    """Standard output takes nothing any more; `finish_output` says why, if that is worth a word."""


class _Descriptor(io.FileIO):
    """What a stream writes to at last; its errors are told from all other trouble with files."""

    def write(self, raw: ReadableBuffer) -> int:
        try:
            return super().write(raw)
        except OSError as error:
            if self.fileno() == 2:
                return memoryview(raw).nbytes  # there is nobody left to tell
            raise OutputLost from error


class _HarmlessText(io.TextIOWrapper):
    """Sends no character that a terminal would obey, but for ends of lines."""

    def write(self, text: str, /) -> int:
        super().write(printable_lines(text))
        return len(text)


def mend_streams() -> None:
    """Open what is closed and let nothing be unprintable; to be called before anything is opened."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - until the end
    sys.stdout = _writable(sys.stdout, 1, io.TextIOWrapper)
    sys.stderr = _writable(sys.stderr, 2, _HarmlessText)
    sys.excepthook = _say_exception


def say(sentence: str) -> None:
    """Write one line to standard error; gives up when nobody reads it."""
    _say_lines(printable(sentence))


def _say_lines(text: str) -> None:
    raw = f"{text}\n".encode(sys.stderr.encoding or "utf-8", errors="backslashreplace")
    thread = threading.Thread(target=_write_all, args=(raw,), daemon=True)
    try:
        thread.start()
    except RuntimeError:  # no thread can be started: what can be written without waiting is
        _write_ready(raw)
    else:
        thread.join(SAY_S)


def finish_output() -> ExitCode:
    """Have everything printed arrive; a reader that has seen enough is no trouble, a full disk is said."""
    try:
        sys.stdout.flush()
    except OutputLost as lost:
        # What is left in the buffer would be tried once more when the interpreter ends, with a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if isinstance(lost.__cause__, BrokenPipeError):
            return ExitCode.OK
        say(f"autohealer: the output could not be written ({lost.__cause__})")
        return ExitCode.ENVIRONMENT
    return ExitCode.OK


def _writable(stream: TextIO | None, number: int, kind: type[io.TextIOWrapper]) -> TextIO:
    """A standard stream that takes any text, whatever Python made of its descriptor."""
    return kind(
        io.BufferedWriter(_Descriptor(number, "w", closefd=False)),
        encoding=stream.encoding if stream is not None else "utf-8",
        errors="backslashreplace",
        line_buffering=os.isatty(number),
    )


def _say_exception(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    _say_lines(printable_lines("".join(traceback.format_exception(kind, error, trace)).rstrip()))


def _write_all(raw: bytes) -> None:
    try:
        while raw:
            raw = raw[os.write(2, raw) :]
    except OSError:
        return  # there is nobody left to tell


def _write_ready(raw: bytes) -> None:
    poll = select.poll()
    poll.register(2, select.POLLOUT)
    if poll.poll(0):
        _write_all(raw[:CHUNK_BYTES])
