"""Options that several commands take, and what they mean."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autohealer.cli.exit_codes import ExitCode
from autohealer.cli.failing import fail
from autohealer.contract import (
    ENV_ZOOKEEPER_AUTH,
    ENV_ZOOKEEPER_TLS_CA,
    ENV_ZOOKEEPER_TLS_CERT,
    ENV_ZOOKEEPER_TLS_KEY,
)
from autohealer.settings import NoStateDir, default_state_dir
from autohealer.telemetry.formats import LogFormat

LogFormatOption = Annotated[
    LogFormat,
    typer.Option(help="auto: console on a terminal, one JSON object per line elsewhere."),
]

ZooKeeper = Annotated[
    str,
    typer.Option(
        envvar="AUTOHEALER_ZOOKEEPER",
        help="auto: the ZooKeeper on 127.0.0.1:2181 if one answers, else an embedded server there; "
        "embedded[:PORT]; or HOST:PORT,HOST:PORT[/chroot].",
    ),
]
ZooKeeperAuth = Annotated[
    str | None,
    typer.Option(
        envvar=ENV_ZOOKEEPER_AUTH,
        metavar="FILE",
        help="Who we are to ZooKeeper: a file, readable for nobody else, with a line digest:USER:PASSWORD or "
        "sasl:USER:PASSWORD. Registrations are then this user's alone.",
    ),
]
ZooKeeperTlsCa = Annotated[
    str | None,
    typer.Option(
        envvar=ENV_ZOOKEEPER_TLS_CA,
        metavar="FILE",
        help="Speak TLS; ZooKeeper's certificate has to be signed by one in this file (PEM).",
    ),
]
ZooKeeperTlsCert = Annotated[
    str | None,
    typer.Option(envvar=ENV_ZOOKEEPER_TLS_CERT, metavar="FILE", help="Our own certificate (PEM)."),
]
ZooKeeperTlsKey = Annotated[
    str | None,
    typer.Option(
        envvar=ENV_ZOOKEEPER_TLS_KEY,
        metavar="FILE",
        help="Its key (PEM), readable for nobody else. [default: in the same file]",
    ),
]
ZooKeeperOpen = Annotated[
    bool,
    typer.Option(
        "--zookeeper-open",
        help="Let every user of this machine use the embedded server, which lets them end every worker. "
        "[default: only this user and root]",
    ),
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
