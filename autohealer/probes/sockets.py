"""A datagram socket for each worker, at which it tells how it is, and who sent what comes there.

Theory of operation. A socket is bound before its worker is launched, on the launching thread, so nothing that it says
is lost. It has a path in a private folder; where the worker is another user, who could not get there, or where the path
is too long for an address, it has a name without a file that only the worker is told. The kernel says who sent a
message (SO_PASSCRED), and that is what counts: a path or name is no proof. Both are the same for the next daemon, which
binds them again.

Descriptors that come with a message are closed: that is all `BARRIER=1` asks for.

Must never know: what messages mean, which processes are a worker's. Limits: a program in a network namespace of its own
does not reach a name without a file.
"""

from __future__ import annotations

import hashlib
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from autohealer.core.model import Incarnation
from autohealer.probes.messages import BYTES_MAX

ADDRESS_BYTES_MAX = 107
MESSAGES_AT_ONCE = 64
DESCRIPTORS_MAX = 64

_CREDENTIALS = struct.Struct("3i")
_SCM_CREDENTIALS = 2
_FOLDER_MODE, _SOCKET_MODE = 0o700, 0o600


@dataclass(frozen=True, slots=True)
class Letter:
    """A message and the pid of its sender, 0 where that is not of our pid namespace."""

    sender: int
    text: bytes


class NotifyFolder:
    """Where the sockets of one group are, and notes of who has said that it is ready."""

    def __init__(self, folder: Path, *, for_others: bool) -> None:
        """`for_others`: workers run as another user."""
        self._folder = folder
        self._for_others = for_others

    def prepare(self) -> None:
        """Make the folder. Raises `OSError`."""
        self._folder.mkdir(mode=_FOLDER_MODE, exist_ok=True)

    def address_of(self, name: Incarnation) -> str:
        """What the worker is told; a leading @ stands for a name without a file."""
        path = str(self._path(name))
        if self._for_others or len(os.fsencode(path)) > ADDRESS_BYTES_MAX:
            return f"@autohealer/{hashlib.sha256(os.fsencode(path)).hexdigest()[:40]}"
        return path

    def bind(self, name: Incarnation) -> socket.socket:
        """On any thread: a socket at a worker's address, in place of one that a dead daemon left. Raises `OSError`."""
        address = self.address_of(name)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            if address.startswith("@"):
                listening.bind(f"\0{address[1:]}")
            else:
                Path(address).unlink(missing_ok=True)
                os.fchmod(listening.fileno(), _SOCKET_MODE)  # what it is made with, less the umask
                listening.bind(address)
        except OSError:
            listening.close()
            raise
        return listening

    def note_ready(self, name: Incarnation) -> None:
        """For the daemons that come after. Raises `OSError`."""
        self._note(name).touch(mode=_SOCKET_MODE)

    def was_ready(self, name: Incarnation) -> bool:
        """Whether it was noted."""
        return self._note(name).exists()

    def forget(self, name: Incarnation) -> None:
        """Nothing of a worker is needed any more. Raises `OSError`."""
        self._path(name).unlink(missing_ok=True)
        self._note(name).unlink(missing_ok=True)

    def sweep(self, living: set[Incarnation]) -> None:
        """Take away what workers left that ended while no daemon ran. Raises `OSError`."""
        kept = {path.name for name in living for path in (self._path(name), self._note(name))}
        for path in self._folder.iterdir():
            if path.name not in kept:
                path.unlink(missing_ok=True)

    def _path(self, name: Incarnation) -> Path:
        return self._folder / f"{name.slot}-{name.generation}"

    def _note(self, name: Incarnation) -> Path:
        return self._folder / f"{name.slot}-{name.generation}.ready"


def letters_at(listening: socket.socket) -> Iterator[Letter]:
    """What waits at a socket, but not more than `MESSAGES_AT_ONCE`. One that was cut short is left out."""
    for _ in range(MESSAGES_AT_ONCE):
        try:
            text, ancillary, flags, _ = listening.recvmsg(
                BYTES_MAX,
                socket.CMSG_SPACE(_CREDENTIALS.size) + socket.CMSG_SPACE(4 * DESCRIPTORS_MAX),
                socket.MSG_CMSG_CLOEXEC,
            )
        except OSError:
            return  # nothing waits, or we are out of means: the loop comes back
        sender, descriptors = 0, b""
        for level, kind, data in ancillary:
            if level != socket.SOL_SOCKET:
                continue
            if kind == socket.SCM_RIGHTS:
                descriptors += data
            elif kind == _SCM_CREDENTIALS and len(data) >= _CREDENTIALS.size:
                sender = _CREDENTIALS.unpack_from(data)[0]
        try:
            if not flags & socket.MSG_TRUNC:
                yield Letter(sender, text)
        finally:
            _close_all(
                descriptors
            )  # then the sender may end, and who it was cannot be told any more


def _close_all(data: bytes) -> None:
    count = len(data) // 4
    for descriptor in struct.unpack(f"{count}i", data[: 4 * count]):
        os.close(descriptor)
