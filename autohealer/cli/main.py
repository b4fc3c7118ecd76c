"""The commands, `run` being the default one. Mistakes become one sentence and an exit code."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from autohealer.cli import live, logs
from autohealer.cli.default_command import DefaultCommandGroup
from autohealer.cli.exit_codes import ExitCode
from autohealer.cli.failing import fail
from autohealer.cli.group_options import (
    Directory,
    Env,
    EnvFile,
    Grace,
    MemoryRestart,
    MinReady,
    OutputTarget,
    Port,
    Register,
    RegistrationTimeout,
    RestartPolicy,
    SessionTimeout,
    Set,
    StopSignal,
    Umask,
    User,
    durations_given,
    of_tables,
)
from autohealer.cli.options import (
    ConfigFile,
    LogFormatOption,
    StateDir,
    ZooKeeper,
    ZooKeeperAuth,
    ZooKeeperOpen,
    ZooKeeperTlsCa,
    ZooKeeperTlsCert,
    ZooKeeperTlsKey,
    state_dir_of,
)
from autohealer.cli.probing import (
    Liveness,
    Notify,
    Readiness,
    Startup,
    Watchdog,
    notify_said,
    probes_said,
)
from autohealer.cli.streams import OutputLost, finish_output, mend_streams, say
from autohealer.cli.terminal import help_width, table_width, wants_colors
from autohealer.contract import (
    DEFAULT_SESSION_TIMEOUT_S,
)
from autohealer.printable import printable, printable_json
from autohealer.registering import RegisterBy
from autohealer.settings import (
    EMBEDDED_PORT,
    GRACE_S,
    REGISTRATION_TIMEOUT_S,
    DaemonSettings,
    SettingsError,
    default_state_dir,
    group_of_program,
    parse_credentials,
    parse_group,
    parse_replicas,
    parse_target,
)
from autohealer.telemetry.formats import LogFormat

if TYPE_CHECKING:
    from autohealer.config.oneliner import Said

_EPILOG = (
    "Exit codes: 0 done, or stopped as asked; 1 internal error; 2 wrong usage; 3 no ZooKeeper; "
    "4 another daemon keeps this group; 5 the machine, the state directory or the output will not do; "
    "6 no daemon answers; 7 what was asked for was not reached, or all workers are done and some failed."
)


app = typer.Typer(
    cls=DefaultCommandGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(version("autohealer"))  # noqa: T201
        raise typer.Exit


@app.callback()
def group(
    version: Annotated[
        bool,
        typer.Option(
            "-V", "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Keep N workers alive, whatever dies.

    \b
    autohealer 10 flaky_worker      keep ten alive: short for `autohealer run 10 flaky_worker`
    autohealer status               what runs, and since when
    autohealer why 3                what befell slot 3, and its last words
    autohealer logs -f              what workers write
    autohealer run --help           the options, which stand before PROGRAM
    """


