"""Who listens on a port: nobody, a ZooKeeper, our embedded one, something else, or somebody who says nothing.

`srvr` is the one four-letter word every stock Apache ZooKeeper answers; one that has it switched off says
so in words of its own, which is an answer too.
"""

from __future__ import annotations

import socket
from enum import Enum

PROBE_TIMEOUT_S = 2.0
EMBEDDED_MARK = b"autohealer-embedded"


class Listener(Enum):
    """What a port turned out to be."""

    NOBODY = "nobody"
    ZOOKEEPER = "zookeeper"
    EMBEDDED = "embedded"
    STRANGER = "stranger"
    SILENT = "silent"


def who_listens(host: str, port: int) -> Listener:
    """Ask a port what it is; takes at most some `PROBE_TIMEOUT_S`."""
    try:
        with socket.create_connection((host, port), PROBE_TIMEOUT_S) as connection:
            connection.sendall(b"srvr")
            answer = _read_all(connection)
    except ConnectionRefusedError:
        return Listener.NOBODY
    except TimeoutError:
        return Listener.SILENT
    except OSError:
        return Listener.STRANGER
    if EMBEDDED_MARK in answer:
        return Listener.EMBEDDED
    if b"Zookeeper version" in answer or b"whitelist" in answer or b"ZooKeeper instance" in answer:
        return Listener.ZOOKEEPER
    return Listener.STRANGER


def _read_all(connection: socket.socket) -> bytes:
    answer = b""
    while len(answer) < 65536:
        chunk = connection.recv(4096)
        if not chunk:
            break
        answer += chunk
    return answer
