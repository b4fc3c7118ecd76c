"""What `why` prints: to a person harmless lines, to a program what was said."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from autohealer.cli.history_lines import print_history
from autohealer.telemetry.history import Entry

HOSTILE = "[/x]\x1b]0;owned\x07\x9b2J\r\n2026-11-26 00:00:00  forged\u202e\u2028\ud800"
SHOWN = r"[/x]\x1b]0;owned\x07\x9b2J\r\n2026-11-26 00:00:00  forged\u202e\u2028\ud800"
ENTRY = Entry(
    at="2026-11-26T03:12:40.000+00:00",
    event=HOSTILE,
    why=f"größer {HOSTILE}",
    daemon_pid=99,
    slot=3,
    generation=17,
    pid=4711,
    last_output=(HOSTILE, "\tat größer.Main"),
)


def test_last_words_and_reasons_are_shown_and_not_obeyed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A worker could set the operator's window title, or forge lines of its own history."""
    print_history([ENTRY], as_json=False)
    head, *words = capsys.readouterr().out.splitlines()
    assert head.endswith(f"{SHOWN} größer {SHOWN}")
    assert words == [f"    | {SHOWN}", "    |         at größer.Main"]


def test_a_cause_is_shown_and_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    """A history that somebody else wrote could do what last words cannot."""
    print_history(
        [Entry(at=ENTRY.at, event="ended", why="", daemon_pid=9, cause=HOSTILE)], as_json=False
    )
    assert capsys.readouterr().out.splitlines()[0].endswith(SHOWN)


def test_a_program_gets_the_original(capsys: pytest.CaptureFixture[str]) -> None:
    """A script that looks for words of a worker would not find them."""
    print_history([ENTRY], as_json=True)
    out = capsys.readouterr().out
    assert out.isascii()
    assert json.loads(out)["last_output"] == list(ENTRY.last_output)
    assert json.loads(out)["why"] == ENTRY.why


def test_a_hint_stands_below_the_last_words(capsys: pytest.CaptureFixture[str]) -> None:
    """The operator would be left with a stack trace, or the hint could forge lines."""
    print_history([replace(ENTRY, hint=f"install it {HOSTILE}")], as_json=False)
    assert capsys.readouterr().out.splitlines()[-1] == f"    install it {SHOWN}"
