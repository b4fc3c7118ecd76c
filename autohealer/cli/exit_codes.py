"""What the exit code of every command means; documented in the README and held to by tests."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """One number per kind of trouble."""

    OK = 0
    INTERNAL = 1
    USAGE = 2
    ZOOKEEPER = 3
    ALREADY_RUNNING = 4
    ENVIRONMENT = 5
    NO_DAEMON = 6
    NOT_REACHED = 7
