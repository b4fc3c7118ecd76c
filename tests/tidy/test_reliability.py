"""docs/reliability.md names the test that shows each row: every one of them exists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tests.tidy.source import ROOT

_REFERENCE = re.compile(r"`(?P<file>[a-z_/]+\.py)(?:::(?P<test>test_\w+))?`")
PAGE = ROOT / "docs" / "reliability.md"


def references(text: str) -> Iterator[tuple[str, str | None]]:
    """The files below `tests/`, and the tests in them, that a text names."""
    for match in _REFERENCE.finditer(text):
        yield match["file"], match["test"]


def dangling(text: str, root: Path) -> Iterator[str]:
    """References to what is not there."""
    for file, test in references(text):
        path = root / "tests" / file
        if not path.exists() or (test and f"def {test}(" not in path.read_text()):
            yield f"{file}::{test}"


def test_every_row_is_shown_by_a_test_that_exists() -> None:
    """The page would promise what nobody checks any more."""
    text = PAGE.read_text()
    assert list(dangling(text, ROOT)) == []
    rows = [line for line in text.splitlines() if line.startswith("| ") and "`" in line]
    assert len(rows) >= 20
    assert [row for row in rows if not list(references(row))] == []


def test_a_missing_test_is_noticed() -> None:
    """The check of the page would pass whatever it names."""
    here = "tidy/test_reliability.py"
    assert list(dangling(f"`{here}::test_a_missing_test_is_noticed`", ROOT)) == []
    assert len(list(dangling(f"`{here}::test_that_is_not_there` `tidy/gone.py`", ROOT))) == 2
