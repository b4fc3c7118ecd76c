"""A worker that knows nothing of autohealer: it makes a sequential child of `/workers` and waits to be ended.

Theory of operation. What the course's Java worker does, in a tenth of its time: kazoo, nothing of ours. When its
session is lost it makes another child in the next one. Run as `anonymous_worker.py CONNECTION [PREFIX]`.
"""

from __future__ import annotations

import sys
import threading

from kazoo.client import KazooClient, KazooState

SESSION_S = 2.0


def main(connection: str, prefix: str = "worker_") -> None:
    """Register, and again after each lost session, until killed."""
    lost, connected = threading.Event(), threading.Event()

    def changed(state: str) -> None:
        if state == KazooState.LOST:
            lost.set()
        elif state == KazooState.CONNECTED:
            connected.set()

    client = KazooClient(connection, timeout=SESSION_S)
    client.add_listener(changed)
    client.start()
    while True:
        connected.clear()
        path = client.create(f"/workers/{prefix}", ephemeral=True, sequence=True, makepath=True)
        sys.stdout.write(f"{path}\n")
        lost.wait()
        connected.wait()
        lost.clear()


if __name__ == "__main__":
    main(*sys.argv[1:])