@app.command(context_settings={"allow_interspersed_args": False}, epilog=_EPILOG)
def run(
    context: typer.Context,
    n: Annotated[
        str, typer.Argument(metavar="N", help="How many workers to keep alive (0 to 10000).")
    ],
    program: Annotated[
        str,
        typer.Argument(
            metavar="PROGRAM",
            help="What to run: a file, a Python module with __main__, or a command on PATH.",
        ),
    ],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="ARGS", help="Passed on to every worker as they are."),
    ] = None,
    zookeeper: ZooKeeper = "auto",
    zookeeper_auth: ZooKeeperAuth = None,
    zookeeper_tls_ca: ZooKeeperTlsCa = None,
    zookeeper_tls_cert: ZooKeeperTlsCert = None,
    zookeeper_tls_key: ZooKeeperTlsKey = None,
    zookeeper_open: ZooKeeperOpen = False,
    group: Annotated[
        str | None,
        typer.Option(help="Name of the group, seen in /workers. [default: the program's name]"),
    ] = None,
    register: Register = RegisterBy.AUTO,
    session_timeout: SessionTimeout = DEFAULT_SESSION_TIMEOUT_S,
    registration_timeout: RegistrationTimeout = REGISTRATION_TIMEOUT_S,
    grace: Grace = GRACE_S,
    min_ready: MinReady = None,
    startup: Startup = None,
    readiness: Readiness = None,
    liveness: Liveness = None,
    notify: Notify = False,
    watchdog: Watchdog = None,
    directory: Directory = None,
    env: Env = None,
    env_file: EnvFile = None,
    user: User = None,
    umask: Umask = None,
    port: Port = None,
    stop_signal: StopSignal = None,
    output: OutputTarget = None,
    restart: RestartPolicy = None,
    memory_restart: MemoryRestart = None,
    sets: Set = None,
    state_dir: StateDir = None,
    log_format: LogFormatOption = LogFormat.AUTO,
) -> None:
    """Keep N copies of PROGRAM alive (the default command).

    A worker whose process dies, or whose registration in ZooKeeper vanishes, is replaced. Ctrl-C or TERM stops
    everything; a second one kills at once.
    """
    from autohealer.config.oneliner import group_of_options

    words = arguments or []
    said: Said = {
        "register": None if register is RegisterBy.AUTO else register.value,
        **durations_given(
            context,
            session_timeout=session_timeout,
            registration_timeout=registration_timeout,
            grace=grace,
        ),
        **(probes_said(startup, readiness, liveness) | notify_said(notify, watchdog)),
        "min_ready": min_ready,
        "directory": directory,
        "env": env,
        "env_file": env_file,
        "user": user,
        "umask": umask,
        "port": port,
        "stop_signal": stop_signal,
        **of_tables(output, restart, memory_restart),
    }
    try:
        target = parse_target(zookeeper)
        name = group_of_program(program, words) if group is None else parse_group(group)
        of_group = group_of_options(name, parse_replicas(n), [program, *words], said, sets or [])
        settings = DaemonSettings(
            state_dir_of(state_dir),
            target,
            (of_group,),
            parse_credentials(
                target,
                auth=zookeeper_auth,
                tls_ca=zookeeper_tls_ca,
                tls_cert=zookeeper_tls_cert,
                tls_key=zookeeper_tls_key,
            ),
            zookeeper_open,
        )
    except SettingsError as error:
        fail(ExitCode.USAGE, error)
    from autohealer.cli.keeping import keep  # its libraries only now: mistakes and help are quick

    keep(settings, log_format)


@app.command()
def up(
    config: ConfigFile = None,
    state_dir: StateDir = None,
    log_format: LogFormatOption = LogFormat.AUTO,
) -> None:
    """Keep the groups of a configuration file alive.

    A mistake in the file is told and nothing is started. Ctrl-C or TERM stops everything, groups that come after
    others before these; a second one kills at once.
    """
    from autohealer.cli.configuring import settings_of

    settings = settings_of(config, None if state_dir is None else state_dir_of(state_dir))
    from autohealer.cli.keeping import keep

    keep(settings, log_format)


@app.command()
def check(
    config: ConfigFile = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON schema instead, for editors.")
    ] = False,
) -> None:
    """Check a configuration file; nothing is started.

    Every mistake is told at once, with its line.
    """
    from autohealer.cli.configuring import settings_of, summary

    if schema:
        from autohealer.config.schema import schema as make_schema

        print(make_schema(), end="")  # noqa: T201
        return
    print("\n".join(summary(settings_of(config, None))))  # noqa: T201


@app.command()
def init(config: ConfigFile = None) -> None:
    """Write a commented autohealer.toml."""
    from autohealer.cli.configuring import write_example

    path = write_example(config)
    print(f"{printable(str(path))}: written; `autohealer up` keeps what it says alive")  # noqa: T201


@app.command()
def status(
    group: Annotated[str | None, typer.Option(help="Only this group.")] = None,
    json: Annotated[bool, typer.Option("--json", help="The whole answer, for programs.")] = False,
    state_dir: StateDir = None,
) -> None:
    """Show each worker: its state, how old each fact is, and why."""
    from rich.console import Console

    from autohealer.cli.daemons import Refused, ask_daemons
    from autohealer.cli.looking import state_dir_to_look_in
    from autohealer.cli.status_table import print_status
    from autohealer.control.client import parse_status

    base = state_dir_to_look_in(state_dir)
    try:
        found = ask_daemons(base, group)
    except Refused as error:
        fail(error.code, error)
    plain = None if wants_colors(os.environ) else True
    console = Console(soft_wrap=False, width=table_width(os.environ), no_color=plain)
    for answer in found.answers.values():
        if json:
            print(printable_json(answer.body.decode()))  # noqa: T201
        else:
            print_status(parse_status(answer.body), console)
    for sentence in (*(silence.sentence for silence in found.silent), *found.gone):
        say(f"autohealer: {sentence}")
    if found.silent or not found.answers:
        raise typer.Exit(ExitCode.NO_DAEMON)


