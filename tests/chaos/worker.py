"""A worker that fails on command: USR1 makes it hold the interpreter's lock, USR2 grow a tree and die.

Theory of operation: it serves as any worker does, by the SDK. Where `ENV_SIDE_DOOR` names another way to
ZooKeeper, workers of odd slots take that one, so that a fault can cut half the group off.

Limits: what it leaves behind ends by itself after some minutes.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from autohealer.contract import ENV_SLOT, ENV_ZOOKEEPER
from autohealer.worker import Worker, run
from flaky_worker.misbehave import hold_gil

if TYPE_CHECKING:
    from types import FrameType

ENV_SIDE_DOOR = "AUTOHEALER_CHAOS_SIDE_DOOR"
HOLD_GIL, GROW_TREE = signal.SIGUSR1, signal.SIGUSR2
LEFT_BEHIND_S = 240
TREE_OF = {"same session": 10, "own session": 10, "twice forked": 8}
_SPAWNER = f"for i in 1 2 3 4 5 6; do setsid sleep {LEFT_BEHIND_S} & sleep 0.02; done; sleep 99"


def main(worker: Worker) -> int:
    """Serve until asked to stop."""
    worker.stopping.wait()
    return 0


def grow_tree(_number: int, _frame: FrameType | None) -> None:
    """Leave processes behind in every way there is, one of which goes on spawning, and die."""
    sleeper = ("sleep", str(LEFT_BEHIND_S))
    for _ in range(TREE_OF["same session"]):
        os.posix_spawnp("sleep", sleeper, os.environ)
    for _ in range(TREE_OF["own session"]):
        os.posix_spawnp("sleep", sleeper, os.environ, setsid=True)
    for _ in range(TREE_OF["twice forked"]):
        os.posix_spawnp("sh", ("sh", "-c", f"setsid sleep {LEFT_BEHIND_S} &"), os.environ)
    os.posix_spawnp("sh", ("sh", "-c", _SPAWNER), os.environ, setsid=True)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    signal.signal(HOLD_GIL, lambda _number, _frame: hold_gil())
    signal.signal(GROW_TREE, grow_tree)
    if ENV_SIDE_DOOR in os.environ and int(os.environ[ENV_SLOT]) % 2:
        os.environ[ENV_ZOOKEEPER] = os.environ[ENV_SIDE_DOOR]
    run(main)
