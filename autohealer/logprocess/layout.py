"""What daemon and log process agree on: where pipes and files are, and how a time stands before a line.

A chunk of a pipe stays in it until it is in the file, so at any moment each byte is in one of them, and for a moment in
both; who looks takes the pipe first and leaves out what the file ends with already (`news`).
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

WAKE = "wake.pipe"
"""A byte in there asks the log process to look which pipes there are."""

PID_NOTE = "log.pid"

JOURNAL = "/run/systemd/journal/stdout"
"""Where systemd's journal takes streams of lines."""
CHUNK_BYTES = 64 * 1024
"""What a pipe holds, and what is taken out of one at once."""

_PIPE = re.compile(r"slot-(\d+)\.pipe")
STAMP = re.compile(rb"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ", re.MULTILINE)
_OVERLAP_MAX_BYTES = 4096
_SPLICE_F_NONBLOCK = 2

_libc = ctypes.CDLL(None, use_errno=True)


def pipe_of(folder: Path, slot: int) -> Path:
    """Where the workers of a slot write to."""
    return folder / f"slot-{slot}.pipe"


def log_of(folder: Path, slot: int) -> Path:
    """Where that is kept."""
    return folder / f"slot-{slot}.log"


def older(file: Path, number: int) -> Path:
    """What a file was before it was begun anew; 1 is the newest."""
    return file.with_name(f"{file.name}.{number}")


def pipes_in(folder: Path) -> Iterator[int]:
    """The slots that have pipes. Raises `OSError`."""
    for entry in os.scandir(folder):
        if (found := _PIPE.fullmatch(entry.name)) is not None:
            yield int(found[1])


def stamped(chunk: bytes, stamp: bytes, *, begins_line: bool) -> bytes:
    """A chunk with a stamp before each line that begins in it; `begins_line`: with its first byte one does."""
    body, end = (chunk[:-1], b"\n") if chunk.endswith(b"\n") else (chunk, b"")
    first = stamp if begins_line else b""
    return first + body.replace(b"\n", b"\n" + stamp) + end


def stamp_now() -> bytes:
    """The time of day, as it stands before a line."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00")
    return f"{now}Z ".encode("ascii")


def unstamped(text: bytes) -> bytes:
    """A text without the stamps before its lines."""
    return STAMP.sub(b"", text)


def news(waiting: bytes, kept: bytes) -> bytes:
    """What waits in a pipe, without what the file ends with already."""
    for size in range(min(len(waiting), len(kept), _OVERLAP_MAX_BYTES), 0, -1):
        if kept.endswith(waiting[:size]):
            return waiting[size:]
    return waiting


def peek(pipe: int, scratch: tuple[int, int]) -> bytes | None:
    """What is in a pipe, which stays there; None where nobody can write to it any more.

    `scratch` are the ends of an empty pipe. Raises `OSError`.
    """
    size = _libc.tee(pipe, scratch[1], ctypes.c_size_t(CHUNK_BYTES), _SPLICE_F_NONBLOCK)
    if size > 0:
        return os.read(scratch[0], size)
    if size == 0:
        return None
    number = ctypes.get_errno()
    if number != errno.EAGAIN:
        raise OSError(number, os.strerror(number))
    return b""
