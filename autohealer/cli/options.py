"""Options that several commands take, and what they mean."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autohealer.cli.exit_codes import ExitCode
from autohealer.cli.failing import fail
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
