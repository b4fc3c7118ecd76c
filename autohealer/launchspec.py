"""What a launch of a group's program depends on, and the revision that names it.

Theory of operation. Two launches from one spec come out alike, so a change of anything in here makes those that run
outdated, and a change of anything else does not. A revision is a digest of what differs from the defaults: a field that
a later version adds changes no revision by being there.

Must never know: how anything is launched. Limits: what is in the program's files is not looked at.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields

from autohealer.core.policy import Registrar

REVISION_DIGITS = 12


@dataclass(frozen=True, slots=True)
class ResourceLimits:
    """Limits of each process, soft and hard alike (see setrlimit(2)); None: as the daemon's own."""

    nofile: int | None = None
    nproc: int | None = None
    core_bytes: int | None = None
    memlock_bytes: int | None = None
    stack_bytes: int | None = None
    address_space_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class TreeLimits:
    """Limits of a worker with all it starts, where control groups are delegated; None: none.

    `cpu_max` is in processors: 1.5 are one and a half.
    """

    memory_max_bytes: int | None = None
    cpu_max: float | None = None


NO_TREE_LIMITS = TreeLimits()


@dataclass(frozen=True, slots=True)
class LaunchSpec:
    """How each worker of a group is launched.

    `argv` begins with the path of an executable. `environment` are pairs of name and value, set over what the daemon
    has itself. `directory` is an absolute path, "" the daemon's own; `user` and `group` are names or numbers, "" the
    daemon's own; `umask` 0 to 0o777. Slot n is given port `port` + n. In `argv` and in the values of `environment`
    `{slot}`, `{group}`, `{host}`, `{generation}` and, where there is one, `{port}` stand for the worker's own. `output`
    is what it is given to write to: "" a file, "pipe" or "null". `venv` is the absolute path of a virtual environment
    that its commands come from, "" where none was named. `notify`: it is to say when it is ready; `watchdog_s`: it has
    to say so often that it lives.
    """

    argv: tuple[str, ...]
    registrar: Registrar = Registrar.SELF
    environment: tuple[tuple[str, str], ...] = ()
    directory: str = ""
    user: str = ""
    group: str = ""
    umask: int | None = None
    port: int | None = None
    limits: ResourceLimits = ResourceLimits()
    tree_limits: TreeLimits = NO_TREE_LIMITS
    nice: int | None = None
    oom_score_adj: int | None = None
    output: str = ""
    venv: str = ""
    notify: bool = False
    watchdog_s: float | None = None

    @property
    def revision(self) -> str:
        """A digest of everything in here that is not as it is by default."""
        told = {
            field.name: _plain(getattr(self, field.name))
            for field in fields(self)
            if getattr(self, field.name) != field.default
        }
        text = json.dumps(told, sort_keys=True)
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:REVISION_DIGITS]


def _plain(value: object) -> object:
    """A field as JSON has it."""
    match value:
        case Registrar():
            return value.value
        case ResourceLimits() | TreeLimits():
            return {name: limit for name, limit in asdict(value).items() if limit is not None}
        case _:
            return value
