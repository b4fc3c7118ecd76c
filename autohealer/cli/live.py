"""The commands that change a running group: scale, stop, start, restart, signal. Each waits until it is as asked."""

from __future__ import annotations

from typing import Annotated

import typer

from autohealer.cli.options import StateDir

_TARGETS = (
    "TARGET is GROUP, GROUP/3, GROUP/0-3 or GROUP/0,4-6; where one group runs, 3 or 0-3 alone means its slots, and "
    "nothing means the group."
)
Target = Annotated[
    str | None, typer.Argument(metavar="[TARGET]", help="Which group or slots.", show_default=False)
]
Timeout = Annotated[
    float,
    typer.Option(
        min=0.0, metavar="SECONDS", help="How long to wait; after that the exit code is 7."
    ),
]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Return as soon as it is ordered.")]
TIMEOUT_S = 600.0


def scale(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[GROUP] N", help="How many workers: N, or +K or -K.", show_default=False
        ),
    ] = None,
    reset: Annotated[
        bool, typer.Option("--reset", help="As many as the configuration says.")
    ] = False,
    timeout: Timeout = TIMEOUT_S,
    no_wait: NoWait = False,
    state_dir: StateDir = None,
) -> None:
    """Change how many workers a group keeps.

    It outlasts the daemon, until the configuration says another number itself, and touches nobody else.
    """
    from autohealer.cli import operating

    operating.scale(state_dir, words or [], _patience_s(timeout, no_wait), reset=reset)


def stop(
    target: Target = None,
    timeout: Timeout = TIMEOUT_S,
    no_wait: NoWait = False,
    state_dir: StateDir = None,
) -> None:
    """Drain workers and keep them stopped.

    They stay stopped, whatever becomes of the daemon, until they are started.
    """
    from autohealer.cli import operating

    operating.stop(state_dir, target, _patience_s(timeout, no_wait))


def start(
    target: Target = None,
    timeout: Timeout = TIMEOUT_S,
    no_wait: NoWait = False,
    state_dir: StateDir = None,
) -> None:
    """Start what was stopped; retry what is quarantined.

    Also what waits after a failed start, and what is done.
    """
    from autohealer.cli import operating

    operating.start(state_dir, target, _patience_s(timeout, no_wait))


def restart(
    target: Target = None,
    timeout: Timeout = TIMEOUT_S,
    no_wait: NoWait = False,
    state_dir: StateDir = None,
) -> None:
    """Replace workers one at a time, each ready before the next.

    It goes on where it was when the daemon ends in between. What is stopped stays stopped.
    """
    from autohealer.cli import operating

    operating.restart(state_dir, target, _patience_s(timeout, no_wait))


def signal(
    name: Annotated[
        str,
        typer.Argument(metavar="SIGNAL", help="Its name, such as HUP or USR1.", show_default=False),
    ],
    target: Target = None,
    state_dir: StateDir = None,
) -> None:
    """Send a signal to workers.

    To the processes that were launched, not to what they started.
    """
    from autohealer.cli import operating

    operating.send(state_dir, name, target)


def _patience_s(timeout_s: float, no_wait: bool) -> float:  # noqa: FBT001 - a flag as it was given
    return 0.0 if no_wait else timeout_s


def add_to(app: typer.Typer) -> None:
    """Make them commands; a number with a sign is no option of `scale`."""
    app.command(context_settings={"ignore_unknown_options": True})(scale)
    for command in (stop, start, restart, signal):
        app.command(epilog=_TARGETS)(command)
