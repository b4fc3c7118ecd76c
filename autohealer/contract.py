"""What the daemon and a worker agree on: znode paths, environment names, the record codec.

Theory of operation. A worker proves that it serves by holding an ephemeral znode; the znode's *name*
says which incarnation it is (`<group>-<slot>-<generation>`) and is never used twice, so deleting the
znode of a process proven dead can never hit its replacement. The znode's *data* says where the
process is, for people and for adoption; nothing is decided from it without proof. It can carry one: `proof` shows that
the process with that pid and start time knew the token, also when its environment cannot be read any more.

A ZooKeeper that wants to know who asks: four variables name files, never what is in them, because an environment gets
into crash reports and is inherited by whatever a worker starts. `ENV_ZOOKEEPER_AUTH` names one with a line
`digest:USER:PASSWORD` or `sasl:USER:PASSWORD`, which only its user can read; `ENV_ZOOKEEPER_TLS_CA`, `_CERT` and `_KEY`
name PEM files. A program with a ZooKeeper client of its own reads the same ones. It proves who it is (for kazoo,
`auth_data=[("digest", "USER:PASSWORD")]`), speaks TLS where there is a CA, and gives all permissions on what it creates
to that user and none to anybody else (for kazoo, `default_acl=[make_digest_acl(USER, PASSWORD, all=True)]`).
`autohealer.worker.kazoo_options` makes these arguments.

Must never know: ZooKeeper clients, processes, clocks. The worker SDK imports this module, so it uses
nothing that kazoo has not imported already.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from dataclasses import asdict, dataclass

WORKERS_PATH = "/workers"

ENV_GROUP = "AUTOHEALER_GROUP"
ENV_SLOT = "AUTOHEALER_SLOT"
ENV_GENERATION = "AUTOHEALER_GENERATION"
ENV_ZOOKEEPER = "AUTOHEALER_ZOOKEEPER"
ENV_ZOOKEEPER_AUTH = "AUTOHEALER_ZOOKEEPER_AUTH"
ENV_ZOOKEEPER_TLS_CA = "AUTOHEALER_ZOOKEEPER_TLS_CA"
ENV_ZOOKEEPER_TLS_CERT = "AUTOHEALER_ZOOKEEPER_TLS_CERT"
ENV_ZOOKEEPER_TLS_KEY = "AUTOHEALER_ZOOKEEPER_TLS_KEY"
ENV_OF_CREDENTIALS = (
    ENV_ZOOKEEPER_AUTH,
    ENV_ZOOKEEPER_TLS_CA,
    ENV_ZOOKEEPER_TLS_CERT,
    ENV_ZOOKEEPER_TLS_KEY,
)
ENV_ZOOKEEPER_USER = "AUTOHEALER_ZOOKEEPER_USER"
"""Set where that ZooKeeper is the embedded server: the id of its user. Nobody else but root is to be believed there."""
ENV_ZNODE = "AUTOHEALER_ZNODE"
ENV_TOKEN = "AUTOHEALER_TOKEN"
ENV_REGISTRAR = "AUTOHEALER_REGISTRAR"
"""`agent` where the daemon registers the worker, `anonymous` where that does so under a name of its own.

It is told of no znode then.
"""
ENV_KEEPER = "AUTOHEALER_KEEPER"
ENV_REVISION = "AUTOHEALER_REVISION"
"""Which spec the worker was launched from: 12 hex digits, another where anything its launch depends on is another."""
ENV_SESSION_TIMEOUT_S = "AUTOHEALER_SESSION_TIMEOUT_S"

DEFAULT_ZOOKEEPER = "127.0.0.1:2181"
DEFAULT_SESSION_TIMEOUT_S = 4.0
"""Two ticks of a stock Apache ZooKeeper, the shortest it grants: a frozen worker loses its znode in 4 to 6 s."""

RECORD_VERSION = 1
RECORD_BYTES_MAX = 4096
"""Readers ignore larger data; what we write stays under 256 bytes for ordinary host names."""
TEXT_CHARS_MAX = 128
"""Of a host, an address and the like; what is longer is read up to here."""

MANUAL_PREFIX = "manual-"
_LEFT_OUT = frozenset({"pidns", "keeper", "proof", "agent"})
_GROUP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
_NAME = re.compile(r"(?P<group>.+)-(?P<slot>\d{1,6})-(?P<generation>\d{1,19})")


class RecordError(ValueError):
    """The data of a znode is not a worker record."""


@dataclass(frozen=True, slots=True)
class ZnodeName:
    """The name of a registration: which incarnation of which slot of which group."""

    group: str
    slot: int
    generation: int

    def __str__(self) -> str:
        return f"{self.group}-{self.slot}-{self.generation}"

    @property
    def path(self) -> str:
        """The absolute path below the connection string's chroot."""
        return f"{WORKERS_PATH}/{self}"


