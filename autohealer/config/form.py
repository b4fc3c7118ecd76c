"""Which keys a configuration has, and what may stand there; the schema for editors is made from this.

Theory of operation. A key that is not said is None here: what it is by default is known to the settings alone, and
`[defaults]` can be told from what a group says itself. Only the form is checked, of each key for itself; what keys mean
together, and whether the machine has what they name, is asked afterwards.

Must never know: files, the machine, other groups.
"""

from __future__ import annotations

from signal import Signals
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
)

from autohealer.config import units
from autohealer.outputspec import KEEP_MAX
from autohealer.settings import PORT_MAX, REPLICAS_MAX

PROCESSORS_MAX = 1024

_DURATION = WithJsonSchema(
    {"type": "string", "pattern": units.DURATION_PATTERN, "examples": ["10s", "1m30s", "500ms"]}
)
_DURATION_OR_OFF = WithJsonSchema(
    {
        "anyOf": [
            {"type": "string", "pattern": units.DURATION_PATTERN},
            {"const": False},
        ],
        "examples": ["30s", False],
    }
)
_UMASK = WithJsonSchema({"type": "string", "pattern": units.UMASK_PATTERN, "examples": ["027"]})
_SIGNAL = WithJsonSchema(
    {"type": "string", "pattern": units.SIGNAL_PATTERN, "examples": ["TERM", "INT", "HUP"]}
)
_SIZE = WithJsonSchema(
    {
        "anyOf": [
            {"type": "string", "pattern": units.SIZE_PATTERN},
            {"type": "integer", "minimum": 0},
        ],
        "examples": ["10MiB", "512kB"],
    }
)

Whole = Annotated[int, BeforeValidator(units.number)]
Size = Annotated[ByteSize, BeforeValidator(units.size), _SIZE]


def _kind(value: object) -> str | None:
    return "text" if isinstance(value, str) else "list" if isinstance(value, list) else None


Words = Annotated[
    Annotated[str, Tag("text")] | Annotated[list[str], Tag("list")], Discriminator(_kind)
]


