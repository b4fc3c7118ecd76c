"""Whose socket is at the other end of a connection, or listens on a port: what the kernel says.

Theory of operation. Over loopback both ends of a connection are sockets of one machine, and the kernel knows of
each which user made it. It is asked for exactly one socket (netlink, sock_diag; some 12 µs however many there are).
Where that is not permitted or not there, the tables in /proc/net are read whole (some 8 µs for each socket of the
machine), so whoever asks for many asks for them together.

A socket that no process has open any more belongs to nobody, whatever user the table shows: one that was closed
(TIME_WAIT and the like) is shown as root's. And a user id that stands for all who have none in this user namespace
is nobody's either.

Must never know: who may do what. An island: the standard library only.
Limits: IPv4, IPv6 and IPv4 inside IPv6; TCP; this network namespace.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from contextlib import suppress
from enum import IntEnum
from pathlib import Path
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_SOCK_DIAG = 4  # NETLINK_SOCK_DIAG
_SOCK_DIAG_BY_FAMILY = 20
_NLMSG_ERROR = 2
_NLM_F_REQUEST = 1
_HEADER = Struct("=IHHII")
_REQUEST = Struct("=BBBBI")
_PORTS = Struct("!HH")
_ADDRESSES = Struct("=16s16sIII")
_ANY_COOKIE = 0xFFFF_FFFF
_STATE = Struct("=BBBB")
_QUEUES = Struct("=IIIII")
_STATE_AT = _HEADER.size
_QUEUES_AT = _STATE_AT + _STATE.size + _PORTS.size + _ADDRESSES.size
_ERROR = Struct("=i")
_ANSWER_BYTES_MAX = 8192

_TABLES = ((Path("/proc/net/tcp"), 4), (Path("/proc/net/tcp6"), 16))
_USER_MAP = Path("/proc/self/uid_map")
_OVERFLOW_USER = Path("/proc/sys/kernel/overflowuid")
_EVERYBODY = 2**32 - 1


class TcpState(IntEnum):
    """States of a TCP socket, as in the kernel's `tcp_states.h`."""

    ESTABLISHED = 1
    SYN_SENT = 2
    TIME_WAIT = 6
    CLOSE_WAIT = 8
    LISTEN = 10


class UnknownOwnerError(Exception):
    """The kernel does not say whose a socket is; the message is the cause, without a full stop."""


class Address(NamedTuple):
    """An IP address of 4 or 16 bytes, and a port."""

    ip: bytes
    port: int


class Pair(NamedTuple):
    """One end of a connection, seen from it: its own address and that of the other end."""

    near: Address
    far: Address


class Endpoint(NamedTuple):
    """One socket: whose it is, whether a process has it open, its state as in `TcpState`, and its inode (0: none)."""

    uid: int
    is_open: bool
    state: int
    inode: int = 0


def address_of(host: str, port: int) -> Address:
    """An address out of words; IPv4 inside IPv6 is IPv4. Raises `OSError`."""
    if ":" not in host:
        return Address(socket.inet_pton(socket.AF_INET, host), port)
    return Address(_unmapped(socket.inet_pton(socket.AF_INET6, host.partition("%")[0])), port)


def is_loopback(address: Address) -> bool:
    """127.0.0.0/8 or ::1."""
    return address.ip[0] == 127 if len(address.ip) == 4 else address.ip == bytes(15) + b"\1"


def users_behind(kernel: Kernel, connection: socket.socket) -> set[int]:
    """Who serves a connection that was made over loopback: who listens there, and who has its other end by now.

    Raises:
        UnknownOwnerError: it cannot be told. OSError: the connection is gone.
    """
    far, near = (
        address_of(*each()[:2]) for each in (connection.getpeername, connection.getsockname)
    )
    (end,) = kernel.find([Pair(far, near)])
    users = {listener.uid for listener in kernel.listeners(far)}
    if end is not None and end.is_open:
        users.add(end.uid)
    if not users:
        raise UnknownOwnerError("nobody listens any more")
    return users


def state_of(connection: socket.socket) -> int | None:
    """The state of one of our own sockets; None when it is closed."""
    try:
        return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    except OSError:
        return None


