"""One daemon per group and state directory: a file lock and a name, both of which the kernel drops with their holder.

Theory of operation. The lock on `<group>/lock` is what counts; the file says who holds it, so that a stale one is
known as such. A lock file can be removed under its holder, and the next daemon would lock a new one. Therefore the
holder also binds a name in the kernel's table of abstract sockets, made of the user and the folder's path: it cannot
be removed. Anybody on the machine may bind such a name, so one that another user holds is reported and does not keep
us out.

Limits: the name is known within one network and mount namespace only, as the path is.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from autohealer.statedir.files import name_of_user, open_private, read_private

LOCK_NAME = "lock"
HOLDER_BYTES = 80
"""The holder's line is padded to this: a newer one takes an older one's place, on a full disk too."""

_PEER = struct.Struct("3i")


class AlreadyRunning(Exception):  # noqa: N818 - says what is the case
    """Another daemon keeps this group; the message names it."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Which process holds a lock: its pid names it for ever together with its start (clock ticks) and the boot."""

    pid: int
    start_ticks: int
    boot: str


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of a unix socket: for a listener, who listens. The pid is 0 in another pid namespace."""

    pid: int
    uid: int


def hold_lock(folder: Path, group: str, me: Holder) -> int:
    """Take the group's lock and return the descriptor that holds it until it is closed.

    Raises:
        AlreadyRunning: another daemon has it.
        OSError: the folder cannot be written.
    """
    path = folder / LOCK_NAME
    descriptor = open_private(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _check_still_there(descriptor, path)
    except BlockingIOError:
        holder = _parsed(os.pread(descriptor, HOLDER_BYTES, 0))
        os.close(descriptor)
        raise _taken(group, holder.pid if holder else None) from None
    except OSError:
        os.close(descriptor)
        raise
    line = f"{me.pid} {me.start_ticks} {me.boot}".ljust(HOLDER_BYTES - 1) + "\n"
    with suppress(OSError):  # it is held all the same: this is only who says so
        os.pwrite(descriptor, line.encode(), 0)
        os.ftruncate(descriptor, HOLDER_BYTES)
    return descriptor


def _check_still_there(descriptor: int, path: Path) -> None:
    if not is_same_file(descriptor, path):
        raise OSError(errno.ESTALE, f"{path} was removed while it was being locked")


def holder_of(folder: Path) -> Holder | None:
    """Who took the group's lock last, alive or not; None where nobody did, or it is not said."""
    try:
        return _parsed(read_private(folder / LOCK_NAME))
    except OSError:
        return None


def hold_name(folder: Path, group: str) -> tuple[socket.socket | None, str | None]:
    """Bind the folder's name: the socket that holds it, or why it cannot be held. Raises `AlreadyRunning`."""
    name = name_of(folder)
    try:
        return _listener(name), None
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            return None, f"the name of {folder} cannot be held ({error.strerror})"
    peer = _who_listens(name)
    if peer is not None and peer.uid == os.geteuid():
        raise _taken(group, peer.pid or None)
    who = "somebody unknown" if peer is None else name_of_user(peer.uid)
    return None, f"the name of {folder} is held by {who}, who does not own it"


def name_of(folder: Path) -> str:
    """The abstract name of a group's folder, whether or not that exists."""
    try:
        namespace = os.stat("/proc/self/ns/mnt").st_ino  # noqa: PTH116 - a number is all that is wanted
    except OSError:
        namespace = 0
    place = f"{namespace} {os.path.realpath(folder)}"
    digest = hashlib.sha256(os.fsencode(place)).hexdigest()[:32]
    return f"\0autohealer/{os.geteuid()}/{digest}"


def is_same_file(descriptor: int, path: Path) -> bool:
    """Whether a path still names an open file. Raises `OSError` other than for a missing one."""
    try:
        there = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return os.path.samestat(os.fstat(descriptor), there)


def peer_of(connection: socket.socket) -> Peer:
    """Who is at the other end."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    pid, uid, _gid = _PEER.unpack(raw)
    return Peer(pid, uid)


def _listener(name: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(name)
        listener.listen(1)
    except OSError:
        listener.close()
        raise
    return listener


def _who_listens(name: str) -> Peer | None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(0.0)
        try:
            connection.connect(name)
        except OSError:
            return None  # just gone, not listening yet, or so many ask that nobody can be told
        return peer_of(connection)


def _taken(group: str, pid: int | None) -> AlreadyRunning:
    return AlreadyRunning(
        f"group {group!r} is already kept by the daemon with pid {pid or 'unknown'}: "
        "stop that one first, or give this one another name with --group"
    )


def _parsed(raw: bytes) -> Holder | None:
    match raw.decode(errors="replace").split():
        case [pid, start, boot] if pid.isdecimal() and start.isdecimal():
            return Holder(int(pid), int(start), boot)
        case _:
            return None
