"""What an operator may do about a death, where a worker's last words name a mistake that we know from the outside.

Pure. Limits: few mistakes are known, and only to whoever writes English; a worker that prints such a line and dies of
something else is given a hint that does not help.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

_NO_MODULE = re.compile(r"ModuleNotFoundError: No module named '([\w.]+)'")
_IS_PYTHON = re.compile(r"(python|pypy)[0-9.]*")


def python_of(argv: Sequence[str], interpreter: str | None) -> str:
    """The Python that runs a command, itself or by its `#! ` line; "" where there is none to be seen."""
    for path in (argv[0], interpreter or ""):
        if _IS_PYTHON.fullmatch(Path(path).name):
            return path
    return ""


def hint_of(last_words: Sequence[str], python: str) -> str:
    """A sentence about what is probably wrong; "" where nothing is recognised."""
    missing = next(filter(None, map(_NO_MODULE.search, reversed(last_words))), None)
    if missing is None:
        return ""
    module = missing[1].partition(".")[0]
    who = f"the Python that ran it ({python})" if python else "the Python that ran it"
    if module == "autohealer":
        return (
            f"{who} does not have the package autohealer: install it there, or give a Python that has it "
            f"as the program, such as {sys.executable}"
        )
    return (
        f"{who} does not find the module {module!r}: if that is installed in a virtual environment, give its "
        "bin/python as the program, with the script behind it"
    )
