"""What the operator may set, each default with its unit and its reason.

Theory of operation. The command line (and systemd's environment) is turned into one frozen `DaemonSettings`
before anything starts; whatever is wrong with it is said in one sentence, as `SettingsError`, and
nothing has happened yet.
"""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from signal import Signals

from autohealer.contract import DEFAULT_SESSION_TIMEOUT_S, is_group_name
from autohealer.core.health import Check, HealthRules
from autohealer.core.policy import Policy, Restart
from autohealer.credentials import (
    NO_CREDENTIALS,
    Credentials,
    CredentialsError,
    Scheme,
    read_credentials,
)
from autohealer.healthspec import NO_PROBES, HealthSpec
from autohealer.launchspec import LaunchSpec
from autohealer.outputspec import AS_ALWAYS, OutputSpec

REPLICAS_MAX = 10_000
PORT_MAX = 65_535
"""What one daemon is built for; a larger number is more likely a typing error than a wish."""

EMBEDDED_PORT = 2181
"""ZooKeeper's own port, so that every client's default finds it."""

CONNECT_TIMEOUT_S = 5.0
"""How long a ZooKeeper may take to answer at start; a slower one is as good as none to somebody waiting."""

HISTORY_BYTES = 4 * 1024 * 1024
"""The history of a group is cut at this size and one older file kept: a thousand deaths with as many last words as
are kept, far more without."""

REGISTRATION_TIMEOUT_S = 30.0
"""A cold Python or Java worker registers within seconds; half a minute allows for a loaded machine."""

GRACE_S = 10.0
"""From TERM to KILL, as supervisord and docker stop have it."""

MIN_READY_S = 1.0
"""A program that is wrongly configured ends within its first second."""

BACKOFF_INITIAL_S = 0.1
BACKOFF_MAX_S = 30.0
"""Between launches that came to nothing: doubled from the first to the last."""

LAUNCHES_PER_CORE = 2
LAUNCHES_MIN = 4
"""Under way at once at least; twice as many at most. Starting is work for the processor: with one in its imports and
one that waits for the server a core is never idle, and more at once only take longer each."""

ENDINGS_PER_CORE = 8
ENDINGS_MIN = 16
"""Asked to end at once at least; four times as many at most. Ending takes a tenth of what starting does."""

REJOIN_GRACE_MAX_S = 0.5
"""A worker that lost its session only to a hiccup registers again in some 10 ms; longer means frozen or broken."""

_HOST = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.-]+)(?::(?P<port>\d{1,5}))?")

_RUNS_OTHERS = re.compile(
    r"(python|pypy|node|nodejs|deno|bun|ruby|perl|php|lua|java|Rscript|sh|bash|dash|zsh|ksh|fish|env|nice|ionice|chrt|"
    r"taskset|setsid|nohup|stdbuf|numactl|setpriv|catchsegv|strace|tini|dumb-init|uv|poetry|pipenv|npm|npx)[0-9.]*"
)
"""What is started for the sake of something else: a group named after it would be called like every other one."""


class NoStateDir(Exception):  # noqa: N818 - says what is the case
    """Nobody told where the state directory is, and it cannot be guessed; the message is one sentence."""


class SettingsError(ValueError):
    """A setting cannot be; the message is one sentence for the operator."""


@dataclass(frozen=True, slots=True)
class AutoTarget:
    """Use what answers on this machine's ZooKeeper port, else start the embedded server there."""


@dataclass(frozen=True, slots=True)
class EmbeddedTarget:
    """Start the embedded server on `port` of the loopback address."""

    port: int = EMBEDDED_PORT


@dataclass(frozen=True, slots=True)
class EnsembleTarget:
    """Use a running ZooKeeper: `connection` is what its clients take, `HOST:PORT,HOST:PORT[/chroot]`."""

    connection: str


Target = AutoTarget | EmbeddedTarget | EnsembleTarget


