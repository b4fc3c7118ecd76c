"""Whether this machine has what the daemon stands on: Linux with pidfd."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path


def missing_requirement() -> str | None:
    """What is missing, in one sentence; None when nothing is."""
    if sys.platform != "linux":
        return f"autohealer needs Linux (5.4 or newer): this is {sys.platform}"
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return "autohealer needs pidfd_open, which Linux has since 5.3: this kernel or sandbox does not offer it"
    return None


def close_inherited_on_exec() -> None:
    """Keep descriptors the daemon itself inherited from reaching its workers."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names are numbers, not paths
        descriptor = int(name)
        if descriptor > 2:
            try:
                os.set_inheritable(descriptor, False)  # noqa: FBT003 - the standard library's signature
            except OSError:
                continue  # the listing's own descriptor, closed again


def wake_quietly() -> None:
    """Keep Python from complaining of signals that come faster than the loop looks at them.

    The loop's signal descriptor only wakes it, and takes no more while it is full: a thousand children that end at once
    say no more than one does. To be called after the loop's first signal handler was added.
    """
    descriptor = signal.set_wakeup_fd(-1)
    if descriptor >= 0:
        signal.set_wakeup_fd(descriptor, warn_on_full_buffer=False)


def inherited_environment() -> dict[str, str]:
    """The environment this process was started with, without what Python added to it on its own.

    In the C locale Python sets `LC_CTYPE` for itself and all its children.
    """
    environment = dict(os.environ)
    try:
        given = Path("/proc/self/environ").read_bytes().split(b"\0")
    except OSError:
        return environment
    if not any(entry.startswith(b"LC_CTYPE=") for entry in given):
        environment.pop("LC_CTYPE", None)
    return environment
