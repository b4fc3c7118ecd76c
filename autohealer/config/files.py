"""Read the text of a file that an operator named: whole, once, and not without limit.

Limits: plain files of at most `FILE_BYTES_MAX`, in UTF-8; a byte order mark is left out.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

FILE_BYTES_MAX = 1024 * 1024


class Unreadable(Exception):  # noqa: N818 - says what is the case
    """A file cannot be read; the message is the end of a sentence that begins with its name."""


def read_text(path: Path) -> str:
    """All that a file held when it was opened; what replaces it meanwhile is not seen. Raises `Unreadable`."""
    raw = _read(path)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise Unreadable(f"is not text in UTF-8 (line {line})") from None


def _read(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise Unreadable("cannot be read: it is not a plain file")
            raw = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror}") from None
    except ValueError:  # a NUL in its name
        raise Unreadable("cannot be read: no file can have this name") from None
    if len(raw) > FILE_BYTES_MAX:
        raise Unreadable(f"is larger than {FILE_BYTES_MAX // 1024} KiB")
    return raw
