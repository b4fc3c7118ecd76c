"""Set structlog up once: readable for a person, one JSON object per line for a program.

Must never know where the lines go: the caller gives a function that takes one and does not fail.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import Enum

import structlog


class LogFormat(str, Enum):  # noqa: UP042 - typer shows the values of a str enum
    """How log lines look."""

    AUTO = "auto"
    CONSOLE = "console"
    JSON = "json"


class _LineLogger:
    """What structlog hands finished lines to."""

    def __init__(self, emit: Callable[[str], None]) -> None:
        self.info = self.warning = self.error = self.critical = emit


def configure(
    log_format: LogFormat, emit: Callable[[str], None], *, on_terminal: bool
) -> structlog.typing.FilteringBoundLogger:
    """Set logging up for the process and return the daemon's logger."""
    console = log_format is LogFormat.CONSOLE or (log_format is LogFormat.AUTO and on_terminal)
    renderer: structlog.typing.Processor
    if console:
        renderer = structlog.dev.ConsoleRenderer(colors=on_terminal, sort_keys=False)
    else:
        renderer = structlog.processors.JSONRenderer()
    stamp = structlog.processors.TimeStamper(
        fmt="%H:%M:%S.%f" if console else "iso", utc=not console
    )
    layout: list[structlog.typing.Processor] = [_laid_out_for_people] if console else []
    structlog.configure(
        processors=[structlog.processors.add_log_level, stamp, *layout, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=lambda: _LineLogger(emit),
    )
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return logger


def _laid_out_for_people(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """The long number last, nothing said twice, and a dead worker's last lines below its own."""
    if "generation" in event:
        event["generation"] = event.pop("generation")
    if "how" in event and str(event["how"]) in str(event.get("reason")):
        del event["how"]
    if lines := event.pop("last_output", None):
        event["stack"] = "\n".join(f"    | {line}" for line in lines)
    return event
