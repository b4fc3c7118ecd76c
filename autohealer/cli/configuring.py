"""What is said of a configuration file without starting anything: its mistakes, what it would keep, a first one."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from autohealer.cli.exit_codes import ExitCode
from autohealer.cli.failing import fail, fail_for_mistakes
from autohealer.config import ConfigError, find, read
from autohealer.config.finding import NAME
from autohealer.printable import printable
from autohealer.processes.cgroup import why_not_enforced
from autohealer.settings import DaemonSettings, GroupSettings

COMMAND_CHARS = 70


def settings_of(named: Path | None, state_dir: Path | None) -> DaemonSettings:
    """What a configuration file says; with mistakes in it they are told and the command ends."""
    try:
        return read(find(named), os.environ, state_dir)
    except ConfigError as error:
        fail_for_mistakes(str(error), error.count, "nothing was started")


def summary(settings: DaemonSettings) -> Iterator[str]:
    """What would be kept, a line for each group below one for all."""
    groups, workers = len(settings.groups), settings.replicas
    told = f"{groups} group{'s' * (groups != 1)}, {workers} worker{'s' * (workers != 1)}"
    yield f"{printable(str(settings.config))}: {told}: ok"
    width = max(len(group.name) for group in settings.groups)
    for group in settings.groups:
        yield f"  {group.name:{width}}  {_told(group)}"
        if unenforced := why_not_enforced(group.launch.tree_limits):
            yield f"  {group.name:{width}}  started as this is, {unenforced}"


def _told(group: GroupSettings) -> str:
    command = printable(shlex.join(group.launch.argv))
    shown = command if len(command) <= COMMAND_CHARS else f"{command[: COMMAND_CHARS - 1]}…"
    after = f", after {' and '.join(group.after)}" if group.after else ""
    return f"{group.replicas} of {shown} (register: {group.launch.registrar.value}{after})"


def write_example(named: Path | None) -> Path:
    """Write a first configuration file; where there is one already the command ends."""
    path = named or Path(NAME)
    text = files("autohealer.config").joinpath("example.toml").read_text(encoding="utf-8")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        fail(ExitCode.USAGE, f"{path} is there already: it is left as it is")
    except OSError as error:
        fail(ExitCode.ENVIRONMENT, f"{path} cannot be written: {error.strerror}")
    return path
