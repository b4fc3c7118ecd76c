"""Options that several commands take, and what they mean."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autohealer.cli.exit_codes import ExitCode
from autohealer.cli.failing import fail
from autohealer.registering import RegisterBy
from autohealer.settings import NoStateDir, default_state_dir
from autohealer.telemetry.formats import LogFormat

LogFormatOption = Annotated[
    LogFormat,
    typer.Option(help="auto: console on a terminal, one JSON object per line elsewhere."),
]

StateDir = Annotated[
    Path | None,
    typer.Option(
        readable=False,  # who may not look is told so in our own words
        help="Where locks, worker output and the embedded server's data live. [default: XDG state home]",
    ),
]


ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "-c",
        "--config",
        metavar="FILE",
        readable=False,  # as above
        help="Which file. [default: autohealer.toml here, else /etc/autohealer/autohealer.toml]",
    ),
]


Register = Annotated[
    RegisterBy,
    typer.Option(
        help="Who registers in ZooKeeper: self, the program does (by autohealer.worker, or as AUTOHEALER_ZNODE "
        "says); agent, the daemon does it for any program while that runs; anonymous, the program does under a "
        "name of its own below /workers; auto: self where the program shows that it uses one of the first "
        "two, or a timeout for registering is given, else agent.",
    ),
]


def state_dir_of(given: Path | None) -> Path:
    """The state directory, as an absolute path."""
    try:
        return (given or default_state_dir()).absolute()
    except NoStateDir as error:
        fail(ExitCode.ENVIRONMENT, error)
    except FileNotFoundError:
        fail(
            ExitCode.ENVIRONMENT,
            f"the current folder does not exist any more, so the state directory {given} means nothing: "
            "go to a folder that does, or give an absolute path",
        )