@dataclass(frozen=True, slots=True)
class GroupSettings:
    """What is wanted of one group; `launch` is how its workers are launched."""

    name: str
    replicas: int
    launch: LaunchSpec
    python_why: str = ""
    """Why a Python was chosen that is not ours, where one was."""
    registrar_why: str = ""
    """Why it is that one who registers, where it was not said."""
    session_timeout_s: float = DEFAULT_SESSION_TIMEOUT_S
    registration_timeout_s: float = REGISTRATION_TIMEOUT_S
    grace_s: float = GRACE_S
    min_ready_s: float = MIN_READY_S
    """A worker that was ready for less was never ready."""
    restart: Restart = Restart.ALWAYS
    """Who is replaced."""
    backoff_initial_s: float = BACKOFF_INITIAL_S
    backoff_max_s: float = BACKOFF_MAX_S
    stop_signal: Signals = Signals.SIGTERM
    after: tuple[str, ...] = ()
    """The groups that are to have been whole before this one begins, and that are stopped after it."""
    output: OutputSpec = AS_ALWAYS
    health: HealthSpec = NO_PROBES
    """What its workers are asked."""
    memory_restart_bytes: int | None = None
    """Who uses more with all it starts is replaced; None: whatever it uses."""

    def policy(self, cores: int = 1) -> Policy:
        """The rules of restarting these settings imply on a machine of so many processors.

        The restart budget lets the whole group fall three times at once and then once a second, which is what the
        slots' own rules allow.
        """
        launches = max(LAUNCHES_MIN, LAUNCHES_PER_CORE * cores)
        endings = max(ENDINGS_MIN, ENDINGS_PER_CORE * cores)
        return Policy(
            in_flight_min=launches,
            in_flight_max=2 * launches,
            endings_min=endings,
            endings_max=4 * endings,
            registrar=self.launch.registrar,
            restart=self.restart,
            health=self._health_rules(),
            registration_timeout_s=self.registration_timeout_s,
            rejoin_grace_s=rejoin_grace_s(self.session_timeout_s),
            settle_s=settle_s(self.session_timeout_s),
            grace_s=self.grace_s,
            min_ready_s=self.min_ready_s,
            backoff_initial_s=self.backoff_initial_s,
            backoff_max_s=self.backoff_max_s,
            memory_restart_bytes=self.memory_restart_bytes,
            budget_burst=10,
            budget_burst_each=3,
            budget_per_s=1.0,
            budget_per_s_each=1.0,
        )

    def _health_rules(self) -> HealthRules:
        checks = {check for check, _ in self.health.probes()}
        checks |= {Check.NOTIFY} if self.launch.notify else set()
        checks |= {Check.WATCHDOG} if self.launch.watchdog_s is not None else set()
        return HealthRules(frozenset(checks), self.health.spread_s(self.launch.watchdog_s))


@dataclass(frozen=True, slots=True)
class DaemonSettings:
    """What one daemon keeps, and what its groups share."""

    state_dir: Path
    target: Target
    groups: tuple[GroupSettings, ...]
    credentials: Credentials = NO_CREDENTIALS
    zookeeper_open: bool = False
    """Whether the embedded server serves every user of this machine, not only this one and root."""
    config: Path | None = None
    """The configuration file all this was read from; None: the command line."""

    def __post_init__(self) -> None:
        """Raises `SettingsError`."""
        if self.zookeeper_open and isinstance(self.target, EnsembleTarget):
            raise SettingsError(
                "--zookeeper-open opens the embedded server, and there is none: "
                f"{self.target.connection} says itself whom it serves"
            )

    @property
    def replicas(self) -> int:
        """How many workers there are to be in all groups together."""
        return sum(group.replicas for group in self.groups)

    def folder_of(self, group: GroupSettings) -> Path:
        """Where a group's lock, control socket and output files live."""
        return group_dir(self.state_dir, group.name)


def rejoin_grace_s(session_timeout_s: float) -> float:
    """How long a worker that lost its session has to register again, where sessions last so long."""
    return min(REJOIN_GRACE_MAX_S, session_timeout_s / 4)


def settle_s(session_timeout_s: float) -> float:
    """One session timeout and a tick: by then a worker whose session survived a reconnect has shown it.

    One whose session died has registered again.
    """
    return session_timeout_s + 2.0


def parse_target(text: str) -> Target:
    """Read `--zookeeper`: `auto`, `embedded[:PORT]` or `HOST[:PORT],…[/chroot]`. Raises `SettingsError`."""
    if text == "auto":
        return AutoTarget()
    if text == "embedded":
        return EmbeddedTarget()
    if text.startswith("embedded:"):
        return EmbeddedTarget(_port(text.removeprefix("embedded:"), text))
    return EnsembleTarget(_connection(text))


def parse_credentials(
    target: Target,
    *,
    auth: str | None = None,
    tls_ca: str | None = None,
    tls_cert: str | None = None,
    tls_key: str | None = None,
) -> Credentials:
    """Read the files of `--zookeeper-auth` and `--zookeeper-tls-*`. Raises `SettingsError`."""
    try:
        credentials = read_credentials(auth=auth, tls_ca=tls_ca, tls_cert=tls_cert, tls_key=tls_key)
        if credentials.tls is not None:
            from autohealer.zktls import make_context  # who speaks TLS pays for it

            make_context(credentials.tls)
    except CredentialsError as error:
        raise SettingsError(str(error)) from None
    login = credentials.login
    if isinstance(target, EnsembleTarget):
        return credentials
    if credentials.tls is not None:
        raise SettingsError(
            "the embedded server speaks no TLS: --zookeeper-tls-ca needs --zookeeper HOST:PORT"
        )
    if login is not None and login.scheme is Scheme.SASL:
        raise SettingsError(
            f"the embedded server takes no SASL, which {login.file} asks for: use digest, or --zookeeper HOST:PORT"
        )
    return credentials