@app.command()
def why(
    slot: Annotated[int | None, typer.Argument(min=0, help="Only what befell this slot.")] = None,
    last: Annotated[int, typer.Option(min=1, help="How many of the newest events.")] = 20,
    group: Annotated[str | None, typer.Option(help="Only this group.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
    state_dir: StateDir = None,
) -> None:
    """Tell why workers ended, with their last words. Needs no running daemon.

    All that they wrote: `autohealer logs`.
    """
    from autohealer.cli.daemons import Refused
    from autohealer.cli.histories import histories
    from autohealer.cli.history_lines import print_history
    from autohealer.cli.looking import state_dir_to_look_in

    base = state_dir_to_look_in(state_dir)
    try:
        told = histories(base, group, slot, one_only=json)
    except Refused as error:
        fail(error.code, error)
    for name, entries in told.items():
        if len(told) > 1:
            print(f"{printable(name)}:")  # noqa: T201
        if not entries and not json:
            print("nothing happened yet")  # noqa: T201
        print_history(entries[-last:], as_json=json)


@app.command()
def detach(
    group: Annotated[
        str | None, typer.Option(help="A group of the daemon, where several run.")
    ] = None,
    state_dir: StateDir = None,
) -> None:
    """End the daemon and leave its workers running for the next one.

    For upgrades: detach, install, start again: the next daemon of its groups adopts them, and none is restarted.
    """
    from autohealer.cli.ending import detach_daemon
    from autohealer.cli.looking import state_dir_to_look_in

    print(detach_daemon(state_dir_to_look_in(state_dir), group))  # noqa: T201


@app.command()
def down(
    group: Annotated[
        str | None, typer.Option(help="A group of the daemon, where several run.")
    ] = None,
    state_dir: StateDir = None,
) -> None:
    """Stop every group and the daemon.

    It returns when all is gone. Where several daemons run, the one that keeps the group that is named.
    """
    from autohealer.cli.ending import stop_daemon
    from autohealer.cli.looking import state_dir_to_look_in

    print(stop_daemon(state_dir_to_look_in(state_dir), group))  # noqa: T201


@app.command()
def reload(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print what would be changed.")
    ] = False,
    group: Annotated[
        str | None, typer.Option(help="A group of the daemon, where several run.")
    ] = None,
    state_dir: StateDir = None,
) -> None:
    """Read the configuration again; change what changed.

    Workers whose command, environment or limits changed are replaced one at a time, each ready before the next; all
    others stay. With a mistake in the file nothing is changed.
    """
    from autohealer.cli.looking import state_dir_to_look_in
    from autohealer.cli.reloading import reload_daemon

    for line in reload_daemon(state_dir_to_look_in(state_dir), group, dry_run=dry_run):
        print(line)  # noqa: T201


live.add_to(app)
logs.add_to(app)


@app.command()
def zkserver(
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port on the loopback address.")
    ] = EMBEDDED_PORT,
    data_dir: Annotated[Path | None, typer.Option(help="Where it keeps its data.")] = None,
    open_to_all: Annotated[
        bool,
        typer.Option(
            "--open-to-all", help="Serve every user of this machine, not only this one and root."
        ),
    ] = False,
) -> None:
    """Run the embedded ZooKeeper server alone, on 127.0.0.1.

    It serves this user and root. For development, tests and everything that lives on one machine; not for more than
    one (no replication, no TLS): use an Apache ZooKeeper ensemble there. Everything acknowledged survives kill -9 of
    the server; a power cut may cost the last seconds. One server per data directory.

    Limits: 16,384 connections, 65,536 sessions, 500,000 watches, 1 MB per request, about 512 MiB of nodes; beyond
    them requests are refused and the log says why. To change limits or sync every write:
    python -m autohealer.zkserver --help.
    """
    from autohealer.zkserver.server import serve
    from autohealer.zkserver.settings import ServerSettings

    folder = data_dir or default_state_dir() / f"zkserver-{port}" / "data"
    raise typer.Exit(serve(ServerSettings(port=port, data_dir=folder, open_to_all=open_to_all)))


def main() -> NoReturn:
    """The `autohealer` command."""
    mend_streams()
    command = typer.main.get_command(app)
    code: int | str | None = None
    try:
        command.main(prog_name="autohealer", terminal_width=help_width(os.environ))
    except SystemExit as end:
        code = end.code
    except OutputLost:
        pass  # said below, or nobody's trouble
    raise SystemExit(code or finish_output())
