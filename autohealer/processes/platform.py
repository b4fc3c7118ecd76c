"""Whether this machine has what the daemon stands on: Linux with pidfd."""

from __future__ import annotations

import os
import resource
import sys


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


def raise_descriptor_limit(wanted: int) -> None:
    """Have at least `wanted` open files, as far as the hard limit goes.

    Workers inherit it, so it is raised no further than needed: programs that use select(2) rely on a low one.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
