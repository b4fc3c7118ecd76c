"""Others' text is shown and never obeyed; ordinary text of any script stays as it is."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from autohealer.printable import (
    encodable,
    printable,
    printable_json,
    printable_lines,
    quoted_lines,
)

OBEYED = [
    *map(chr, range(0x20)),
    *map(chr, range(0x7F, 0xA0)),
    *"\u200b\u200e\u200f\u061c\u2028\u2029\u2060\ufeff\xad",
    *map(chr, range(0x202A, 0x202F)),
    *map(chr, range(0x2066, 0x206A)),
    *"\ud800\udbff\udc00\udcff\U000e0001\U000e0041",
]
ORDINARY = [
    "exited with code 3",
    "größer · déjà vu · ångström",
    "大きい\u3000프로그램 ファイル",
    "مرحبا شلום नमस्ते می‌خواهم",
    "🔥 👨‍👩‍👧 🏳️‍🌈",
    r"C:\new\x1b\table \\ [/red] :smile:",
    "e\u0301 \xa0 \ue0b0",
    "",
]

texts = st.text(st.characters() | st.sampled_from(OBEYED))


def is_harmless(text: str) -> bool:
    """Whether no character of a text could be obeyed, told independently of the code under test."""
    return not any(
        unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"}
        or (unicodedata.category(char) == "Cf" and char not in "\u200c\u200d")
        for char in text
    )


@pytest.mark.parametrize("char", OBEYED, ids=lambda char: f"{ord(char):x}")
def test_what_a_terminal_obeys_is_shown(char: str) -> None:
    """A worker's last words could clear the operator's screen, or write a second line that looks like ours."""
    shown = printable(f"a{char}b")
    assert shown.isascii()
    assert shown.isprintable()
    assert shown == f"a{char.encode('unicode_escape').decode()}b"


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    """Nobody could read what a worker says in another language, or a path with backslashes."""
    assert printable(text) == text


@given(texts)
@example("\\\x1b")
def test_all_that_comes_out_is_harmless_and_stays_so(text: str) -> None:
    """A text that passes through two hands would come out with its backslashes doubled."""
    shown = printable(text)
    assert is_harmless(shown)
    assert printable(shown) == shown
    shown.encode()


@given(texts, st.integers(1, 20))
def test_a_text_is_cut_to_what_there_is_room_for(text: str, chars_max: int) -> None:
    """A stranger could fill the status with one word."""
    shown = printable(text, chars_max)
    assert is_harmless(shown)
    assert len(shown) <= chars_max + 1
    assert shown == printable(text) or shown == printable(text)[:chars_max] + "…"


def test_lines_stay_lines() -> None:
    """A traceback would be one endless line, or its message could move the cursor."""
    assert printable_lines("a\n\x1b[2Jb\r\n\nc") == "a\n\\x1b[2Jb\\r\n\nc"


def test_a_program_is_quoted_line_by_line() -> None:
    """A dead worker could forge log lines, and stack traces would be full of escapes for tabs."""
    said = ["java.lang.Error", "\tat x.Y", "\x1b[31mred\nforged", ""]
    assert list(quoted_lines(said)) == [
        "    | java.lang.Error",
        "    |         at x.Y",
        "    | \\x1b[31mred\\nforged",
        "    | ",
    ]


@given(st.lists(texts))
def test_json_is_the_same_and_harmless(values: list[str]) -> None:
    """`status --json` on a terminal would be obeyed, or a program would get something else than was said."""
    for plain in (json.dumps(values), json.dumps(values, ensure_ascii=False)):
        shown = printable_json(plain)
        assert is_harmless(shown)
        assert json.loads(shown) == values


def test_json_keeps_ordinary_text_readable() -> None:
    """Who reads the JSON with their eyes would see numbers for letters."""
    assert printable_json('["größer 大 🔥"]') == '["größer 大 🔥"]'


@given(texts)
def test_only_what_is_no_character_is_changed_for_encoding(text: str) -> None:
    """A program that reads the JSON would not get the original."""
    whole = encodable(text)
    whole.encode()
    assert (whole == text) is not any("\ud800" <= char <= "\udfff" for char in text)
