"""TCP ports that tests may listen on, also after a while, whatever else runs on the machine.

Theory of operation: a port that was free a moment ago may be taken by somebody else's outgoing
connection, or by another test that was given the same one, before a server listens on it, or while
the server is down. So ports come from below the range that the kernel gives to outgoing
connections, and from a counter that every test process of this user shares: none is given out twice
before all the others were.

Limits: about twenty thousand ports are given out before the first comes again; other programs'
listeners are stepped over.
"""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from pathlib import Path

HOST = "127.0.0.1"
_LOWEST = 11000
_OUTGOING = Path("/proc/sys/net/ipv4/ip_local_port_range")
_COUNTER = Path(tempfile.gettempdir()) / f"autohealer-test-port-{os.getuid()}"


def free_port(in_a_row: int = 1) -> int:
    """A port of the loopback interface that nobody listens on and that no other test is given; the first of several."""
    with _COUNTER.open("a+") as counter:
        fcntl.flock(counter, fcntl.LOCK_EX)
        counter.seek(0)
        last = int(counter.read() or _LOWEST)
        port = next(
            first
            for first in _round_from(last)
            if all(_is_free(port) for port in range(first, first + in_a_row))
        )
        counter.truncate(0)
        counter.write(str(port + in_a_row - 1))
    return port


def _round_from(last: int) -> list[int]:
    """Every port once, from the one after `last`."""
    end = int(_OUTGOING.read_text().split()[0])
    return [*range(last + 1, end), *range(_LOWEST, last + 1)]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
