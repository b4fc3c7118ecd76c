"""What is said of a death whose cause we know from the outside."""

from __future__ import annotations

import sys

import pytest

from autohealer.processes.hints import hint_of, python_of

TRACE = ["Traceback (most recent call last):", '  File "/app/w.py", line 1, in <module>']


def _without(module: str) -> list[str]:
    return [*TRACE, f"ModuleNotFoundError: No module named '{module}'"]


@pytest.mark.parametrize("module", ["autohealer", "autohealer.worker"])
def test_a_python_without_the_sdk_is_named_with_one_that_has_it(module: str) -> None:
    """Who has just installed autohealer would read that there is no module named so."""
    hint = hint_of(_without(module), "/usr/bin/python3")
    assert "(/usr/bin/python3) does not have the package autohealer" in hint
    assert sys.executable in hint


def test_a_python_without_another_module_is_named() -> None:
    """Nobody would see that the worker runs with another Python than the shell does."""
    hint = hint_of(_without("requests.auth"), "/opt/pipx/bin/python")
    assert "(/opt/pipx/bin/python) does not find the module 'requests'" in hint
    assert "bin/python as the program" in hint


def test_the_last_mistake_counts() -> None:
    """A worker that gets on without an optional module would be told to install that one."""
    assert "'b'" in hint_of([*_without("a"), *_without("b")], "python3")


@pytest.mark.parametrize("words", [[], ["all is well"], [*TRACE, "ValueError: x"]])
def test_nothing_is_said_of_what_is_not_known(words: list[str]) -> None:
    """A guess would send the operator the wrong way."""
    assert hint_of(words, "python3") == ""


@pytest.mark.parametrize(
    ("argv", "interpreter", "python"),
    [
        (("/usr/bin/python3.11", "w.py"), None, "/usr/bin/python3.11"),
        (("/app/w.py",), "/usr/bin/python3", "/usr/bin/python3"),
        (("/app/run.sh",), "/bin/sh", ""),
        (("/usr/bin/nginx",), None, ""),
    ],
)
def test_the_python_is_the_one_that_runs_the_worker(
    argv: tuple[str, ...], interpreter: str | None, python: str
) -> None:
    """The hint would name a Python that has nothing to do with it."""
    assert python_of(argv, interpreter) == python
