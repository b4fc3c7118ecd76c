"""Who this process is: read once from its environment and from /proc.

Theory of operation: a daemon tells its worker which incarnation it is, by name. A process started
by hand has no such name and takes one that no other process ever has: host, pid and start time.
Either way the name stays the same for the life of the process, whatever happens to its sessions.

Must never know: ZooKeeper clients. Limits: Linux only; the data written stays far below
`RECORD_BYTES_MAX`.
"""

from __future__ import annotations

import math
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from autohealer import contract

TYPE_CHECKING = False  # what `typing` says too, and importing it would cost 2 ms
if TYPE_CHECKING:
    from collections.abc import Mapping

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_STAT = Path("/proc/self/stat")
_START_FIELD = 22 - 3
"""Counted from the state, the first field behind the command's closing bracket."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Where to register, as what, and in a session of which length."""

    connection: str
    session_timeout_s: float
    path: str
    record: contract.WorkerRecord

    @property
    def name(self) -> str:
        """The last part of the znode's path."""
        return self.path.rpartition("/")[2]


def identify(environ: Mapping[str, str], address: str = "") -> Identity:
    """Read this process's identity.

    Raises:
        ValueError: a variable of the environment cannot be what a daemon gave.
    """
    record = contract.WorkerRecord(
        pid=os.getpid(),
        start=_start_ticks(),
        boot=_BOOT_ID.read_text().strip(),
        host=socket.gethostname(),
        address=address,
    )
    manual_path = contract.manual_znode_path(record.host, record.pid, record.start)
    path = environ.get(contract.ENV_ZNODE, manual_path)
    if not path.startswith("/"):
        raise ValueError(f"{contract.ENV_ZNODE} is {path!r}, which is not an absolute path")
    return Identity(
        connection=environ.get(contract.ENV_ZOOKEEPER, contract.DEFAULT_ZOOKEEPER),
        session_timeout_s=_session_timeout_s(environ),
        path=path,
        record=record,
    )


def _session_timeout_s(environ: Mapping[str, str]) -> float:
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
