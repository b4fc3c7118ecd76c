"""Set structlog up once: readable for a person, one JSON object per line for a program.

A person's lines show what others said (a worker, a znode, an operator) and let none of it reach the terminal as
anything but text; a program gets the original.

What libraries log (aiohttp, kazoo, asyncio) becomes a line of ours: their own way leads to standard error, where it
could block whoever logs.

Must never know where the lines go: the caller gives a function that takes one, does not fail and does not wait.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import structlog

from autohealer.printable import printable, quoted_lines
from autohealer.telemetry.formats import LogFormat

SHOWN_LINES = 5
"""So many of a dead worker's last lines a person sees in the log; `autohealer why` shows all that were kept."""


_AMBIGUOUS = frozenset(" ='\"")


class _LineLogger:
    """What structlog hands finished lines to."""

    def __init__(self, emit: Callable[[str], str | None]) -> None:
        self.info = self.warning = self.error = self.critical = emit


class _LibraryHandler(logging.Handler):
    """Hands what libraries log to the daemon's log."""

    def __init__(self, logger: structlog.typing.FilteringBoundLogger) -> None:
        super().__init__(logging.WARNING)
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        self._logger.warning("library", library=record.name, said=self.format(record))


def configure(
    log_format: LogFormat,
    emit: Callable[[str], None],
    *,
    on_terminal: bool,
    colors: bool = False,
) -> structlog.typing.FilteringBoundLogger:
    """Set logging up for the process and return the daemon's logger."""
    console = log_format is LogFormat.CONSOLE or (log_format is LogFormat.AUTO and on_terminal)
    renderer: structlog.typing.Processor
    if console:
        renderer = structlog.dev.ConsoleRenderer(colors=colors, sort_keys=False)
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
    _listen_to_libraries(logger)
    return logger


def _listen_to_libraries(logger: structlog.typing.FilteringBoundLogger) -> None:
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler, _LibraryHandler):
            root.removeHandler(handler)
    root.addHandler(_LibraryHandler(logger))


def line_about_missing(count: int, why: str) -> str:
    """A line of the log, to be written where `count` of them are missing."""
    maker = structlog.wrap_logger(_LineLogger(lambda line: line))
    what = "1 log line was" if count == 1 else f"{count} log lines were"
    return str(maker.warning("log_lines_dropped", lines=count, why=f"{what} dropped {why}"))


def _laid_out_for_people(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """The long number last, nothing said twice, a dead worker's last lines below its own, and all of it harmless."""
    if "generation" in event:
        event["generation"] = event.pop("generation")
    if "how" in event and str(event["how"]) in str(event.get("reason")):
        del event["how"]
    lines = event.pop("last_output", None)
    shown: structlog.typing.EventDict = {key: _shown(value) for key, value in event.items()}
    shown["event"] = printable(str(event["event"]))
    if lines:
        shown["stack"] = "\n".join(quoted_lines(lines[-SHOWN_LINES:]))
    return shown


class _Shown(str):
    """A value as it is to be seen: the renderer would take the `repr` of some."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _shown(value: object) -> _Shown:
    """Text as it is or, where it has blanks or could be taken for more than one value, in quotes."""
    if isinstance(value, tuple | list):
        return _shown(", ".join(map(str, value)))
    text = printable(str(value))
    return _Shown(_quoted(text) if _AMBIGUOUS.intersection(text) else text)


def _quoted(text: str) -> str:
    if "'" not in text:
        return f"'{text}'"
    if '"' not in text:
        return f'"{text}"'
    return "'" + text.replace("'", "\\'") + "'"
