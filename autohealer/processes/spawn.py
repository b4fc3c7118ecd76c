"""Exec a program into a session of its own, so that it survives the daemon.

It starts with every signal at its default and none blocked, whatever the daemon ignores or was started with: how
a worker takes a signal must not depend on `nohup`, on a shell's `&`, or on Python.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence

_ALL_SIGNALS = tuple(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})


def spawn_detached(argv: Sequence[str], environment: Mapping[str, str], output: int) -> int:
    """Launch `argv` with its output going to the descriptor `output`, which is closed here; its pid.

    Raises:
        OSError: it could not be exec'd, or the system is out of something.
    """
    try:
        return os.posix_spawn(
            argv[0],
            tuple(argv),
            environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, output, 1),
                (os.POSIX_SPAWN_DUP2, output, 2),
            ],
            setsid=True,
            setsigmask=(),
            setsigdef=_ALL_SIGNALS,
        )
    finally:
        os.close(output)
