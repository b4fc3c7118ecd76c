"""How log lines may look; apart from what makes them, which a command that logs nothing need not import."""

from __future__ import annotations

from enum import Enum


class LogFormat(str, Enum):  # noqa: UP042 - typer shows the values of a str enum
    """How log lines look."""

    AUTO = "auto"
    CONSOLE = "console"
    JSON = "json"
