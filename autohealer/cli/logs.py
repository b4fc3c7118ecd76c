"""The command that shows what workers wrote."""

from __future__ import annotations

from typing import Annotated

import typer

from autohealer.cli.options import StateDir

_EPILOG = (
    "TARGET is GROUP, GROUP/3, GROUP/0-3 or GROUP/0,4-6; where one group runs, 3 or 0-3 alone means its slots, and "
    "nothing means all groups. Lines of several slots stand in order of time where timestamps = true is set, else "
    "slot by slot. Exit codes: 0 also where nothing was written yet; 2 no such group or slot; 5 a file cannot be "
    "read; 6 nothing ever ran; 7 output goes elsewhere (the journal, the daemon's own, nowhere)."
)


def logs(
    targets: Annotated[
        list[str] | None,
        typer.Argument(metavar="TARGET", help="Which groups or slots.", show_default=False),
    ] = None,
    follow: Annotated[
        bool, typer.Option("-f", "--follow", help="Go on with what is written, until Ctrl-C.")
    ] = False,
    lines: Annotated[
        str | None,
        typer.Option(
            "-n",
            "--lines",
            metavar="N",
            help="The last N lines of each slot, or all. [default: 50; all of those looked for]",
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="WHEN",
            help="5m, 2h, or a time such as 2026-11-27T10:00:00. Where lines carry no times, only files that were "
            "not written to since are left out.",
        ),
    ] = None,
    grep: Annotated[
        str | None,
        typer.Option(metavar="RE", help="Only lines in which this regular expression is found."),
    ] = None,
    timestamps: Annotated[
        bool,
        typer.Option("-t", "--timestamps", help="The time before each line, where it is known."),
    ] = False,
    prefix: Annotated[
        bool | None,
        typer.Option(
            "--prefix/--no-prefix",
            help="The slot before each line. [default: where there are several]",
            show_default=False,
        ),
    ] = None,
    state_dir: StateDir = None,
) -> None:
    """Show what workers wrote; -f follows through restarts.

    Needs no running daemon. Following goes on through restarts of workers and of the daemon, files that are begun
    anew, and scaling. What they wrote last before they died: `autohealer why`.
    """
    from autohealer.cli import log_showing
    from autohealer.cli.log_choice import choose, wanted_of

    wanted = wanted_of(lines, since, grep)
    choice = choose(state_dir, targets or [], follow=follow)
    log_showing.show(choice, wanted, follow=follow, with_times=timestamps, with_names=prefix)


def add_to(app: typer.Typer) -> None:
    """Make it a command."""
    app.command(epilog=_EPILOG)(logs)
