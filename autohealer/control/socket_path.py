"""Where a group's control socket is, and how to reach it however long its path.

A unix socket's address holds 107 bytes; state directories can be longer. Going through the folder's open
descriptor (`/proc/self/fd/N/control.sock`) has no such limit.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SOCKET_NAME = "control.sock"


@contextmanager
def _short_address(folder: Path) -> Iterator[str]:
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{SOCKET_NAME}"
    finally:
        os.close(descriptor)


def listen(folder: Path) -> socket.socket:
    """A listening socket with mode 0600, in place of one a dead daemon left. Raises `OSError`."""
    (folder / SOCKET_NAME).unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        with _short_address(folder) as address:
            listener.bind(address)
        listener.listen(16)
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(before)
    return listener


def connect(folder: Path, timeout_s: float) -> socket.socket:
    """A connection to the daemon that listens there. Raises `OSError`."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout_s)
    try:
        with _short_address(folder) as address:
            connection.connect(address)
    except OSError:
        connection.close()
        raise
    return connection
