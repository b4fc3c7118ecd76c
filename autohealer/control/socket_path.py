"""Where a group's control socket is, and how to reach it however long its path.

A unix socket's address holds 107 bytes; state directories can be longer. Going through the folder's open
descriptor (`/proc/self/fd/N/control.sock`) has no such limit.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from autohealer.statedir.files import FILE_MODE

SOCKET_NAME = "control.sock"
BACKLOG = 128


@dataclass(frozen=True, slots=True)
class Listening:
    """A listening socket and which file it is reached by."""

    socket: socket.socket
    folder: Path
    file: os.stat_result

    def is_reachable(self) -> bool:
        """Whether the path still leads here. Raises `OSError` when it cannot be told."""
        try:
            return os.path.samestat((self.folder / SOCKET_NAME).lstat(), self.file)
        except (FileNotFoundError, NotADirectoryError):
            return False


@contextmanager
def _short_address(folder: Path) -> Iterator[str]:
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{SOCKET_NAME}"
    finally:
        os.close(descriptor)


def listen(folder: Path) -> Listening:
    """Listen at a socket with mode 0600, in place of one a dead daemon left. Raises `OSError`."""
    path = folder / SOCKET_NAME
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.settimeout(0.0)
        os.fchmod(listener.fileno(), FILE_MODE)  # what it is made with, less the umask
        with _short_address(folder) as address:
            listener.bind(address)
        made = path.lstat()
        if stat.S_IMODE(made.st_mode) != FILE_MODE:
            path.chmod(FILE_MODE)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return Listening(listener, folder, made)


def connect(folder: Path, timeout_s: float) -> socket.socket:
    """A connection to the daemon that listens there; waits where many others ask too. Raises `OSError`."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Not `settimeout`: where the queue is full a socket that does not block fails at once.
        whole_s = int(timeout_s)
        patience = struct.pack("ll", whole_s, int((timeout_s - whole_s) * 1e6))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, patience)
        with _short_address(folder) as address:
            connection.connect(address)
        connection.settimeout(timeout_s)
    except OSError:
        connection.close()
        raise
    return connection
