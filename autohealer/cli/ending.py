"""End a daemon from outside: with all its workers, or so that they run on for the next one.

The second must not be in the first process of a container, with which everything in there ends.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from autohealer.cli.daemons import Daemon, the_daemon
from autohealer.cli.exit_codes import ExitCode
from autohealer.cli.failing import fail
from autohealer.control import client
from autohealer.control.client import NoAnswer

AS_FIRST_PROCESS = (
    "the daemon is the first process (PID 1) of its container: when it ends, the kernel ends everything in there, "
    "so it cannot leave workers running. To stop it all, stop the container"
)


def detach_daemon(base: Path, group: str | None) -> str:
    """Leave the workers of the daemon that is meant running; a sentence about what was done."""
    daemon = the_daemon(base, group)
    if daemon.is_stopping:
        fail(ExitCode.NO_DAEMON, f"the daemon of {daemon.name} is stopping already")
    if (reason := why_not(daemon.groups[0].daemon_pid)) is not None:
        fail(ExitCode.USAGE, reason)
    _ask(client.detach, daemon)
    return f"{_who(daemon)} is gone{left_running(daemon.workers)}"


def stop_daemon(base: Path, group: str | None) -> str:
    """Stop the daemon that is meant, and all its workers; a sentence about what was done."""
    daemon = the_daemon(base, group)
    _ask(client.stop, daemon)
    return f"{_who(daemon)} is gone, and so are its workers"


def _ask(end: Callable[[Path, int], None], daemon: Daemon) -> None:
    try:
        end(daemon.folder, daemon.pid)
    except NoAnswer as error:
        fail(ExitCode.NO_DAEMON, error)


def _who(daemon: Daemon) -> str:
    return f"{daemon.name}: the daemon (pid {daemon.groups[0].daemon_pid})"


def why_not(daemon_pid: int) -> str | None:
    """Why the daemon with this pid, as it knows itself, cannot leave its workers running; None: it can."""
    return AS_FIRST_PROCESS if daemon_pid == 1 else None


def left_running(workers: int) -> str:
    """The rest of the sentence that says that a daemon is gone."""
    match workers:
        case 0:
            return "; no worker of it was running"
        case 1:
            return ", its worker runs on; start it again to adopt it"
        case _:
            return f", its {workers} workers run on; start it again to adopt them"
