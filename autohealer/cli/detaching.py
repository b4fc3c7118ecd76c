"""What is said of a detachment: that it happened, or why it must not.

It must not in the first process of a container, with which everything in there ends.
"""

from __future__ import annotations


def why_not(daemon_pid: int) -> str | None:
    """Why the daemon with this pid, as it knows itself, cannot leave its workers running; None: it can."""
    if daemon_pid != 1:
        return None
    return (
        "the daemon is the first process (PID 1) of its container: when it ends, the kernel ends everything in there, "
        "so it cannot leave workers running. To stop it all, stop the container"
    )


def left_running(workers: int) -> str:
    """The rest of the sentence that says that a daemon is gone."""
    match workers:
        case 0:
            return "; no worker of it was running"
        case 1:
            return ", its worker runs on; start it again to adopt it"
        case _:
            return f", its {workers} workers run on; start it again to adopt them"