class Form(BaseModel):
    """A table: no keys but these, and nothing is turned into what it is not."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Restart(Form):
    """Who is replaced, and how long to wait after a launch whose worker never got ready."""

    policy: Annotated[
        Literal["always", "on-failure", "never"] | None,
        Field(
            description="Who is replaced: whoever ended (the default), who ended otherwise than with exit code 0 or by "
            "HUP, INT, PIPE or TERM, or nobody."
        ),
    ] = None

    initial: Annotated[
        float | None,
        BeforeValidator(units.seconds("10ms", "1h")),
        _DURATION,
        Field(description="Pause after the first such launch; doubled after each that follows."),
    ] = None
    max: Annotated[
        float | None,
        BeforeValidator(units.seconds("10ms", "1d")),
        _DURATION,
        Field(description="The longest pause."),
    ] = None


class Limits(Form):
    """What each process of a group may use, soft and hard limit alike (setrlimit(2)), and how it is ranked.

    And what a worker may use with all it starts.
    """

    nofile: Annotated[Whole | None, Field(ge=0, description="Open files.")] = None
    nproc: Annotated[Whole | None, Field(ge=0, description="Processes of the user.")] = None
    core: Annotated[Size | None, Field(description="Size of a core dump.")] = None
    memlock: Annotated[Size | None, Field(description="Memory locked into RAM.")] = None
    stack: Annotated[Size | None, Field(description="Size of the stack.")] = None
    address_space: Annotated[Size | None, Field(description="Virtual memory.")] = None
    memory_max: Annotated[
        Size | None,
        Field(
            description="Memory of a worker with all it starts (cgroup v2); enforced where that is delegated."
        ),
    ] = None
    memory_restart: Annotated[
        Size | None,
        Field(
            description="A worker that uses more with all it starts is replaced, one at a time. Needs no cgroup."
        ),
    ] = None
    cpu_max: Annotated[
        float | None,
        BeforeValidator(units.processors),
        Field(
            gt=0,
            le=PROCESSORS_MAX,
            description="Processors for a worker with all it starts, as 1.5; enforced where that is delegated.",
        ),
    ] = None
    nice: Annotated[
        Whole | None, Field(ge=-20, le=19, description="Priority: -20 is served first, 19 last.")
    ] = None
    oom_score_adj: Annotated[
        Whole | None,
        Field(
            ge=-1000, le=1000, description="1000 is killed first when memory is out, -1000 never."
        ),
    ] = None


class Output(Form):
    """What becomes of what workers write."""

    to: Annotated[
        Literal["file", "stdout", "journald", "null"] | None,
        Field(
            description="A file for each slot (the default), the daemon's own standard output (the default as the "
            "first process of a container), systemd's journal, or nowhere."
        ),
    ] = None
    max_size: Annotated[
        Size | None, Field(description="A worker's file is begun anew at this size.")
    ] = None
    keep: Annotated[
        Whole | None,
        Field(
            ge=0,
            le=KEEP_MAX,
            description="How many older files are kept. Default: 1; with more, no line is lost when one is begun.",
        ),
    ] = None
    timestamps: Annotated[
        bool | None,
        BeforeValidator(units.truth),
        Field(description="Whether the time stands before each line."),
    ] = None


class Probe(Form):
    """A question asked of each worker again and again: exactly one of http, tcp and exec.

    One of a group stands in place of a whole one of the defaults; one without any key takes that away.
    """

    http: Annotated[
        str | None,
        Field(description="GET this address, or this path of port {port}; 200 to 399 is well."),
    ] = None
    tcp: Annotated[
        str | None, Field(description="Connect to HOST:PORT, or to this port of this machine.")
    ] = None
    exec: Annotated[
        Words | None,
        Field(description="Run this as the worker is run; well where it ends with code 0."),
    ] = None
    delay: Annotated[
        float | None,
        BeforeValidator(units.seconds("0s", "1d")),
        _DURATION,
        Field(description="From the start to the first time. Default: 0s."),
    ] = None
    period: Annotated[
        float | None,
        BeforeValidator(units.seconds("50ms", "1d")),
        _DURATION,
        Field(description="From one time to the next. Default: 10s."),
    ] = None
    timeout: Annotated[
        float | None,
        BeforeValidator(units.seconds("10ms", "1h")),
        _DURATION,
        Field(description="What takes longer has failed. Default: 1s."),
    ] = None
    failures: Annotated[
        Whole | None,
        Field(ge=1, le=1_000_000, description="So many in a row make it fail. Default: 3."),
    ] = None
    successes: Annotated[
        Whole | None,
        Field(ge=1, le=1_000_000, description="So many in a row make it well again. Default: 1."),
    ] = None


class Common(Form):
    """What a group may say itself or have from `[defaults]`."""

    directory: Annotated[
        str | None,
        Field(description="Folder to run in; relative to this file. Default: the daemon's own."),
    ] = None
    venv: Annotated[
        str | None,
        Field(
            description="Virtual environment of the program; relative to this file. Default: looked for."
        ),
    ] = None
    user: Annotated[str | None, Field(description="User to run as. Needs root.")] = None
    group: Annotated[
        str | None, Field(description="Group to run as; that of the user by default. Needs root.")
    ] = None
    umask: Annotated[
        int | None,
        BeforeValidator(units.umask),
        _UMASK,
        Field(description="Permissions taken from new files, in octal."),
    ] = None
    env: Annotated[
        dict[str, str] | None,
        Field(description="Environment variables, set over those of the daemon and of env_file."),
    ] = None
    env_file: Annotated[
        Words | None,
        Field(description="File or files with NAME=VALUE on each line; relative to this file."),
    ] = None
    register_: Annotated[
        Literal["auto", "self", "agent", "anonymous"] | None,
        Field(
            alias="register",
            description=(
                "Who registers a worker in ZooKeeper: itself, the daemon (agent), or itself under a name of its own "
                "(anonymous)."
            ),
        ),
    ] = None
    session_timeout: Annotated[
        float | None,
        BeforeValidator(units.seconds("500ms", "10m")),
        _DURATION,
        Field(description="Until ZooKeeper gives up a silent worker."),
    ] = None
    registration_timeout: Annotated[
        float | None,
        BeforeValidator(units.seconds("100ms", "1d")),
        _DURATION,
        Field(description="What a new worker has to register in before it is replaced."),
    ] = None
    grace: Annotated[
        float | None,
        BeforeValidator(units.seconds("0s", "1d")),
        _DURATION,
        Field(description="From the stop signal to KILL."),
    ] = None
    min_ready: Annotated[
        float | None,
        BeforeValidator(units.seconds("0s", "1d")),
        _DURATION,
        Field(description="Shorter lives never count as ready, where the daemon registers."),
    ] = None
    stop_signal: Annotated[
        Signals | None,
        BeforeValidator(units.stop_signal),
        _SIGNAL,
        Field(description="What asks a worker to end."),
    ] = None
    restart: Annotated[Restart | None, Field(description="Who is replaced, and when.")] = None
    limits: Annotated[Limits | None, Field(description="What each process may use.")] = None
    output: Annotated[Output | None, Field(description="What workers write.")] = None
    startup: Annotated[
        Probe | None,
        Field(description="Asked until it goes well once; one that fails it is restarted."),
    ] = None
    readiness: Annotated[
        Probe | None,
        Field(description="A worker is ready, and registered by the daemon, while this goes well."),
    ] = None
    liveness: Annotated[
        Probe | None, Field(description="A worker that fails this is restarted.")
    ] = None
    notify: Annotated[
        bool | None,
        BeforeValidator(units.truth),
        Field(description="Ready once it says READY=1 (sd_notify) at $NOTIFY_SOCKET."),
    ] = None
    watchdog: Annotated[
        float | None,
        BeforeValidator(units.unless_off(units.seconds("100ms", "1d"))),
        _DURATION_OR_OFF,
        Field(
            description="It has to say WATCHDOG=1 at least this often, else it is restarted; false for never."
        ),
    ] = None


class Group(Common):
    """One command, and how many of it are kept alive."""

    command: Annotated[
        Words,
        Field(
            description="Text is split as a shell would, but no shell runs; a list is taken as it is."
        ),
    ]
    replicas: Annotated[
        Whole | None, Field(ge=0, le=REPLICAS_MAX, description="How many workers. Default: 1.")
    ] = None
    port: Annotated[
        Whole | None,
        Field(
            ge=1,
            le=PORT_MAX,
            description="{port} and $PORT are this plus the number of the slot.",
        ),
    ] = None
    after: Annotated[
        list[str] | None, Field(description="Groups that have to be ready before this one starts.")
    ] = None


class Daemon(Form):
    """What all groups share."""

    zookeeper: Annotated[
        str | None,
        Field(description="auto, embedded[:PORT] or HOST:PORT,HOST:PORT[/chroot]. Default: auto."),
    ] = None
    zookeeper_auth: Annotated[
        str | None, Field(description="Private file with a line digest:USER:PASSWORD.")
    ] = None
    zookeeper_tls_ca: Annotated[
        str | None, Field(description="PEM file that ZooKeeper's certificate is checked against.")
    ] = None
    zookeeper_tls_cert: Annotated[
        str | None, Field(description="PEM file with our own certificate.")
    ] = None
    zookeeper_tls_key: Annotated[
        str | None, Field(description="PEM file with its key. Default: in the same file.")
    ] = None
    zookeeper_open: Annotated[
        bool | None,
        BeforeValidator(units.truth),
        Field(description="Whether every user of this machine may use the embedded server."),
    ] = None
    state_dir: Annotated[
        str | None, Field(description="Where locks and worker output are; relative to this file.")
    ] = None


class Configuration(Form):
    """A whole file."""

    include: Annotated[
        list[str] | None,
        Field(description="More files with [group.*] tables, as patterns; relative to this file."),
    ] = None
    daemon: Annotated[Daemon | None, Field(description="What all groups share.")] = None
    defaults: Annotated[Common | None, Field(description="What every group starts from.")] = None
    group: Annotated[dict[str, Group] | None, Field(description="What is kept alive.")] = None
