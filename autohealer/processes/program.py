"""Find the program to run, as a user expects: a file, then a Python module, then a command on PATH.

Nothing is started here; what cannot be found or run is said in one sentence before anything starts.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import shutil
import sys
from pathlib import Path


class ProgramError(ValueError):
    """The program cannot be run; the message says why and what to do."""


def resolve_program(program: str) -> tuple[str, ...]:
    """The command that runs `program`. Raises `ProgramError`.

    In this order: a path to an executable, a Python script or a `.jar` (by `java -jar`); an importable module
    or package with `__main__` (by this interpreter's `-m`, the current folder included as `-m` does); an
    executable on PATH.
    """
    path = Path(program)
    if _is_file(program):
        return _file_command(path)
    if os.sep in program:
        what = "is a folder" if path.is_dir() else "does not exist"
        raise ProgramError(f"{program} {what}: give a program to run")
    if is_runnable_module(program):
        return (*_interpreter(program), "-m", program)
    if found := shutil.which(program):
        return (found,)
    raise ProgramError(
        f"no program {program!r}: it is not a file here, not a Python module with __main__, and not a command on PATH"
    )


def is_runnable_module(name: str) -> bool:
    """Whether `python -m name` would run something meant to be run."""
    if not all(part.isidentifier() for part in name.split(".")):
        return False
    spec = _find_spec(name)
    if spec is None:
        return False
    if spec.submodule_search_locations is not None:
        return _find_spec(f"{name}.__main__") is not None
    if not spec.origin or not spec.origin.endswith(".py"):
        return False
    return "__main__" in Path(spec.origin).read_text(encoding="utf-8", errors="replace")


def _is_file(program: str) -> bool:
    """Whether there is such a file; not to be allowed to look is said like any other trouble. Raises `ProgramError`."""
    try:
        return Path(program).is_file()
    except OSError as error:
        if (
            os.sep not in program
        ):  # in a folder we may not enter: it may still be a module or a command
            return False
        raise ProgramError(f"{program} cannot be looked at: {error.strerror}") from error


def _interpreter(module: str) -> tuple[str, ...]:
    """This Python; our own worker is kept from importing what happens to lie in the current folder."""
    is_ours = module == "flaky_worker" and _spec_here(module) is None
    return (sys.executable, "-P") if is_ours else (sys.executable,)


def _find_spec(name: str) -> importlib.machinery.ModuleSpec | None:
    """Look where `-m` would look, without importing anything."""
    top, *rest = name.split(".")
    spec = _find_top_spec(top)
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            return None
        whole = f"{spec.name}.{part}"
        spec = importlib.machinery.PathFinder.find_spec(
            whole, list(spec.submodule_search_locations)
        )
    return spec


def _find_top_spec(top: str) -> importlib.machinery.ModuleSpec | None:
    """The current folder first, then every finder there is: editable installs bring finders of their own.

    As for Python itself, a mere folder counts only when there is nothing better anywhere.
    """
    here = _spec_here(top)
    if here is not None and here.origin is not None:
        return here
    try:
        return importlib.util.find_spec(top) or here
    except ValueError:
        return here  # `__main__` and the like: loaded, but from nowhere


def _spec_here(top: str) -> importlib.machinery.ModuleSpec | None:
    """What the current folder has under a name; a folder that was deleted has nothing."""
    try:
        return importlib.machinery.PathFinder.find_spec(top, [str(Path.cwd())])
    except OSError:
        return None


def _file_command(path: Path) -> tuple[str, ...]:
    absolute = str(path.absolute())
    if not os.access(path, os.R_OK, effective_ids=True):
        raise ProgramError(f"{path} cannot be read: check its permissions")
    if path.suffix == ".jar":
        java = shutil.which("java")
        if java is None:
            raise ProgramError(f"{path} needs Java, and there is no `java` on PATH")
        return (java, "-jar", absolute)
    if os.access(path, os.X_OK, effective_ids=True):
        return (absolute,)
    if path.suffix == ".py":
        return (sys.executable, absolute)
    raise ProgramError(
        f"{path} is not executable: chmod +x it, or give the interpreter as the program"
    )
