"""Log lines: a person's show what others said and obey none of it, a program's keep the original."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from autohealer.telemetry.formats import LogFormat
from autohealer.telemetry.logs import configure, line_about_missing

HOSTILE = "\x1b]0;owned\x07\x9b2J\r\n12:00:00 [info] forged\u202e\u2028\ud800"
SHOWN = r"\x1b]0;owned\x07\x9b2J\r\n12:00:00 [info] forged\u202e\u2028\ud800"
BARE = "\x1b[2J\u202e"
"""Without a blank, so that nothing puts it in quotes."""


@pytest.fixture
def lines() -> list[str]:
    """What was written so far."""
    return []


@pytest.fixture
def console(lines: list[str]) -> Iterator[structlog.typing.FilteringBoundLogger]:
    """A person's log, without colours."""
    yield configure(LogFormat.CONSOLE, lines.append, on_terminal=True)
    structlog.reset_defaults()


@pytest.fixture
def colored(lines: list[str]) -> Iterator[structlog.typing.FilteringBoundLogger]:
    """A person's log in colours."""
    yield configure(LogFormat.CONSOLE, lines.append, on_terminal=True, colors=True)
    structlog.reset_defaults()


@pytest.fixture
def programs(lines: list[str]) -> Iterator[structlog.typing.FilteringBoundLogger]:
    """A program's log."""
    yield configure(LogFormat.JSON, lines.append, on_terminal=True)
    structlog.reset_defaults()


@pytest.mark.parametrize("value", [HOSTILE, (HOSTILE,), [HOSTILE, "x"]])
def test_a_value_is_one_harmless_word(
    console: structlog.typing.FilteringBoundLogger, lines: list[str], value: object
) -> None:
    """A stranger's host name could clear the terminal of whoever runs the daemon, or forge a line."""
    console.warning("unknown_registration", host=value, action="left alone")
    (line,) = lines
    assert SHOWN in line
    assert line.endswith("' action='left alone'")
    assert line.isprintable()


def test_a_value_without_blanks_is_harmless_too(
    console: structlog.typing.FilteringBoundLogger, lines: list[str]
) -> None:
    """What the renderer does not put in quotes would go to the terminal as it is."""
    console.warning("unknown_registration", host=BARE, name=BARE)
    assert lines[0].endswith(r" host=\x1b[2J\u202e name=\x1b[2J\u202e")


def test_colours_are_ours_alone(
    colored: structlog.typing.FilteringBoundLogger, lines: list[str]
) -> None:
    """A value could hide behind the escapes of our own colours."""
    colored.warning("unknown_registration", host="there", last_output=["a"])
    colored.warning("unknown_registration", host=BARE, last_output=[BARE])
    plain, hostile = lines
    assert plain.count("\x1b") == hostile.count("\x1b") > 0


def test_an_event_is_harmless(
    console: structlog.typing.FilteringBoundLogger, lines: list[str]
) -> None:
    """A name of an event made up from others' words would be obeyed."""
    console.warning(BARE)
    assert r"\x1b[2J\u202e" in lines[0]
    assert lines[0].isprintable()


def test_last_lines_stand_below_and_obey_nobody(
    console: structlog.typing.FilteringBoundLogger, lines: list[str]
) -> None:
    """A dead worker's last lines could clear the terminal or pass for log lines."""
    console.warning("worker_exited", slot=3, last_output=["a", HOSTILE, "\tat größer.Main", ""])
    head, *below = lines[0].splitlines()
    assert head.endswith(" slot=3")
    assert below == ["    | a", f"    | {SHOWN}", "    |         at größer.Main", "    | "]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("plain", "plain"),
        ("größer·大🔥", "größer·大🔥"),
        ("two words", "'two words'"),
        ("a=b", "'a=b'"),
        ("it's", '"it\'s"'),
        ('a "b"', "'a \"b\"'"),
        ('it\'s a "b"', "'it\\'s a \"b\"'"),
        (r"C:\new", r"C:\new"),
        (r"C:\new folder", r"'C:\new folder'"),
        (4711, "4711"),
        (0.5, "0.5"),
        (None, "None"),
        (("pid 7 (python3)", "pid 8"), "'pid 7 (python3), pid 8'"),
    ],
)
def test_ordinary_values_are_readable(
    console: structlog.typing.FilteringBoundLogger, lines: list[str], value: object, shown: str
) -> None:
    """Paths would have their backslashes doubled, and words run into each other."""
    console.info("told", value=value)
    assert lines[0].endswith(f" value={shown}")


def test_what_libraries_say_is_harmless(
    console: structlog.typing.FilteringBoundLogger, lines: list[str]
) -> None:
    """A library quotes what a client sent."""
    logging.getLogger("aiohttp.server").warning("bad request: %s", HOSTILE)
    assert SHOWN in lines[0]
    assert lines[0].isprintable()


def test_why_lines_are_missing_is_harmless(
    console: structlog.typing.FilteringBoundLogger,
) -> None:
    """An error's text would go to the terminal as it is."""
    assert line_about_missing(2, BARE).isprintable()


def test_a_program_gets_the_original(
    programs: structlog.typing.FilteringBoundLogger, lines: list[str]
) -> None:
    """A script that looks for words of a worker would not find them."""
    programs.warning("worker_exited", host=HOSTILE, last_output=[HOSTILE, "\tx"])
    (line,) = lines
    assert line.isascii()
    record = json.loads(line)
    assert record["host"] == HOSTILE
    assert record["last_output"] == [HOSTILE, "\tx"]
