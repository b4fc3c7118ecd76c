"""The shape of the source: names, lengths, docstrings, and what must not be left lying about."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.tidy.source import Source, functions_of, source_of, sources

pytestmark = pytest.mark.xdist_group("the source, parsed once")

FUNCTION_LINES_MAX = 50
MODULE_LINES_MAX = 450
BANNED_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}
UNFINISHED = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|X" + r"XX)\b")
MACHINE = re.compile(r"(?<![\w.])/(?:home|Users|root|work" + r")/\w")

GROWN: dict[str, int] = {
    "tests/integration/test_worker_sdk.py": 700,
    "tests/unit/core/world.py": 620,  # the model world and its oracles are read together
}
"""Modules allowed to be longer, and how long."""


def badly_named(source: Source) -> Iterator[str]:
    """Modules and folders whose name tells nothing."""
    if found := BANNED_NAMES.intersection(part.lower() for part in source.parts):
        yield f"{source.path}: {', '.join(sorted(found))} tells nothing"


def long_functions(source: Source) -> Iterator[str]:
    """Functions whose body is longer than fits a screen; a signature is as long as its options are many."""
    for function in functions_of(source):
        lines = (function.end_lineno or 0) - function.body[0].lineno + 1
        if lines > FUNCTION_LINES_MAX:
            yield f"{source.path}:{function.lineno} {function.name} has {lines} lines"


def too_long(source: Source) -> Iterator[str]:
    """Modules longer than fits a head."""
    if source.length_lines > GROWN.get(source.path, MODULE_LINES_MAX):
        yield f"{source.path} has {source.length_lines} lines"


def undocumented(source: Source) -> Iterator[str]:
    """Modules without a docstring, and tests that do not say what would be broken."""
    if not ast.get_docstring(source.tree):
        yield f"{source.path} has no docstring"
    if source.parts[0] != "tests":
        return
    for function in functions_of(source):
        if function.name.startswith("test_") and not ast.get_docstring(function):
            yield f"{source.path}:{function.lineno} {function.name} does not say what would be broken"


def left_lying(source: Source) -> Iterator[str]:
    """Unfinished business and paths of somebody's machine."""
    for number, line in enumerate(source.text.splitlines(), 1):
        if UNFINISHED.search(line) or MACHINE.search(line):
            yield f"{source.path}:{number} {line.strip()}"


CHECKS = (badly_named, long_functions, too_long, undocumented, left_lying)


def test_every_name_tells_the_job() -> None:
    """A reader would have to open a file to learn what it is for."""
    assert [line for source in sources() for line in badly_named(source)] == []


def test_every_function_fits_a_screen() -> None:
    """A fault would hide in a function nobody reads to its end."""
    assert [line for source in sources() for line in long_functions(source)] == []


def test_every_module_fits_a_head() -> None:
    """A file would grow until nobody knows all of it."""
    assert [line for source in sources() for line in too_long(source)] == []


def test_every_module_and_every_test_says_what_it_is_for() -> None:
    """A failing test would not say what it means for a user."""
    assert [line for source in sources() for line in undocumented(source)] == []


def test_nothing_is_left_lying_about() -> None:
    """A release would carry unfinished business or the paths of one machine."""
    assert [line for source in sources() for line in left_lying(source)] == []


def test_there_is_something_to_check() -> None:
    """Every check would pass because no file was found."""
    assert {source.parts[0] for source in sources()} >= {"autohealer", "flaky_worker", "tests"}
    assert len(sources()) > 50


def _long_function(lines: int) -> str:
    return '"""A module."""\ndef f():\n' + "    x = 1\n" * lines


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("autohealer/core/utils.py", '"""A module."""'),
        ("tests/helpers/x.py", '"""A module."""'),
        ("autohealer/x.py", _long_function(FUNCTION_LINES_MAX + 1)),
        ("autohealer/x.py", '"""A module."""\n' + "x = 1\n" * MODULE_LINES_MAX),
        ("autohealer/x.py", "x = 1"),
        ("tests/test_x.py", '"""A module."""\ndef test_x() -> None:\n    assert True'),
        (
            "tests/test_x.py",
            '"""A module."""\nclass X:\n    def test_x(self) -> None:\n        pass',
        ),
        ("autohealer/x.py", '"""A module."""\nx = 1  # TO' + "DO later"),
        ("autohealer/x.py", '"""A module."""\nx = 1  # FIX' + "ME"),
        ("autohealer/x.py", '"""A module."""\nx = "/ho' + 'me/somebody/x"'),
    ],
)
def test_bad_shape_is_noticed(path: str, text: str) -> None:
    """A check would pass whatever is written."""
    source = source_of(path, text)
    assert len([line for check in CHECKS for line in check(source)]) == 1


@pytest.mark.parametrize(
    "text",
    [
        _long_function(FUNCTION_LINES_MAX),
        '"""A module."""\nmodes = "autoDO XXXL /workers/web-0-1 https://x.org/home/y"',
    ],
)
def test_good_shape_is_not(text: str) -> None:
    """A check would object to everything."""
    source = source_of("autohealer/x.py", text)
    assert [line for check in CHECKS for line in check(source)] == []
