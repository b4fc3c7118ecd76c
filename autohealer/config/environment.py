"""What a group's processes find in their environment, from `env` and the files of `env_file`.

Theory of operation. What is written nearer counts more: a group's `env` over its files, these over the `env` of the
defaults, and that over the files of the defaults, which are not read for a group with files of its own. In a file each
line is NAME=VALUE with the quotes and comments that .env files have, and no dollar means anything.

Must never know: what a program makes of it.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

from autohealer.config.files import Unreadable, read_text
from autohealer.config.wishes import Layer, Wish

RESERVED = "AUTOHEALER_"
_NAME = re.compile(r"[^=\0]+")


def environment_of(wish: Wish) -> tuple[tuple[str, str], ...]:
    """Names and values in the order of names; what is wrong is noted."""
    found: dict[str, str] = {}
    files = wish.source_of("env_file")
    for layer in wish.layers:
        if layer is files:
            found |= _of_files(layer, wish)
        found |= _of_table(layer, wish)
    return tuple(sorted(found.items()))


def _of_table(layer: Layer, wish: Wish) -> Iterator[tuple[str, str]]:
    for name, value in (layer.form.env or {}).items():
        if trouble := _trouble_with(name, value):
            wish.mistakes.note(layer.place_of(("env", name)), (*layer.at, "env", name), trouble)
        else:
            yield name, value


def _of_files(layer: Layer, wish: Wish) -> Iterator[tuple[str, str]]:
    named = layer.form.env_file
    for number, name in enumerate([named] if isinstance(named, str) else named or []):
        keys = ("env_file",) if isinstance(named, str) else ("env_file", number)
        try:
            yield from _read(layer.folder / name)
        except ValueError as error:
            wish.mistakes.note(layer.place_of(keys), (*layer.at, *keys), str(error))


def _read(path: Path) -> list[tuple[str, str]]:
    """The variables of a file. Raises `ValueError` with a sentence."""
    from dotenv.parser import parse_stream  # who has such a file pays for it

    try:
        text = read_text(path)
    except Unreadable as error:
        raise ValueError(f"{path} {error}") from None
    found = []
    for binding in parse_stream(io.StringIO(text)):
        if binding.error or (binding.key is not None and binding.value is None):
            raise ValueError(f"{path}, line {binding.original.line}: write NAME=VALUE")
        if binding.key is None or binding.value is None:
            continue  # a comment, or nothing
        if trouble := _trouble_with(binding.key, binding.value):
            raise ValueError(f"{path}, line {binding.original.line}: {binding.key}: {trouble}")
        found.append((binding.key, binding.value))
    return found


def _trouble_with(name: str, value: str) -> str:
    """Why a variable cannot be, in words; empty where it can."""
    if _NAME.fullmatch(name) is None:
        return "this cannot name an environment variable: it is empty, or has a = or NUL in it"
    if name.startswith(RESERVED):
        return f"names that begin with {RESERVED} are given by autohealer itself: choose another"
    return "there is a NUL in it, which no program can be given" if "\0" in value else ""