@dataclass(frozen=True, slots=True)
class WorkerRecord:
    """What a worker writes into its znode.

    `start` is the process start time in clock ticks since boot (`/proc/<pid>/stat` field 22) and `boot` the kernel's
    boot id: with `pid` and `host` they name one process for ever. `pidns` is the inode number of its pid namespace
    (`/proc/self/ns/pid`), outside which `pid` means nothing; `keeper` says which state directory's daemons launched it
    (`keeper_id`), and `proof` that it knew its token (`registration_proof`). `agent` says that the daemon registered
    it. Empty and 0 stand for not known. Only `pid` is required of a foreign program.
    """

    pid: int
    start: int = 0
    boot: str = ""
    host: str = ""
    address: str = ""
    version: int = RECORD_VERSION
    pidns: int = 0
    keeper: str = ""
    proof: str = ""
    agent: bool = False


def is_group_name(text: str) -> bool:
    """Whether `text` may name a group: up to 64 letters, digits, `._-`; the word for hand-started workers may not."""
    return _GROUP.fullmatch(text) is not None and not f"{text}-".startswith(MANUAL_PREFIX)


def parse_znode_name(name: str) -> ZnodeName | None:
    """Read a child's name of `/workers`; None when no daemon gave it out."""
    match = _NAME.fullmatch(name)
    if match is None or not is_group_name(match["group"]):
        return None
    parsed = ZnodeName(match["group"], int(match["slot"]), int(match["generation"]))
    return parsed if str(parsed) == name else None


def manual_znode_path(host: str, pid: int, start: int) -> str:
    """Where a worker started by hand registers: `/workers/manual-<host>-<pid>-s<start>`."""
    return f"{WORKERS_PATH}/{MANUAL_PREFIX}{host}-{pid}-s{start}"


def encode_record(record: WorkerRecord) -> bytes:
    """Serialise a record as compact JSON; what a worker cannot say of itself is left out."""
    fields = asdict(record)
    said = {key: value for key, value in fields.items() if value or key not in _LEFT_OUT}
    return json.dumps(said, separators=(",", ":")).encode()


def decode_record(raw: bytes) -> WorkerRecord:
    """Read the data of a znode; unknown keys are ignored, so that newer workers may say more.

    Raises:
        RecordError: it is not a JSON object with a positive `pid`, or it is larger than `RECORD_BYTES_MAX`.
    """
    if len(raw) > RECORD_BYTES_MAX:
        raise RecordError(
            f"{len(raw)} bytes, more than the {RECORD_BYTES_MAX} of the largest record"
        )
    try:
        fields = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise RecordError("not JSON") from error
    if not isinstance(fields, dict):
        raise RecordError("not a JSON object")
    pid = _count(fields.get("pid"))
    if pid <= 0:
        raise RecordError("no positive pid")
    return WorkerRecord(
        pid=pid,
        start=_count(fields.get("start")),
        boot=_text(fields.get("boot")),
        host=_text(fields.get("host")),
        address=_text(fields.get("address")),
        version=_count(fields.get("version")),
        pidns=_count(fields.get("pidns")),
        keeper=_text(fields.get("keeper")),
        proof=_text(fields.get("proof")),
        agent=fields.get("agent") is True,
    )


def worker_connection(told: str) -> str:
    """Where a worker finds ZooKeeper: what its daemon told it, or in the words that the daemon's own option takes.

    Somebody who has set AUTOHEALER_ZOOKEEPER for the daemon and starts a worker by hand means the same server.
    """
    if told in {"", "auto", "embedded"}:
        return DEFAULT_ZOOKEEPER
    if told.startswith("embedded:"):
        return f"127.0.0.1:{told.removeprefix('embedded:')}"
    return told


def adoption_token(secret: bytes, name: str) -> str:
    """The proof of identity a daemon gives to what it launches: HMAC-SHA256 over the incarnation's name, 32 hex digits.

    Only who can read the daemon's secret can make one, so a stranger's process never passes for a worker.
    """
    return hmac.new(secret, name.encode(), hashlib.sha256).hexdigest()[:32]


def registration_proof(token: str, pid: int, start: int, boot: str) -> str:
    """What only who knows a token can write into a record: HMAC-SHA256 over which process it is, 16 hex digits.

    It holds for that one process: who reads the record and copies it elsewhere proves nothing.
    """
    which = f"{pid} {start} {boot}"
    return hmac.new(token.encode(), which.encode(), hashlib.sha256).hexdigest()[:16]


def keeper_id(secret: bytes) -> str:
    """Which state directory's daemons a worker belongs to: HMAC-SHA256 of a word under their secret, 12 hex digits."""
    return hmac.new(secret, b"keeper", hashlib.sha256).hexdigest()[:12]


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _text(value: object) -> str:
    return value[:TEXT_CHARS_MAX] if isinstance(value, str) else ""
