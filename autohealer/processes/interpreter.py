"""Choose the Python that runs a script which is not executable itself: one that has what the script imports.

Theory of operation. Who installed autohealer apart (pipx, uv tool) has the libraries of the workers elsewhere: in the
virtual environment that is active, or in `.venv` beside the work or the script. A `#!` line that names a Python by its
path says it outright; one that asks `env` names none. What is asked for first is taken, where the script shows that it
uses the worker SDK only if that can be imported there; this very Python, which has it, is what remains then, and the
`python3` on PATH for what does not need it. An environment that the operator names is not asked.

Limits: whether the script's other imports can be had is not looked at.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from autohealer.processes.executable import interpreter_named_in

ASKING_S = 10.0
"""A Python that takes longer to say what it has is not waited for."""

_HAS_SDK = "import importlib.util as i, sys; sys.exit(not i.find_spec('autohealer'))"


@dataclass(frozen=True, slots=True)
class Python:
    """An interpreter, and why it is the one; no reason where it is the one that runs this."""

    path: str
    why: str = ""


def python_for(script: Path | None, folder: Path, *, needs_sdk: bool = True) -> Python:
    """The Python that is to run a script, or a module that lies in the folder to run in."""
    for python in _asked_for(script, folder, needs_sdk=needs_sdk):
        if _is_ours(python.path):
            break
        if _has_sdk(python.path) if needs_sdk else _runs(python.path):
            return python
    return Python(sys.executable)


def python_in(venv: Path) -> Path:
    """The Python of a virtual environment."""
    return venv / "bin" / "python"


def _asked_for(script: Path | None, folder: Path, *, needs_sdk: bool) -> Iterator[Python]:
    named = None if script is None else interpreter_named_in(script)
    if script is not None and named is not None and "python" in named:
        yield Python(named, f"the #! line of {script.name} names it")
    if active := os.environ.get("VIRTUAL_ENV"):
        yield Python(f"{active}/bin/python", "its virtual environment is active")
    beside = (folder / ".venv/bin/python").absolute()
    where = f"in {folder}" if folder.is_absolute() else "in the current folder"
    yield Python(str(beside), f"it is in .venv, {where}")
    if script is not None:
        yield Python(
            str(python_in(script.absolute().parent / ".venv")),
            f"it is in .venv beside {script.name}",
        )
    if not needs_sdk and (on_path := shutil.which("python3")):
        yield Python(on_path, "it is the python3 on PATH")


def _runs(python: str) -> bool:
    return os.access(python, os.X_OK, effective_ids=True)


def _is_ours(python: str) -> bool:
    """Whether it is the one that runs this: the same file in the same folder, since environments link to one file."""
    asked, ours = Path(python), Path(sys.executable)
    try:
        return asked.samefile(ours) and asked.parent.samefile(ours.parent)
    except OSError:
        return False


def _has_sdk(python: str) -> bool:
    try:
        asked = subprocess.run(
            [python, "-c", _HAS_SDK],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd="/",
            timeout=ASKING_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return asked.returncode == 0
