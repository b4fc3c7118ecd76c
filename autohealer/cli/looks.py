"""The commands that only look: status and why."""

from __future__ import annotations

from typing import Annotated

import typer

from autohealer.cli.exit_codes import ExitCode
from autohealer.cli.failing import fail
from autohealer.cli.options import StateDir
from autohealer.cli.streams import say
from autohealer.cli.targets import WrongTarget, parse_named
from autohealer.printable import printable

Group = Annotated[str | None, typer.Option(help="Only this group.")]


def status(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="[TARGET]", help="Only this group, or these slots.", show_default=False
        ),
    ] = None,
    group: Group = None,
    json: Annotated[bool, typer.Option("--json", help="The whole answer, for programs.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="A line a group; exit code 7 where not all are ready.")
    ] = False,
    state_dir: StateDir = None,
) -> None:
    """Show each worker: its state, how old each fact is, and why.

    TARGET is GROUP, GROUP/3, GROUP/0-3, or slots alone.
    """
    from autohealer.cli.daemons import Refused, ask_daemons, group_names
    from autohealer.cli.looking import state_dir_to_look_in
    from autohealer.cli.showing import check_found, show_found

    base = state_dir_to_look_in(state_dir)
    try:
        meant = parse_named(target, group, group_names(base))
        found = ask_daemons(base, meant.group)
    except Refused as error:
        fail(error.code, error)
    except WrongTarget as error:
        fail(ExitCode.USAGE, error)
    well = check_found(found, meant) if check else show_found(found, meant, as_json=json)
    for sentence in (*(silence.sentence for silence in found.silent), *found.gone):
        say(f"autohealer: {sentence}")
    if found.silent or not found.answers:
        raise typer.Exit(ExitCode.NO_DAEMON)
    if not well:
        raise typer.Exit(ExitCode.NOT_REACHED)


def why(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="[TARGET]", help="Only this group, or these slots.", show_default=False
        ),
    ] = None,
    last: Annotated[int, typer.Option(min=1, help="How many of the newest events.")] = 20,
    group: Group = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
    state_dir: StateDir = None,
) -> None:
    """Tell why workers ended, with their last words. Needs no running daemon.

    TARGET is GROUP, GROUP/3, GROUP/0-3, or slots alone. All that they wrote: `autohealer logs`.
    """
    from autohealer.cli.daemons import Refused, group_names
    from autohealer.cli.histories import histories
    from autohealer.cli.history_lines import print_history
    from autohealer.cli.looking import state_dir_to_look_in

    base = state_dir_to_look_in(state_dir)
    try:
        meant = parse_named(target, group, group_names(base))
        told = histories(base, meant, one_only=json)
    except Refused as error:
        fail(error.code, error)
    except WrongTarget as error:
        fail(ExitCode.USAGE, error)
    for name, entries in told.items():
        if len(told) > 1:
            print(f"{printable(name)}:")  # noqa: T201
        if not entries and not json:
            print("nothing happened yet")  # noqa: T201
        print_history(entries[-last:], as_json=json)


def add_to(app: typer.Typer) -> None:
    """Make them commands."""
    app.command()(status)
    app.command()(why)
