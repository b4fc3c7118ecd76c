"""The command of a group: its words, the program they begin with, and who registers what it runs.

Theory of operation. Text is split as a shell would, but none runs, and what only a shell could do is a mistake. The
program is looked for as on the command line, from the group's folder if it has one, else from the current one.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from autohealer.config.wishes import Wish
from autohealer.core.policy import Registrar
from autohealer.processes.program import Program, ProgramError, resolve_program
from autohealer.registering import RegisterBy, choose_registrar

_SHELLS = frozenset({"|", "||", "&&", "&", ";", ">", ">>", "<", "2>", "2>>", "2>&1", "&>"})
_PORT = "{port}"
_OPTION = re.compile(r"--(?P<name>[a-z]+(?:-[a-z]+)*)")


def program_of(wish: Wish, folder: Path | None, venv: Path | None) -> Program:
    """The command's words, the first being the path of a program; none where something is wrong with it.

    Where the group's folder or environment is lost, the program is not looked for.
    """
    try:
        words = words_of(wish.form.command)
        if (folder is None and wish.form.directory) or (venv is None and wish.form.venv):
            return Program(())
        found = resolve_program(words[0], folder or Path(), venv)
    except (ProgramError, ValueError) as error:
        wish.note(str(error), "command")
        return Program(())
    return Program((*found.argv, *words[1:]), found.why)


def words_of(command: str | list[str]) -> list[str]:
    """A command's words. Raises `ValueError` with a sentence."""
    words = _split(command) if isinstance(command, str) else command
    if not words or not words[0]:
        raise ValueError("this is empty: say what to run")
    if any("\0" in word for word in words):
        raise ValueError("there is a NUL in it, which no program can be given")
    return words


def _split(command: str) -> list[str]:
    try:
        words = shlex.split(command)
        as_written = shlex.split(command, posix=False)
    except ValueError as error:
        raise ValueError(f"this cannot be split into words ({str(error).lower()})") from None
    for word in as_written:
        if word in _SHELLS:
            raise ValueError(
                f"{word} is for a shell, and none runs: write "
                f'["sh", "-c", "…"], or quote it if the program is to have it'
            )
    return words


def check_placeholders(wish: Wish, environment: tuple[tuple[str, str], ...]) -> None:
    """Note where a port is asked for in a group that has none."""
    if wish.form.port is not None:
        return
    sentence = f"{_PORT} stands here, and group {wish.name!r} has no `port`"
    command = wish.form.command
    if isinstance(command, str) and _PORT in command:
        wish.note(sentence, "command")
    elif not isinstance(command, str):
        for number, word in enumerate(command):
            if _PORT in word:
                wish.note(sentence, "command", number)
    for name, value in environment:
        if _PORT in value:
            is_in_table = any(layer.says(("env", name)) for layer in wish.layers)
            wish.note(sentence, *(("env", name) if is_in_table else ("env_file",)))


def registrar_of(wish: Wish, argv: tuple[str, ...], folder: Path | None) -> tuple[Registrar, str]:
    """Who registers, and why where it is not said, in words of the command line."""
    return choose_registrar(
        RegisterBy(wish.form.register_ or "auto"),
        argv,
        folder=folder or Path(),
        expects_registration=wish.form.registration_timeout is not None,
    )


def in_words_of_file(sentence: str) -> str:
    """A sentence about options of the command line as one about keys, which have the same names."""
    said = re.sub(r"--register (self|agent|anonymous)", r'register = "\1"', sentence)
    return _OPTION.sub(lambda match: f"`{match['name'].replace('-', '_')}`", said)
