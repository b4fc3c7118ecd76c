"""The status shows what others wrote and is not made to do anything by it."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console

from autohealer.cli.status_table import print_status
from autohealer.cli.terminal import WIDTH_OF_FILES
from autohealer.control.records import SlotRecord, StatusRecord, StrangerRecord
from tests.support.statuses import SLOT
from tests.support.statuses import STATUS as EMPTY

STATUS = replace(
    EMPTY,
    store_age_s=5.0,
    desired=1,
    ready=1,
    holds=("waits for a list",),
    notes=("a note",),
    slots=(SLOT,),
    strangers=(StrangerRecord("manual-1", "unknown", 7, "there"),),
)
HOSTILE = "[/x][red]:smile:\x1b]0;owned\x07\x9b2J\r\nforged: 1/1 ready\u202e\u2028\ud800"
SHOWN = r"[/x][red]:smile:\x1b]0;owned\x07\x9b2J\r\nforged: 1/1 ready\u202e\u2028\ud800"


def shown(status: StatusRecord, *, on_terminal: bool, columns: int = 2000) -> str:
    """What goes to standard output."""
    screen = io.StringIO()
    print_status(
        status,
        Console(
            file=screen,
            width=columns,
            force_terminal=on_terminal,
            no_color=True,
            legacy_windows=False,
        ),
    )
    return screen.getvalue()


UNSEEN = {"revision", "stopped_at"}
"""The second is shown as an age, or not at all."""
EVERY_TEXT = {
    "group": replace(STATUS, group=HOSTILE),
    "version": replace(STATUS, version=HOSTILE),
    "zookeeper": replace(STATUS, zookeeper=HOSTILE),
    "store": replace(STATUS, store=HOSTILE),
    "hold": replace(STATUS, holds=(HOSTILE,)),
    "phase": replace(STATUS, slots=(replace(SLOT, phase=HOSTILE),)),
    "registration": replace(STATUS, slots=(replace(SLOT, registration=HOSTILE),)),
    "child": replace(STATUS, slots=(replace(SLOT, child=HOSTILE),)),
    "health": replace(STATUS, slots=(replace(SLOT, health=HOSTILE),)),
    "hint": replace(STATUS, slots=(replace(SLOT, hint=HOSTILE),)),
    "not_ready": replace(STATUS, slots=(replace(SLOT, not_ready=(HOSTILE,)),)),
    "ailing": replace(STATUS, slots=(replace(SLOT, ailing=HOSTILE),)),
    "says": replace(STATUS, slots=(replace(SLOT, says=HOSTILE),)),
    "address": replace(STATUS, slots=(replace(SLOT, address=HOSTILE),)),
    "stopped_by": replace(STATUS, slots=(replace(SLOT, phase="stopped", stopped_by=HOSTILE),)),
    "note": replace(STATUS, notes=(HOSTILE,)),
    "reason": replace(STATUS, slots=(replace(SLOT, reason=HOSTILE),)),
    "name": replace(STATUS, strangers=(StrangerRecord(HOSTILE, "unknown", 7, "there"),)),
    "standing": replace(STATUS, strangers=(StrangerRecord("manual-1", HOSTILE, 7, "there"),)),
    "host": replace(STATUS, strangers=(StrangerRecord("manual-1", "unknown", 7, HOSTILE),)),
}


@pytest.mark.parametrize("on_terminal", [True, False])
@pytest.mark.parametrize("where", EVERY_TEXT)
def test_every_text_is_shown_as_it_is_and_obeyed_nowhere(where: str, on_terminal: bool) -> None:
    """A stranger's host name would end `status` in a traceback, or forge lines of it."""
    plain = shown(STATUS, on_terminal=on_terminal)
    hostile = shown(EVERY_TEXT[where], on_terminal=on_terminal)
    assert SHOWN in hostile
    assert hostile.count("\n") == plain.count("\n")
    assert hostile.count("\x1b") == plain.count("\x1b"), "only our own bold headings"
    assert not {"\r", "\x07", "\x9b", "\u202e", "\u2028", "\ud800"} & set(hostile)


def test_every_text_there_is_was_tried() -> None:
    """A text that a later version shows would go through unlooked at."""
    texts = [
        *(name for name, value in _fields(STATUS) if isinstance(value, str) and name != "at"),
        *(name for name, value in _fields(SLOT) if isinstance(value, str) and name not in UNSEEN),
        *(name for name, _ in _fields(STATUS.strangers[0]) if name != "pid"),
        *("hold", "note", "not_ready"),
    ]
    assert sorted(texts) == sorted(EVERY_TEXT)


def _fields(record: StatusRecord | SlotRecord | StrangerRecord) -> list[tuple[str, object]]:
    return [(name, getattr(record, name)) for name in record.__dataclass_fields__]


