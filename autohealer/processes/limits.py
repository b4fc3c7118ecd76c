"""The limits this machine sets on open files and processes: raised as far as allowed, and told where too low.

Theory of operation. Descriptors are given out lowest first, so the number of a new one says how many are in use.
A launch whose output file gets one of the last `RESERVE` is refused: these are for the ZooKeeper session, the
control socket, looks at processes and the end of them, so that a daemon at its limit can still be asked and still
stop everything.
"""

from __future__ import annotations

import errno
import os
import resource
import threading

OWN_DESCRIPTORS = 12
"""What a daemon has open besides its workers, at least: streams, loop, lock, ZooKeeper session."""

RESERVE = 16
"""Descriptors that launches leave alone."""

OWN_TASKS = 12
"""Threads of the daemon and of the embedded server, which count as processes."""

OWN_THREADS = 8
"""Log, history, ZooKeeper client, and what must not be done by the loop's own thread."""

GROUP_DESCRIPTORS = 12
"""What a group has open besides its workers, at most: lock, name, control socket, an agent's session, history, log."""

DESCRIPTORS_BASE = 256
DESCRIPTORS_PER_WORKER = 2
"""A pidfd each, and as many again while trees are being ended or output is opened."""


def raise_descriptor_limit(workers: int) -> None:
    """Have enough open files for so many workers, as far as the hard limit goes.

    Workers inherit it, so it is raised no further than needed: programs that use select(2) rely on a low one.
    """
    wanted = DESCRIPTORS_BASE + DESCRIPTORS_PER_WORKER * workers
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


def workers_possible() -> int | None:
    """How many workers the limit of open files allows; None: any number."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return None
    return max(0, soft - OWN_DESCRIPTORS - RESERVE)


def is_short_of_descriptors(groups: int) -> bool:
    """Whether there are too few left for so many groups more."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if not groups or soft == resource.RLIM_INFINITY:
        return False
    try:
        lowest = os.open("/", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return True
    os.close(lowest)
    return soft - lowest < RESERVE + GROUP_DESCRIPTORS * groups


def threads_are_to_be_had() -> bool:
    """Whether the daemon's own threads can be started, all at once."""
    over = threading.Event()
    try:
        for _ in range(OWN_THREADS):
            threading.Thread(target=over.wait, daemon=True).start()
    except RuntimeError:
        return False
    finally:
        over.set()
    return True


def shortages(workers: int) -> list[str]:
    """A sentence for each limit that is too low for so many workers, with what it allows."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    sentences = [_shortage("open files", files, OWN_DESCRIPTORS + RESERVE, workers, "ulimit -n")]
    if os.geteuid() != 0:  # root may have any number
        tasks, _ = resource.getrlimit(resource.RLIMIT_NPROC)
        sentences.append(_shortage("processes", tasks, OWN_TASKS, workers, "ulimit -u"))
    return [sentence for sentence in sentences if sentence]


def keep_reserve(descriptor: int) -> int:
    """The descriptor as it is; one that is needed more elsewhere is closed. Raises `OSError`."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and descriptor >= soft - RESERVE:
        os.close(descriptor)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    return descriptor


def _shortage(what: str, limit: int, own: int, workers: int, how: str) -> str:
    needed = own + workers
    if limit == resource.RLIM_INFINITY or limit >= needed:
        return ""
    return (
        f"the limit of {what}, {limit}, is below the {needed} that {workers} workers need: "
        f"at most {max(0, limit - own)} can be kept; raise it ({how}, or the unit's limits under systemd)"
    )
