"""Sockets of other users, as a stranger on the same machine would have them; only root can make these.

Theory of operation: a socket belongs to whom its process acted for when it was made, so the test's own process
takes the other user's place for that moment and is root again before it returns. What needs a process of its own,
such as a user namespace, is done in a forked child, which ends with it.

Must never know: who asks whose a socket is.

Limits: the user's place is taken by every thread of the process; nothing else may be made meanwhile.
"""

from __future__ import annotations

import ctypes
import os
import socket
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.require import require

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STRANGER = 65534
ANOTHER = 65533
_CLONE_NEWUSER = 0x1000_0000
_PR_SET_DUMPABLE = 4


@contextmanager
def acting_for(uid: int) -> Iterator[None]:
    """Make what is made in this block a user's."""
    require("root", os.geteuid() == 0)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)


def socket_of(uid: int, family: int = socket.AF_INET) -> socket.socket:
    """A TCP socket of a user."""
    with acting_for(uid):
        return socket.socket(family, socket.SOCK_STREAM)


def connected_as(uid: int, port: int, host: str = "127.0.0.1") -> socket.socket:
    """A connection of a user."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    connection = socket_of(uid, family)
    connection.settimeout(20.0)
    connection.connect((host, port))
    return connection


@contextmanager
def child(work: Callable[[], str]) -> Iterator[str]:
    """What `work` returned in a forked child, which lives, with all it opened, until the block ends."""
    result, told = os.pipe()
    wait, over = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(over)
            try:
                answer = work()
            except Exception as error:  # noqa: BLE001 - told to the test, which fails of it
                answer = repr(error)
            os.write(told, answer.encode())
            os.close(told)
            os.read(wait, 1)
        finally:
            os._exit(0)
    os.close(told)
    os.close(wait)
    try:
        with os.fdopen(result) as told_back:
            yield told_back.read()
    finally:
        os.close(over)
        os.waitpid(pid, 0)


def enter_user_namespace(uid: int, mapping: str) -> None:
    """Become a user, and then whoever `mapping` makes of it in a user namespace of its own. Raises `OSError`."""
    os.setgid(uid)
    os.setuid(uid)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_DUMPABLE, 1)  # else /proc/self is root's
    if libc.unshare(_CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "no user namespace")
    Path("/proc/self/uid_map").write_text(mapping, "ascii")
