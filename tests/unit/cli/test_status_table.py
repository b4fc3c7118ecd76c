"""The status shows what others wrote and is not made to do anything by it."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from autohealer.cli.status_table import print_status
from autohealer.control.records import SlotRecord, StatusRecord, StrangerRecord

SLOT = SlotRecord(
    slot=0,
    phase="ready",
    phase_age_s=1.0,
    ready=True,
    pid=4711,
    pid_age_s=2.0,
    generation=17,
    adopted=False,
    registration="present",
    registration_age_s=1.0,
    health="sleeping",
    health_age_s=0.0,
    rss_bytes=1,
    cpu_s=0.1,
    restarts=3,
    failures=0,
    reason="exited with code 3",
    next_try_s=None,
    hint="install it",
)
STATUS = StatusRecord(
    group="web",
    daemon_pid=99,
    version="0.1.0",
    zookeeper="127.0.0.1:2181",
    store="connected",
    store_age_s=5.0,
    desired=1,
    ready=1,
    stopping=False,
    holds=("waits for a list",),
    notes=("a note",),
    slots=(SLOT,),
    strangers=(StrangerRecord("manual-1", "unknown", 7, "there"),),
)
HOSTILE = "[/x][red]:smile:\x1b]0;owned\x07\x9b2J\r\nforged: 1/1 ready\u202e\u2028\ud800"
SHOWN = r"[/x][red]:smile:\x1b]0;owned\x07\x9b2J\r\nforged: 1/1 ready\u202e\u2028\ud800"


def shown(status: StatusRecord, *, on_terminal: bool) -> str:
    """What goes to standard output."""
    screen = io.StringIO()
    print_status(
        status,
        Console(
            file=screen,
            width=2000,
            force_terminal=on_terminal,
            no_color=True,
            legacy_windows=False,
        ),
    )
    return screen.getvalue()


EVERY_TEXT = {
    "group": replace(STATUS, group=HOSTILE),
    "version": replace(STATUS, version=HOSTILE),
    "zookeeper": replace(STATUS, zookeeper=HOSTILE),
    "store": replace(STATUS, store=HOSTILE),
    "hold": replace(STATUS, holds=(HOSTILE,)),
    "phase": replace(STATUS, slots=(replace(SLOT, phase=HOSTILE),)),
    "registration": replace(STATUS, slots=(replace(SLOT, registration=HOSTILE),)),
    "health": replace(STATUS, slots=(replace(SLOT, health=HOSTILE),)),
    "hint": replace(STATUS, slots=(replace(SLOT, hint=HOSTILE),)),
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
        *(name for name, value in _fields(STATUS) if isinstance(value, str)),
        *(name for name, value in _fields(SLOT) if isinstance(value, str)),
        *(name for name, _ in _fields(STATUS.strangers[0]) if name != "pid"),
        *("hold", "note"),
    ]
    assert sorted(texts) == sorted(EVERY_TEXT)


def _fields(record: StatusRecord | SlotRecord | StrangerRecord) -> list[tuple[str, object]]:
    return [(name, getattr(record, name)) for name in record.__dataclass_fields__]


def test_ordinary_words_of_others_are_readable() -> None:
    """Nobody could read the reason of a worker whose path has umlauts."""
    status = replace(STATUS, slots=(replace(SLOT, reason=r"größer 大 🔥 C:\new"),))
    assert r"größer 大 🔥 C:\new" in shown(status, on_terminal=True)
