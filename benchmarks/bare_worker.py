"""A worker with kazoo alone: connect, hold one ephemeral znode, report, wait for a signal.

Theory of operation: its first statement reads the monotonic clock, which all processes of a machine
share, and the clock is read again when the znode stands. Both times go to the measuring process as
one UDP datagram. Run by a daemon or launched by hand it does exactly the same work.

Limits: no handling of a lost session; it lives as long as one measurement.
"""

import time

BEGAN_NS = time.monotonic_ns()

# ruff: noqa: E402 - the other imports are part of what is measured, so the clock is read before them
import json
import os
import signal
import socket

from kazoo.client import KazooClient


def main() -> None:
    """Register, report, wait."""
    client = KazooClient(
        hosts=os.environ["AUTOHEALER_ZOOKEEPER"],
        timeout=float(os.environ["AUTOHEALER_SESSION_TIMEOUT_S"]),
    )
    client.start()
    path = os.environ["AUTOHEALER_ZNODE"]
    client.create(path, json.dumps({"pid": os.getpid()}).encode(), ephemeral=True)
    report = f"{os.getpid()} {BEGAN_NS} {time.monotonic_ns()} {path}"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.sendto(report.encode(), ("127.0.0.1", int(os.environ["BENCHMARK_PORT"])))
    signal.pause()


if __name__ == "__main__":
    main()
