"""Options of `run` that say what the table of a group says in a configuration file, and what becomes of them.

What they may say is checked where the file is checked, so that both take the same and tell of the same mistakes.
"""

from __future__ import annotations

from typing import Annotated

import typer

from autohealer.registering import RegisterBy

Register = Annotated[
    RegisterBy,
    typer.Option(
        help="Who registers in ZooKeeper: self, the program does (by autohealer.worker, or as AUTOHEALER_ZNODE "
        "says); agent, the daemon does it for any program while that runs; anonymous, the program does under a "
        "name of its own below /workers; auto: self where the program shows that it uses one of the first "
        "two, or a timeout for registering is given, else agent.",
    ),
]
SessionTimeout = Annotated[
    float,
    typer.Option(
        min=0.5,
        max=600,
        metavar="SECONDS",
        help="Seconds until ZooKeeper gives up a silent worker; bounds how long a frozen one stays.",
    ),
]
RegistrationTimeout = Annotated[
    float,
    typer.Option(
        min=0.1,
        max=86400,
        metavar="SECONDS",
        help="Seconds a new worker has to register before it is replaced.",
    ),
]
Grace = Annotated[
    float,
    typer.Option(
        min=0,
        max=86400,
        metavar="SECONDS",
        help="Seconds between TERM and KILL when a worker is stopped.",
    ),
]
Directory = Annotated[
    str | None,
    typer.Option(metavar="FOLDER", help="Where workers run. [default: where this is run]"),
]
Env = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=VALUE",
        help="A variable of their environment, besides what they have from here; may be given again. In it, and in "
        "ARGS, {slot}, {group}, {host}, {generation} and {port} stand for a worker's own.",
    ),
]
EnvFile = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILE",
        help="A file with NAME=VALUE on each line; may be given again. What is later counts more.",
    ),
]
User = Annotated[str | None, typer.Option(metavar="USER", help="As whom workers run. Needs root.")]
Umask = Annotated[
    str | None, typer.Option(metavar="MASK", help="Permissions taken from new files, as 027.")
]
Port = Annotated[
    str | None,
    typer.Option(
        metavar="PORT",
        help="Slot n gets this plus n: as {port} in ARGS, and as PORT in its environment.",
    ),
]
StopSignal = Annotated[
    str | None, typer.Option(metavar="NAME", help="What asks a worker to end. [default: TERM]")
]
MinReady = Annotated[
    str | None,
    typer.Option(
        metavar="DURATION", help="Shorter lives never count as ready, as 5s. [default: 1s]"
    ),
]
OutputTarget = Annotated[
    str | None,
    typer.Option(
        "--output",
        metavar="WHERE",
        help="What becomes of what workers write: file, one for each slot in the state directory; stdout, our own "
        "standard output; journald; or null. [default: file; stdout as the first process of a container]",
    ),
]
RestartPolicy = Annotated[
    str | None,
    typer.Option(
        "--restart",
        metavar="POLICY",
        help="Who is replaced: always, whoever ended; on-failure, who ended otherwise than with exit code 0, or by "
        "HUP, INT, PIPE or TERM; never, nobody. When all are done, so is the daemon. [default: always]",
    ),
]
MemoryRestart = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        help="A worker that uses more memory than this with all it starts, as 400MiB, is replaced, one at a time, each "
        "ready before the next. [default: whatever it uses]",
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Any other key of a group in a configuration file, as limits.nofile=65536 or output.timestamps=true; "
        "may be given again.",
    ),
]


def durations_given(context: typer.Context, **values_s: float) -> dict[str, str]:
    """Options in seconds as a file has durations, as far as they were given."""
    given = {}
    for name, value_s in values_s.items():
        source = context.get_parameter_source(name)
        if source is not None and source.name != "DEFAULT":
            given[name] = f"{value_s:g}s"
    return given


def of_tables(
    output: str | None, restart: str | None, memory_restart: str | None
) -> dict[str, str | None]:
    """What stands in tables of a group in a file."""
    return {
        "output.to": output,
        "restart.policy": restart,
        "limits.memory_restart": memory_restart,
    }