def test_why_one_is_not_ready_is_shown_beside_its_reason() -> None:
    """One would see that a worker is not ready, and look for the cause in the wrong place."""
    slot = replace(
        SLOT, ready=False, hint="", not_ready=("it is not registered", "b"), ailing="c", says="d"
    )
    told = "exited with code 3; not ready: it is not registered, b; to be restarted: c; says: d"
    assert told in shown(replace(STATUS, slots=(slot,)), on_terminal=True)


def test_addresses_are_shown_where_somebody_has_one() -> None:
    """One would have to look up by hand where a worker serves, or see an empty column for ever."""
    assert "address" not in shown(STATUS, on_terminal=True)
    served = replace(STATUS, slots=(replace(SLOT, address=":8081"),))
    head, row = shown(served, on_terminal=False).splitlines()[1:3]
    assert head.index("address") == row.index(":8081")


def test_ordinary_words_of_others_are_readable() -> None:
    """Nobody could read the reason of a worker whose path has umlauts."""
    status = replace(STATUS, slots=(replace(SLOT, reason=r"größer 大 🔥 C:\new"),))
    assert r"größer 大 🔥 C:\new" in shown(status, on_terminal=True)


WORKING = replace(
    SLOT, pid_age_s=7200.0, rss_bytes=25_400_000, reason="exited with code 3 after 6.9 s, was ready"
)
LONG = replace(STATUS, slots=(replace(WORKING, hint=""), replace(WORKING, slot=1, hint="")))


@pytest.mark.parametrize(
    ("columns", "headings"),
    [
        (2000, "slot state pid registration process restarts why it is where it is"),
        (95, "slot state pid registration restarts why it is where it is"),
        (70, "slot state pid why it is where it is"),
        (50, "slot state why it is where it is"),
        (20, "slot state"),
    ],
)
def test_a_narrow_terminal_gets_fewer_columns_and_no_pillars(columns: int, headings: str) -> None:
    """On half a screen one could not read a single row."""
    lines = shown(LONG, on_terminal=False, columns=columns).splitlines()
    assert max(map(len, lines)) <= columns
    assert all(line == line.rstrip() for line in lines)
    head = next(line for line in lines if line.startswith("slot"))
    assert " ".join(head.split()) == headings
    whole = " ".join(" ".join(lines).split())
    assert whole.count("exited with code 3 after 6.9 s, was ready") == 2


def test_without_a_terminal_a_row_is_a_line() -> None:
    """`autohealer status | grep` would find halves of rows."""
    lines = shown(LONG, on_terminal=False, columns=WIDTH_OF_FILES).splitlines()
    (row,) = [line for line in lines if line.startswith("1 ")]
    assert " ".join(row.split()) == (
        "1 ready 1.0s 4711 (2.0h) present for 1.0s up 25 MB 3 exited with code 3 after 6.9 s, was ready"
    )


def test_wide_characters_keep_their_columns() -> None:
    """A reason in Chinese would be cut, or run over the edge of the terminal."""
    status = replace(STATUS, slots=(replace(SLOT, reason="大" * 60),))
    lines = shown(status, on_terminal=False, columns=60).splitlines()
    assert max(map(cell_len, lines)) <= 60
    assert sum(line.count("大") for line in lines) == 60


def test_a_slot_that_waits_says_when_it_is_tried_again_and_what_may_be_done() -> None:
    """The operator would wait for a quarantined slot without knowing for how long, or why."""
    slot = replace(SLOT, phase="quarantined", ready=False, next_try_s=12.0, reason="it fell")
    text = shown(replace(STATUS, slots=(slot,)), on_terminal=False)
    assert "it fell; next try in 12.0s; install it\n" in text


def test_the_summary_tells_for_how_long_the_daemon_has_been_up() -> None:
    """Nobody would see that the daemon itself was restarted a moment ago."""
    assert "daemon pid 99 up 2.0h (0.1.0)" in shown(
        replace(STATUS, daemon_age_s=7200.0), on_terminal=False
    )


def test_an_outdated_worker_is_told_of_as_such() -> None:
    """After a reload nobody would see how far the replacing is."""
    text = shown(replace(STATUS, slots=(replace(SLOT, outdated=True),)), on_terminal=False)
    assert "ready, outdated 1.0s" in text


def test_who_stopped_a_slot_is_shown_with_how_long_ago_that_was() -> None:
    """After a restart of the daemon a slot stopped last week would look as if it had been stopped just now."""
    slot = replace(
        SLOT,
        phase="stopped",
        reason="stopped by the operator",
        stopped_by="user anna",
        stopped_at="2026-01-01T10:00:00+00:00",
    )
    at = "2026-01-01T12:00:00.000+00:00"
    status = replace(STATUS, slots=(slot,), at=at, ready=0, desired=0, declared=3, replicas=1)
    text = shown(status, on_terminal=False)
    assert "stopped by the operator (user anna, 2.0h ago)" in text
    assert "web: 0/0 ready (3 declared), 1 stopped" in text
