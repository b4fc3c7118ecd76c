"""When a daemon must not be asked to detach: as the first process of a container, with which all of it ends."""

from __future__ import annotations


def why_not(daemon_pid: int) -> str | None:
    """Why the daemon with this pid, as it knows itself, cannot leave its workers running; None: it can."""
    if daemon_pid != 1:
        return None
    return (
        "the daemon is the first process (PID 1) of its container: when it ends, the kernel ends everything in there, "
        "so it cannot leave workers running. To stop it all, stop the container"
    )