def parse_replicas(text: str) -> int:
    """Read N. Raises `SettingsError`."""
    try:
        replicas = int(text)
    except ValueError:
        raise SettingsError(f"the number of workers must be a whole number, not {text!r}") from None
    if replicas < 0:
        raise SettingsError(f"the number of workers cannot be negative, as {replicas} is")
    if replicas > REPLICAS_MAX:
        raise SettingsError(f"{replicas} workers are more than the {REPLICAS_MAX} one daemon keeps")
    return replicas


def in_common(one: range, other: range) -> range:
    """The ports that two groups would both give out."""
    return range(max(one.start, other.start), min(one.stop, other.stop))


def parse_group(text: str) -> str:
    """Read a group's name. Raises `SettingsError`."""
    if not is_group_name(text):
        raise SettingsError(
            f"{text!r} cannot name a group: use up to 64 letters, digits and ._-, starting with a letter or digit, "
            "and not `manual`"
        )
    return text


def group_of_program(program: str, arguments: Sequence[str] = ()) -> str:
    """The group a program belongs to unless told: its own name without folder and ending.

    Where the program only runs another (`python3 a.py`, `java -jar a.jar`, `nice ./a.sh`), that one gives the name.
    """
    named = program
    if _runs_others(program):
        named = next(filter(None, map(_named_by, ("", *arguments), arguments)), program)
    stem = Path(named).name.removesuffix(".py").removesuffix(".jar").removesuffix(".sh")
    cleaned = re.sub(r"[^A-Za-z0-9._-]", "_", stem).lstrip("._-")[:64]
    return cleaned if is_group_name(cleaned) else "workers"


def _named_by(before: str, word: str) -> str | None:
    """What a word of an interpreter's arguments names, if that is what it runs; options' values are no files."""
    if before in {"-m", "-jar"}:
        return word
    try:
        is_run = Path(word).is_file() and not _runs_others(word)
    except OSError:
        return None
    return word if is_run else None


def _runs_others(program: str) -> bool:
    return _RUNS_OTHERS.fullmatch(Path(program).name) is not None


def default_state_dir() -> Path:
    """systemd's state directory if it gave one, else the XDG one of this user. Raises `NoStateDir`."""
    if given := os.environ.get("STATE_DIRECTORY"):
        return Path(given.split(":")[0])
    base = Path(os.environ.get("XDG_STATE_HOME", ""))
    if not base.is_absolute():  # unset, or to be ignored by XDG's own rules
        base = _home() / ".local" / "state"
    return base / "autohealer"


def _home() -> Path:
    """The user's home directory: what HOME says, else the password database. Raises `NoStateDir`."""
    try:
        home = Path(os.environ.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        raise NoStateDir(
            f"HOME is not set and user {os.getuid()} is not in the password database, so there is no home directory "
            "for the state directory: name one with --state-dir"
        ) from None
    if not home.is_absolute():
        raise NoStateDir(
            f"the home directory {str(home)!r} is not an absolute path: set HOME, or name the state directory "
            "with --state-dir"
        )
    return home


def group_dir(state_dir: Path, group: str) -> Path:
    """A group's own folder in the state directory."""
    return state_dir / "groups" / group


def _connection(text: str) -> str:
    hosts, slash, chroot = text.partition("/")
    if not hosts:
        raise SettingsError(f"--zookeeper {text!r} names no host: use HOST:PORT,HOST:PORT[/chroot]")
    addresses = ",".join(_address(host, text) for host in hosts.split(","))
    return addresses + (_chroot(slash + chroot, text) if slash else "")


def _address(host: str, text: str) -> str:
    match = _HOST.fullmatch(host)
    if match is None:
        raise SettingsError(f"--zookeeper {text!r}: {host!r} is not HOST or HOST:PORT")
    return f"{match['host']}:{_port(match['port'] or str(EMBEDDED_PORT), text)}"


def _port(digits: str, text: str) -> int:
    if not digits.isdecimal() or not 0 < int(digits) < 65536:
        raise SettingsError(f"--zookeeper {text!r}: {digits!r} is not a port (1 to 65535)")
    return int(digits)


def _chroot(path: str, text: str) -> str:
    parts = path.split("/")[1:]
    if any(part in {"", ".", ".."} or not part.isprintable() for part in parts):
        raise SettingsError(f"--zookeeper {text!r}: {path!r} is not a chroot such as /apps/blue")
    return path
