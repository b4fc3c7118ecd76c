"""One daemon per group and state directory: a file lock that the kernel drops with its holder."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class AlreadyRunning(Exception):  # noqa: N818 - says what is the case
    """Another daemon keeps this group; the message names it."""


def hold_group(folder: Path, group: str) -> int:
    """Take the group's lock and return the descriptor that holds it until it is closed.

    Raises:
        AlreadyRunning: another daemon has it.
        OSError: the folder cannot be written.
    """
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode().strip() or "unknown"
        os.close(descriptor)
        raise AlreadyRunning(
            f"group {group!r} is already kept by the daemon with pid {holder}: "
            "stop that one first, or give this one another name with --group"
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor
