"""Ask a port what it is: nobody, a ZooKeeper, our embedded one, something else, or somebody who says nothing.

`srvr` is the one four-letter word every stock Apache ZooKeeper answers; one that has it switched off says
so in words of its own, which is an answer too. Nothing here blocks the event loop, and no thread is needed.
"""

from __future__ import annotations

import asyncio
import errno
import re
from contextlib import suppress

from autohealer.embedded.facts import Listener

LOOPBACK = "127.0.0.1"
PROBE_TIMEOUT_S = 2.0
ANSWER_BYTES_MAX = 65536
EMBEDDED_MARK = b"autohealer-embedded"

_SHORT_OF = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}
)
_CONNECTIONS = re.compile(rb"^zk_num_alive_connections\t(\d+)$", re.MULTILINE)


async def who_listens(port: int) -> Listener:
    """Ask a port of this machine what it is; takes at most `PROBE_TIMEOUT_S`.

    Raises:
        OSError: it could not be asked, for want of descriptors or memory.
    """
    try:
        answer, is_whole = await _ask(port, b"srvr")
    except ConnectionRefusedError:
        return Listener.NOBODY
    except TimeoutError:
        return Listener.SILENT
    except OSError as error:
        if error.errno in _SHORT_OF:
            raise
        return Listener.STRANGER
    if EMBEDDED_MARK in answer:
        return Listener.EMBEDDED
    if b"Zookeeper version" in answer or b"whitelist" in answer or b"ZooKeeper instance" in answer:
        return Listener.ZOOKEEPER
    return Listener.STRANGER if answer or is_whole else Listener.SILENT


async def clients_of(port: int) -> int | None:
    """How many connections but the one that asks an embedded server has; None when it does not say."""
    with suppress(OSError):
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
