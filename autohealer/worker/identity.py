"""Who this process is: read from its environment and from /proc, and kept from its children.

Theory of operation: a daemon tells its worker which incarnation it is, by name. A process started
by hand has no such name and takes one that no other process ever has: host, pid and start time.
Either way the name stays the same for the life of the process, whatever happens to its sessions.

A worker's children are not the worker, and yet inherit its environment. So the name of the znode is
taken out of `os.environ`, and out of the environment that C code passes on, when it is read:

- A process that was *exec'd* after that finds the token, by which the daemon knows whose process it
  is, but no znode: it is a child, and inert. So is what `multiprocessing` spawns.
- A process that was *forked* finds what was read in this module's memory. It is a sibling: when it
  uses the SDK on its own account it stands in for the worker (`claim`).
- Processes that a launcher started before anybody read the name are siblings, too.
- The worker itself, when it replaces its program (`os.execv`), keeps pid and start time. The name
  is kept for it in a variable of its own that is bound to these two, so that for everybody else it
  says nothing.

Group, slot, generation, the address of ZooKeeper and the names of files for it stay where they are: they
are information.

Must never know: ZooKeeper clients. Limits: Linux only; the data written stays far below
`RECORD_BYTES_MAX`.
"""

from __future__ import annotations

import math
import os
import socket
from dataclasses import dataclass, replace
from pathlib import Path

from autohealer import contract

TYPE_CHECKING = False  # what `typing` says too, and importing it would cost 2 ms
if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from autohealer.credentials import Credentials

ENV_AGAIN = "AUTOHEALER_AGAIN"
"""`<pid> <start> <znode>`: what this very process finds when it has replaced its program."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PID_NAMESPACE = Path("/proc/self/ns/pid")
_STAT = Path("/proc/self/stat")
_START_FIELD = 22 - 3
"""Counted from the state, the first field behind the command's closing bracket."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Where to register, as what, and in a session of which length.

    `path` is empty for a worker's child, which registers nowhere; `name` is the last part of the path, a child's that
    of the worker it belongs to. `token` is empty where no daemon gave one. `incarnation` is what a daemon launched the
    worker as, None for one that was started by hand.
    """

    connection: str
    session_timeout_s: float
    path: str
    name: str
    token: str
    incarnation: contract.ZnodeName | None
    record: contract.WorkerRecord
    credentials: Credentials | None = None


@dataclass(frozen=True, slots=True)
class _Given:
    """What only the worker itself may use, and what it was forked from."""

    path: str
    token: str
    keeper: str


_given: _Given | None = None
"""What was read from the environment; forked processes inherit it with everything else in memory."""


def identify(environ: MutableMapping[str, str], address: str = "") -> Identity:
    """Read this process's identity, and take out of the environment what its children must not have.

    Raises:
        ValueError: a variable of the environment cannot be what a daemon gave, or the address is too long.
        CredentialsError: a file with credentials that the environment names will not do.
        TypeError: the address is not text.
    """
    session_timeout_s = _session_timeout_s(environ)
    record = _record(checked_address(address))
    given = _take(environ, record)
    token = environ.get(contract.ENV_TOKEN, "") if given is None else given.token
    if given is not None:
        path = given.path
        incarnation = contract.parse_znode_name(_last_part(path))
    elif token:
        path, incarnation = "", _parents_name(environ)
    else:
        path = contract.manual_znode_path(record.host, record.pid, record.start)
        incarnation = None
    return Identity(
        connection=contract.worker_connection(environ.get(contract.ENV_ZOOKEEPER, "")),
        session_timeout_s=session_timeout_s,
        path=path,
        name=_last_part(path) if path else str(incarnation or "a worker"),
        token=token,
        incarnation=incarnation,
        record=record if given is None else _signed(record, given),
        credentials=_credentials(environ) if path else None,
    )


def checked_address(address: object) -> str:
    """Return an address that fits into a record.

    Raises:
        TypeError: it is not text.
        ValueError: it is too long.
    """
    if not isinstance(address, str):
        raise TypeError(f"a worker's address is text such as '10.0.0.1:80', not {address!r}")
    if len(address) > contract.TEXT_CHARS_MAX:
        raise ValueError(
            f"a worker's address has at most {contract.TEXT_CHARS_MAX} characters, not {len(address)}"
        )
    return address


def _take(environ: MutableMapping[str, str], record: contract.WorkerRecord) -> _Given | None:
    global _given  # noqa: PLW0603 - forked processes inherit this memory, and nobody else
    mine = f"{record.pid} {record.start} "
    path = environ.pop(contract.ENV_ZNODE, None)
    if path is None and (kept := environ.get(ENV_AGAIN, "")).startswith(mine):
        path = kept.removeprefix(mine)
    if path is not None and (_given is None or path != _given.path):
        if not path.startswith("/") or not _last_part(path):
            raise ValueError(f"{contract.ENV_ZNODE} is {path!r}, which is not an absolute path")
        token, keeper = environ.get(contract.ENV_TOKEN, ""), environ.get(contract.ENV_KEEPER, "")
        _given = _Given(path, token, keeper)
    if _given is not None:
        environ[ENV_AGAIN] = f"{mine}{_given.path}"
    return _given


def _record(address: str) -> contract.WorkerRecord:
    return contract.WorkerRecord(
        pid=os.getpid(),
        start=_start_ticks(),
        boot=_BOOT_ID.read_text().strip(),
        host=socket.gethostname(),
        address=address,
        pidns=_pid_namespace(),
    )


def _signed(record: contract.WorkerRecord, given: _Given) -> contract.WorkerRecord:
    proof = contract.registration_proof(given.token, record.pid, record.start, record.boot)
    return replace(record, keeper=given.keeper, proof=proof if given.token else "")


def _pid_namespace() -> int:
    try:
        return _PID_NAMESPACE.stat().st_ino
    except OSError:
        return 0  # a kernel without them, or one that does not tell: not known


def _last_part(path: str) -> str:
    return path.rpartition("/")[2]


def _parents_name(environ: MutableMapping[str, str]) -> contract.ZnodeName | None:
    parts = (contract.ENV_GROUP, contract.ENV_SLOT, contract.ENV_GENERATION)
    return contract.parse_znode_name("-".join(environ.get(part, "") for part in parts))


def _credentials(environ: MutableMapping[str, str]) -> Credentials | None:
    if not any(environ.get(name) for name in contract.ENV_OF_CREDENTIALS):
        return None
    from autohealer.credentials import credentials_named_in  # who shows some pays for it

    return credentials_named_in(environ)


def _session_timeout_s(environ: MutableMapping[str, str]) -> float:
    text = environ.get(contract.ENV_SESSION_TIMEOUT_S)
    if text is None:
        return contract.DEFAULT_SESSION_TIMEOUT_S
    try:
        timeout_s = float(text)
    except ValueError:
        timeout_s = math.nan
    if not 0 < timeout_s < math.inf:
        name = contract.ENV_SESSION_TIMEOUT_S
        raise ValueError(f"{name} is {text!r}, which is not a positive number of seconds")
    return timeout_s


def _start_ticks() -> int:
    # The command may hold spaces and brackets, so only the last bracket counts.
    fields = _STAT.read_text().rpartition(")")[2].split()
    return int(fields[_START_FIELD])
