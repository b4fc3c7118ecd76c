"""Lines of workers as they are printed: who said them, unchanged for programs, harmless for terminals."""

from __future__ import annotations

import pytest

from autohealer.cli.log_printing import Printer
from autohealer.cli.terminal import Terminal
from autohealer.workerlogs.past import SlotName

PIPE = Terminal(is_terminal=False, has_escapes=False, has_colors=False)
PLAIN = Terminal(is_terminal=True, has_escapes=True, has_colors=False)
COLORS = Terminal(is_terminal=True, has_escapes=True, has_colors=True)
WEB = [SlotName("web", 3), SlotName("web", 10)]
EVIL = b"\x1b[2J\ta\xff\x9b\xc2\x9b\r\n"


def printed(
    capture: pytest.CaptureFixture[bytes],
    *blocks: tuple[SlotName, bytes],
    terminal: Terminal = PIPE,
    names: list[SlotName] | None = None,
    with_names: bool | None = None,
    with_times: bool = False,
) -> bytes:
    """All that goes to standard output."""
    printer = Printer(terminal, with_times=with_times, with_names=with_names)
    printer.introduce(names or sorted({name for name, _ in blocks}))
    for name, block in blocks:
        printer.write(name, block, is_stamped=block.startswith(b"2026"))
    printer.end()
    return capture.readouterr().out


def test_it_is_told_who_said_what_where_there_are_several(
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    """Lines of ten workers could not be told apart, or one worker's would not be its own any more."""
    lines = [(WEB[0], b"a\nb\n"), (WEB[1], b"c\n")]
    assert printed(capsysbinary, *lines) == b"3  | a\n3  | b\n10 | c\n"
    assert printed(capsysbinary, *lines, with_names=False) == b"a\nb\nc\n"
    assert printed(capsysbinary, lines[0]) == b"a\nb\n"
    assert printed(capsysbinary, lines[0], with_names=True) == b"3 | a\n3 | b\n"
    several = [*WEB, SlotName("queue", 0)]
    assert printed(capsysbinary, lines[0], names=several) == b"web/3   | a\nweb/3   | b\n"


def test_half_a_line_is_continued_by_its_slot_alone(
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    """One worker's line would end in another's, or the pieces of a long line look like several."""
    pieces = [(WEB[0], b"a"), (WEB[0], b"b\n"), (WEB[0], b"c"), (WEB[1], b"d\n"), (WEB[0], b"e")]
    assert printed(capsysbinary, *pieces) == b"3  | ab\n3  | c\n10 | d\n3  | e"


def test_programs_get_every_byte_as_it_is_and_terminals_obey_none(
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    """A worker's output could clear the screen of who looks at it, or reach a file changed."""
    assert printed(capsysbinary, (WEB[0], EVIL + b"end")) == EVIL + b"end"
    shown = printed(capsysbinary, (WEB[0], EVIL + b"end"), terminal=PLAIN)
    assert shown == rb"\x1b[2J    a\xff\x9b\x9b" + b"\nend\n"


def test_a_slot_s_colour_is_its_own_and_the_line_has_none(
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    """A slot would have another colour after each restart of the command, or a neighbour's."""
    neighbours = [SlotName("web", 3), SlotName("web", 4)]
    first = printed(capsysbinary, (neighbours[0], b"a\n"), names=neighbours, terminal=COLORS)
    second = printed(capsysbinary, (neighbours[1], b"a\n"), names=neighbours, terminal=COLORS)
    assert first == b"\x1b[32m3 | \x1b[0ma\n"
    assert second != first.replace(b"3 |", b"4 |")
    assert printed(capsysbinary, (neighbours[0], b"a\n"), names=neighbours, terminal=PLAIN) == (
        b"3 | a\n"
    )


def test_times_are_shown_where_they_are_asked_for(
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    """Times would stand before lines that nobody asked for, or be taken from what workers wrote themselves."""
    line = (WEB[0], b"2026-11-27T10:00:00.123Z a\n")
    assert printed(capsysbinary, line) == b"a\n"
    assert printed(capsysbinary, line, with_times=True) == line[1]
    assert printed(capsysbinary, line, with_times=True, with_names=True) == b"3 | " + line[1]
    assert printed(capsysbinary, (WEB[0], b" " + line[1])) == b" " + line[1]
