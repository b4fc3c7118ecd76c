"""Tell whether a program registers itself, from what is written in it, before it is ever run.

Theory of operation. Who registers needs the SDK or the name of its znode, and says so somewhere: in the program, in a
script that it runs, in a module beside it. So the words of the command are followed to the files they name, and the
words of those that are text to theirs, a few steps deep. A jar is looked into, a binary is searched as it is.

Must never know: what becomes of that. Limits: what is only put together at run time is not found; `FILES_MAX` files are
looked at, and of each what it begins with (`FILE_BYTES_MAX`).
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from autohealer.contract import ENV_ZNODE
from autohealer.processes.program import files_of_module

SIGNS = (b"autohealer.worker", b"autohealer import worker", ENV_ZNODE.encode())
"""What is written in a program that registers itself."""

FILES_MAX = 200
FILE_BYTES_MAX = 64 * 1024 * 1024
TEXT_BYTES_MAX = 256 * 1024
"""As much of a file is searched for signs, and as much of a text for names of other files."""
STEPS_MAX = 3

_WORD = re.compile(rb"[A-Za-z0-9_.+@%~/-]{1,255}")


def sign_of_registering(argv: Sequence[str], folder: Path = Path()) -> str:
    """Where a command, run in a folder, shows that its program registers itself, in words; empty where nothing does."""
    if any(sign.decode() in word for word in argv[1:] for sign in SIGNS):
        return "its command says so"
    found = (path for path, data in texts_of(argv, folder) if any(sign in data for sign in SIGNS))
    return next((f"{path} says so" for path in found), "")


def texts_of(argv: Sequence[str], folder: Path) -> Iterator[tuple[Path, bytes]]:
    """What a command, run in a folder, names, and what that names, a few steps deep, each with what is in it."""
    seen: set[Path] = set()
    level = list(_named_by_command(argv, folder))
    for _ in range(STEPS_MAX + 1):
        following: dict[Path, None] = {}
        for path in level:
            data = _unless_seen(path, seen)
            if data:
                yield path, data
                text, beside = data[:TEXT_BYTES_MAX], path.resolve().parent
                following |= dict.fromkeys(_named_in(text, beside))
        level = list(following)


def _named_by_command(argv: Sequence[str], folder: Path) -> Iterator[Path]:
    for before, word in zip(("", *argv), argv, strict=False):
        if before == "-m":
            yield from files_of_module(word, folder)
        else:
            yield folder / word


def _unless_seen(path: Path, seen: set[Path]) -> bytes:
    """What a file has to say, the first time that it is asked; nothing where there is none."""
    try:
        if (
            not path.is_file()
        ):  # most words name nothing, and finding out more costs ten times as much
            return b""
        whole = path.resolve()
        if whole in seen or len(seen) >= FILES_MAX or not _is_on_disk(whole):
            return b""
        seen.add(whole)
        return _read(whole)
    except (OSError, ValueError, zipfile.BadZipFile):
        return b""  # not ours to read, or no name of a file at all: it shows nothing


def _is_on_disk(path: Path) -> bool:
    """Whether it is a file that ends; what the kernel shows as files may be read for ever."""
    return path.parts[1:2] not in {("dev",), ("proc",), ("sys",)}


def _read(path: Path) -> bytes:
    """What a file has to say. Raises `OSError`, `BadZipFile`."""
    if path.suffix == ".jar":
        with zipfile.ZipFile(path) as jar:
            classes = [it for it in jar.infolist() if it.file_size <= TEXT_BYTES_MAX][:FILES_MAX]
            return b"\0".join(jar.read(it) for it in classes)
    with path.open("rb") as file:
        return file.read(FILE_BYTES_MAX)


def _named_in(text: bytes, folder: Path) -> Iterator[Path]:
    """The files that words of a text name: as they are, beside it, as Python modules there, or after a `-m`."""
    if b"\0" in text:
        return
    words = [word.decode() for word in _WORD.findall(text)]
    for before, name in dict.fromkeys(zip(("", *words), words, strict=False)):
        if before == "-m":
            yield from files_of_module(name)
    for name in dict.fromkeys(words):
        yield folder / name
        if name.isidentifier():
            yield folder / f"{name}.py"
        elif "/" in name:
            yield Path(name)
