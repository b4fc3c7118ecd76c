"""Find the program to run, as a user expects: a file, then a Python module, then a command on PATH.

Nothing is started here; what cannot be found or run is said in one sentence before anything starts.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from autohealer.processes.executable import why_not_runnable
from autohealer.processes.interpreter import Python, python_for, python_in


class ProgramError(ValueError):
    """The program cannot be run; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Program:
    """The command that runs a program; `why` says why it is another Python than ours, where it is."""

    argv: tuple[str, ...]
    why: str = ""


def resolve_program(program: str, folder: Path = Path(), venv: Path | None = None) -> Program:
    """The command that runs `program` in a folder, the current one by default. Raises `ProgramError`.

    `venv` is the virtual environment whose Python and commands are meant, where one is named.

    In this order: a path to an executable, a Python script or a `.jar` (by `java -jar`); an importable module
    or package with `__main__` (by `-m`, the folder included as `-m` does); an executable on PATH.
    """
    path = folder / program
    told = str(path) if folder.is_absolute() else program
    if _is_file(path, told):
        return _file_command(path, folder, venv)
    if os.sep in program:
        what = "is a folder" if path.is_dir() else "does not exist"
        raise ProgramError(f"{told} {what}: give a program to run")
    if venv is not None and _is_file(venv / "bin" / program, program):
        return Program((str(venv / "bin" / program),))
    if venv is not None and is_runnable_module(program, folder):
        return Program((str(python_in(venv)), "-m", program))
    if is_runnable_module(program, folder):
        return _module_command(program, folder)
    if found := shutil.which(program):
        _check_runnable(Path(found))
        return Program((found,))
    if program and _is_folder(path):
        raise ProgramError(
            f"{told} is a folder and not a Python module with __main__: give a program to run"
        )
    raise ProgramError(
        f"no program {program!r}: it is not a file here, not a Python module with __main__, and not a command on PATH"
    )


def resolve_command(program: str, folder: Path = Path()) -> Program:
    """The same for what is rather a tool than a program of one's own: a command on PATH comes before a module."""
    if os.sep not in program and shutil.which(program) and not _is_file(folder / program, program):
        return Program((str(shutil.which(program)),))
    return resolve_program(program, folder)


def is_runnable_module(name: str, folder: Path = Path()) -> bool:
    """Whether `python -m name` would run something meant to be run, in a folder."""
    spec = _spec_of(name, folder)
    if spec is None:
        return False
    if spec.submodule_search_locations is not None:
        return _find_spec(f"{name}.__main__", folder) is not None
    if not spec.origin or not spec.origin.endswith(".py"):
        return False
    return "__main__" in Path(spec.origin).read_text(encoding="utf-8", errors="replace")


def files_of_module(name: str, folder: Path = Path()) -> list[Path]:
    """The source files of what `python -m name` would run; those of a package without the ones below it."""
    spec = _spec_of(name, folder)
    if spec is None:
        return []
    if spec.submodule_search_locations is None:
        return [Path(spec.origin)] if spec.origin else []
    return [path for place in spec.submodule_search_locations for path in Path(place).glob("*.py")]


def _is_file(path: Path, told: str) -> bool:
    """Whether there is such a file; not to be allowed to look is said like any other trouble. Raises `ProgramError`."""
    try:
        return path.is_file()
    except OSError as error:
        if (
            os.sep not in told
        ):  # in a folder we may not enter: it may still be a module or a command
            return False
        raise ProgramError(f"{told} cannot be looked at: {error.strerror}") from error


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False  # in a folder we may not enter


def _module_command(module: str, folder: Path) -> Program:
    """Our own worker is kept from importing what happens to lie in the folder."""
    if _spec_here(module.partition(".")[0], folder) is not None:
        return _by_python(python_for(None, folder), "-m", module)
    options = ("-P",) if module == "flaky_worker" else ()
    return Program((sys.executable, *options, "-m", module))


def _by_python(python: Python, *rest: str) -> Program:
    return Program((python.path, *rest), python.why)


def _spec_of(name: str, folder: Path) -> importlib.machinery.ModuleSpec | None:
    """What a word names as a module, if it could name one."""
    is_name = all(part.isidentifier() for part in name.split("."))
    return _find_spec(name, folder) if is_name else None


def _find_spec(name: str, folder: Path) -> importlib.machinery.ModuleSpec | None:
    """Look where `-m` would look, without importing anything."""
    top, *rest = name.split(".")
    spec = _find_top_spec(top, folder)
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            return None
        whole = f"{spec.name}.{part}"
        spec = importlib.machinery.PathFinder.find_spec(
            whole, list(spec.submodule_search_locations)
        )
    return spec


def _find_top_spec(top: str, folder: Path) -> importlib.machinery.ModuleSpec | None:
    """The folder to run in first, then every finder there is: editable installs bring finders of their own.

    As for Python itself, a mere folder counts only when there is nothing better anywhere.
    """
    here = _spec_here(top, folder)
    if here is not None and here.origin is not None:
        return here
    try:
        return importlib.util.find_spec(top) or here
    except ValueError:
        return here  # `__main__` and the like: loaded, but from nowhere


def _spec_here(top: str, folder: Path) -> importlib.machinery.ModuleSpec | None:
    """What the folder to run in has under a name; a folder that was deleted has nothing."""
    try:
        return importlib.machinery.PathFinder.find_spec(top, [str(folder.absolute())])
    except OSError:
        return None


def _file_command(path: Path, folder: Path, venv: Path | None) -> Program:
    absolute = str(path.absolute())
    if not os.access(path, os.R_OK, effective_ids=True):
        raise ProgramError(f"{path} cannot be read: check its permissions")
    if path.suffix == ".jar":
        java = shutil.which("java")
        if java is None:
            raise ProgramError(f"{path} needs Java, and there is no `java` on PATH")
        return Program((java, "-jar", absolute))
    if path.suffix == ".py" and not _asks_to_be_run(path):
        if venv is not None:
            return Program((str(python_in(venv)), absolute))
        return _by_python(python_for(path, folder, needs_sdk=_needs_sdk(path, folder)), absolute)
    _check_runnable(path)
    return Program((absolute,))


def _needs_sdk(script: Path, folder: Path) -> bool:
    """Whether a script, or what it imports, shows that it needs the worker SDK, or kazoo, which comes with it."""
    from autohealer.processes.registering import SIGNS, texts_of  # which asks for modules here

    signs = (*SIGNS, b"kazoo")
    texts = texts_of(("", str(script)), folder)
    return any(sign in text for _, text in texts for sign in signs)


def _asks_to_be_run(path: Path) -> bool:
    """Whether a script is executable and says what is to run it: on many file systems everything is executable."""
    with path.open("rb") as file:
        return file.read(2) == b"#!" and os.access(path, os.X_OK, effective_ids=True)


def _check_runnable(path: Path) -> None:
    """Raises `ProgramError` where the kernel could not run a file."""
    try:
        trouble = why_not_runnable(path)
    except OSError:
        return  # not ours to read, as some programs are: the kernel will tell
    if trouble is not None:
        raise ProgramError(f"{path} {trouble}")
