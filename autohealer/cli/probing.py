"""Probes of the command line: what is asked, with the numbers as they are by default."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from autohealer.healthspec import (
    ExecTarget,
    HealthSpec,
    ProbeSpec,
    ProbeTarget,
    parse_probe,
    texts_of,
)
from autohealer.settings import SettingsError

_HOW = "URL, tcp:PORT or exec:COMMAND; {slot} stands for its number."

Startup = Annotated[
    str | None,
    typer.Option(metavar="PROBE", help=f"Asked of a worker until it goes well once: {_HOW}"),
]
Readiness = Annotated[
    str | None,
    typer.Option(metavar="PROBE", help=f"A worker is ready only while this goes well: {_HOW}"),
]
Liveness = Annotated[
    str | None,
    typer.Option(
        metavar="PROBE", help=f"A worker that fails this three times is restarted: {_HOW}"
    ),
]
Notify = Annotated[
    bool,
    typer.Option("--notify", help="A worker is ready once it says READY=1 (sd_notify)."),
]
Watchdog = Annotated[
    float | None,
    typer.Option(
        min=0.1,
        max=86400,
        metavar="SECONDS",
        help="A worker has to say WATCHDOG=1 (sd_notify) at least this often, else it is restarted.",
    ),
]


def probes_of(startup: str | None, readiness: str | None, liveness: str | None) -> HealthSpec:
    """What is asked. Raises `SettingsError`, `ProgramError`."""
    return HealthSpec(
        startup=_spec("--startup", startup),
        readiness=_spec("--readiness", readiness),
        liveness=_spec("--liveness", liveness),
    )


def _spec(option: str, text: str | None) -> ProbeSpec | None:
    if text is None:
        return None
    try:
        target = parse_probe(text)
    except ValueError as error:
        raise SettingsError(f"{option}: {error}") from None
    if any("{port}" in word for word in texts_of(target)):
        raise SettingsError(
            f"{option}: {{port}} stands for a worker's port in a configuration file; here write {{slot}} for its number"
        )
    return ProbeSpec(_found(target))


def _found(target: ProbeTarget) -> ProbeTarget:
    """A command with its program found. Raises `ProgramError`."""
    from autohealer.processes.program import resolve_command  # who asks by command pays for it

    if not isinstance(target, ExecTarget):
        return target
    program, *words = target.argv
    return replace(target, argv=(*resolve_command(program).argv, *words))