class Kernel:
    """Asks the kernel; not for several threads at once. `close` it."""

    def __init__(self, *, may_use_netlink: bool = True) -> None:
        self._netlink = _open_netlink() if may_use_netlink else None
        self._sequence = 0
        self._nobody = _user_of_the_unmapped()
        if self._netlink is not None and not self._knows_what_is_there():
            self.close()

    @property
    def is_quick(self) -> bool:
        """Whether each question costs microseconds; else many should be asked together."""
        return self._netlink is not None

    def close(self) -> None:
        """Ask no more."""
        if self._netlink is not None:
            self._netlink.close()
            self._netlink = None

    def find(self, pairs: Sequence[Pair]) -> list[Endpoint | None]:
        """The socket of each of these ends; None where there is none on this machine.

        Raises:
            UnknownOwnerError: nothing can be found out.
        """
        if self._netlink is not None:
            with suppress(OSError, struct.error):
                return [self._ask(pair) for pair in pairs]
            self.close()  # not permitted any more: from now on the tables are read
        wanted = dict.fromkeys(pairs)
        table = {pair: end for pair, end in _read_tables() if pair in wanted}
        return [table.get(pair) for pair in pairs]

    def listeners(self, address: Address) -> list[Endpoint]:
        """Who would take a connection to an address.

        Raises:
            UnknownOwnerError: nothing can be found out.
        """
        nobody = Address(bytes(len(address.ip)), 0)
        if self._netlink is not None:
            with suppress(OSError, struct.error):
                found = self._ask(Pair(address, nobody))
                if found is not None and found.state == TcpState.LISTEN:
                    return [found]
                # Nobody, or nobody who could be asked: the tables tell.
        ips = {address.ip, bytes(4), bytes(16)}
        return [
            end
            for pair, end in _read_tables()
            if end.state == TcpState.LISTEN
            and pair.near.port == address.port
            and pair.near.ip in ips
        ]

    def is_nobody(self, uid: int) -> bool:
        """Whether this user id stands for all who have none here."""
        return uid == self._nobody

    def _knows_what_is_there(self) -> bool:
        """A kernel without the right module says 'no such socket' of every one."""
        try:
            with socket.socket() as known:
                known.bind(("127.0.0.1", 0))
                known.listen(1)
                near = address_of(*known.getsockname())
                return self._ask(Pair(near, Address(bytes(4), 0))) is not None
        except (OSError, struct.error):
            return False

    def _ask(self, pair: Pair) -> Endpoint | None:
        """Raises `OSError` when it does not answer, `struct.error` when it answers something else."""
        assert self._netlink is not None
        self._sequence = (self._sequence + 1) & 0x7FFF_FFFF
        family = socket.AF_INET if len(pair.near.ip) == 4 else socket.AF_INET6
        body = (
            _REQUEST.pack(family, socket.IPPROTO_TCP, 0, 0, 0xFFFF_FFFF)
            + _PORTS.pack(pair.near.port, pair.far.port)
            + _ADDRESSES.pack(pair.near.ip, pair.far.ip, 0, _ANY_COOKIE, _ANY_COOKIE)
        )
        size = _HEADER.size + len(body)
        kind = _SOCK_DIAG_BY_FAMILY
        self._netlink.send(_HEADER.pack(size, kind, _NLM_F_REQUEST, self._sequence, 0) + body)
        while True:
            answer = self._netlink.recv(_ANSWER_BYTES_MAX)
            _, kind, _, sequence, _ = _HEADER.unpack_from(answer)
            if sequence == self._sequence:
                return _endpoint_in(answer, kind)


def _open_netlink() -> socket.socket | None:
    try:
        netlink = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _SOCK_DIAG
        )
        netlink.settimeout(0)  # the kernel has answered before `send` returns
    except OSError:
        return None
    return netlink


def _endpoint_in(answer: bytes, kind: int) -> Endpoint | None:
    if kind == _NLMSG_ERROR:
        (number,) = _ERROR.unpack_from(answer, _HEADER.size)
        if -number == errno.ENOENT:
            return None
        raise OSError(-number, os.strerror(-number))
    _, state, _, _ = _STATE.unpack_from(answer, _STATE_AT)
    _, _, _, uid, inode = _QUEUES.unpack_from(answer, _QUEUES_AT)
    return Endpoint(uid, inode != 0, state, inode)


# --- the tables -------------------------------------------------------------------------------


def _read_tables() -> Iterator[tuple[Pair, Endpoint]]:
    """Every TCP socket of this network namespace."""
    readable = 0
    for path, ip_bytes in _TABLES:
        try:
            lines = path.read_bytes().splitlines()[1:]
        except FileNotFoundError:
            continue  # no IPv6, or no /proc/net
        except OSError as error:
            raise UnknownOwnerError(f"{path} cannot be read: {error.strerror}") from error
        readable += 1
        yield from _rows(lines, ip_bytes)
    if not readable:
        raise UnknownOwnerError("netlink is not permitted and there is no /proc/net/tcp")


def _rows(lines: Iterable[bytes], ip_bytes: int) -> Iterator[tuple[Pair, Endpoint]]:
    for line in lines:
        words = line.split()
        if len(words) < 10:
            continue
        near, far = _address_in(words[1], ip_bytes), _address_in(words[2], ip_bytes)
        yield (
            Pair(near, far),
            Endpoint(int(words[7]), words[9] != b"0", int(words[3], 16), int(words[9])),
        )


def _address_in(word: bytes, ip_bytes: int) -> Address:
    """`0100007F:0885`: the address in 32-bit words as the machine has them, the port in hexadecimal."""
    raw = bytes.fromhex(word[: 2 * ip_bytes].decode())
    little = b"".join(raw[at : at + 4][::-1] for at in range(0, ip_bytes, 4))
    ip = little if _IS_LITTLE_ENDIAN else raw
    return Address(_unmapped(ip), int(word[2 * ip_bytes + 1 :], 16))


def _unmapped(ip: bytes) -> bytes:
    """IPv4 inside IPv6 is IPv4."""
    return ip[12:] if len(ip) == 16 and ip[:12] == _MAPPED else ip


_MAPPED = bytes(10) + b"\xff\xff"
_IS_LITTLE_ENDIAN = Struct("=H").pack(1) == b"\1\0"


def _user_of_the_unmapped() -> int | None:
    """The user id under which users appear that have none in this user namespace; None where all have one."""
    try:
        rows = [tuple(map(int, row.split())) for row in _USER_MAP.read_text("ascii").splitlines()]
        if rows == [(0, 0, _EVERYBODY)]:
            return None
        return int(_OVERFLOW_USER.read_text("ascii"))
    except (OSError, ValueError):  # /proc is not to be read: assume the kernel's own default
        return 65_534
