"""Ask a port what it is: nobody, a ZooKeeper, our embedded one, something else, or somebody who says nothing.

Who listens must be of this user or root, else nothing is asked and nothing believed: whoever takes the port first could
pass for our server. Where the kernel does not tell whose it is, nothing is known.

`srvr` is the one four-letter word every stock Apache ZooKeeper answers; one that has it switched off says
so in words of its own, which is an answer too. Nothing here blocks the event loop, and no thread is needed.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import socket
from contextlib import closing, suppress
from dataclasses import dataclass

from autohealer.embedded.facts import Listener
from autohealer.zkserver.endpoints import Kernel, UnknownOwnerError, users_behind

LOOPBACK = "127.0.0.1"
PROBE_TIMEOUT_S = 2.0
ANSWER_BYTES_MAX = 65536
EMBEDDED_MARK = b"autohealer-embedded"

_UNKNOWN = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL, errno.ENOTSUP}
)
_CONNECTIONS = re.compile(rb"^zk_num_alive_connections\t(\d+)$", re.MULTILINE)


class ForeignListener(Exception):  # noqa: N818 - says what is the case
    """Who listens is of another user; the message says of whom."""


def check_user(connection: socket.socket) -> None:
    """See to it that who serves a connection is of this user or root.

    Raises:
        ForeignListener: it is not. ConnectionResetError: the connection is gone. OSError: `ENOTSUP` where it cannot
            be told.
    """
    try:
        with closing(Kernel()) as kernel:
            strangers = users_behind(kernel, connection) - {os.geteuid(), 0}
    except UnknownOwnerError as error:
        why = f"it cannot be told of whom the listener is: {error}"
        raise OSError(errno.ENOTSUP, why) from error
    except OSError as error:
        if error.errno != errno.ENOTCONN:
            raise
        raise ConnectionResetError(errno.ECONNRESET, "it ended before it was looked at") from error
    if strangers:
        raise ForeignListener(f"user {min(strangers)}")


@dataclass(frozen=True, slots=True)
class Seen:
    """What a port is; where it is `FOREIGN`, `why` says of whom."""

    listener: Listener
    why: str = ""


async def who_listens(port: int) -> Seen:
    """Ask a port of this machine what it is; takes at most `PROBE_TIMEOUT_S`.

    Raises:
        OSError: it could not be asked, for want of descriptors or memory, or the kernel does not tell whose it is.
    """
    for _ in range(2):
        try:
            answer, is_whole = await _ask(port, b"srvr")
        except ForeignListener as error:
            return Seen(Listener.FOREIGN, str(error))
        except ConnectionRefusedError:
            return Seen(Listener.NOBODY)
        except TimeoutError:
            return Seen(Listener.SILENT)
        except ConnectionResetError:
            continue  # a server that dies while it is asked does so once
        except OSError as error:
            if error.errno in _UNKNOWN:
                raise
            break
        return Seen(_kind_of(answer, is_whole=is_whole))
    return Seen(Listener.STRANGER)


def _kind_of(answer: bytes, *, is_whole: bool) -> Listener:
    if EMBEDDED_MARK in answer:
        return Listener.EMBEDDED
    if b"Zookeeper version" in answer or b"whitelist" in answer or b"ZooKeeper instance" in answer:
        return Listener.ZOOKEEPER
    return Listener.STRANGER if answer or is_whole else Listener.SILENT


async def clients_of(port: int) -> int | None:
    """How many connections but the one that asks an embedded server has; None when it does not say."""
    with suppress(OSError, ForeignListener):
        answer, _ = await _ask(port, b"mntr")
        if (found := _CONNECTIONS.search(answer)) is not None:
            return int(found[1]) - 1
    return None


async def _ask(port: int, word: bytes) -> tuple[bytes, bool]:
    """What a port answers, and whether it came to an end in time. Raises `OSError`."""
    answer = bytearray()
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            if writer.get_extra_info("sockname") == writer.get_extra_info("peername"):
                # A free port of the ephemeral range may be given to the very socket that asks for it.
                raise ConnectionRefusedError(errno.ECONNREFUSED, "nobody but ourselves")
            check_user(writer.get_extra_info("socket"))
            writer.write(word)
            while len(answer) < ANSWER_BYTES_MAX and (chunk := await reader.read(4096)):
                answer += chunk
    except TimeoutError:
        if writer is None:
            raise
        return bytes(answer), False
    finally:
        if writer is not None:
            writer.transport.abort()
    return bytes(answer), True
