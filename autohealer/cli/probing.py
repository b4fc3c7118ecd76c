"""Probes of the command line: what is asked, with the numbers as they are by default."""

from __future__ import annotations

from typing import Annotated

import typer

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


def probes_said(
    startup: str | None, readiness: str | None, liveness: str | None
) -> dict[str, str | None]:
    """The keys of a file that these options stand for: `http`, `tcp` or `exec` in the table of each."""
    probes = {"startup": startup, "readiness": readiness, "liveness": liveness}
    return dict(_key_of(table, text) for table, text in probes.items() if text is not None)


def notify_said(says_ready: bool, watchdog_s: float | None) -> dict[str, str | None]:  # noqa: FBT001 - an option
    """What a worker is to say by itself, as a file has it."""
    return {
        "notify": "true" if says_ready else None,
        "watchdog": None if watchdog_s is None else f"{watchdog_s:g}s",
    }


def _key_of(table: str, text: str) -> tuple[str, str]:
    kind, _, rest = text.partition(":")
    return (f"{table}.{kind}", rest) if kind in {"tcp", "exec"} else (f"{table}.http", text)
