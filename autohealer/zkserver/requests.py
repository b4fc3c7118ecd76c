"""Requests: what a client's frame asks for.

Named tuples, because twenty dataclasses cost 10 ms of the start; those with a secret are dataclasses
that do not show it.

Must never know: bytes (`decoding`), the tree, sessions, what the answer will be.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from autohealer.zkserver.protocol import Acl, AddWatchMode, WatcherKind


@dataclass(frozen=True, slots=True)
class Connect:
    """The first frame: open a session, or come back to one."""

    last_zxid: int
    timeout_ms: int
    session_id: int
    password: bytes = field(repr=False)
    knows_read_only: bool
    """Clients before 3.4 send no such flag and must not be sent one."""


class Create(NamedTuple):
    """Make a node; `mode` is the raw flags, because an unknown one is refused, not malformed."""

    path: str
    data: bytes | None
    acl: tuple[Acl, ...]
    mode: int
    wants_stat: bool = False


class Delete(NamedTuple):
    """Remove a leaf."""

    path: str
    version: int


class SetData(NamedTuple):
    """Replace a node's data."""

    path: str
    data: bytes | None
    version: int


class SetAcl(NamedTuple):
    """Replace a node's access control list."""

    path: str
    acl: tuple[Acl, ...]
    version: int


class Check(NamedTuple):
    """Demand a version; of use inside a multi."""

    path: str
    version: int


WriteStep: TypeAlias = Create | Delete | SetData | SetAcl | Check


class Multi(NamedTuple):
    """All or nothing."""

    steps: tuple[WriteStep, ...]


class Exists(NamedTuple):
    """Ask for a node's metadata."""

    path: str
    watch: bool


class GetData(NamedTuple):
    """Ask for a node's data and metadata."""

    path: str
    watch: bool


class GetChildren(NamedTuple):
    """Ask for the names of a node's children."""

    path: str
    watch: bool
    wants_stat: bool = False


class MultiRead(NamedTuple):
    """Several reads in one reply."""

    steps: tuple[GetData | GetChildren, ...]


class GetAcl(NamedTuple):
    """Ask for a node's access control list."""

    path: str


class Sync(NamedTuple):
    """Catch up with the leader: nothing to do on one node."""

    path: str


class GetEphemerals(NamedTuple):
    """Ask for this session's ephemerals under a prefix."""

    prefix: str


class CountDescendants(NamedTuple):
    """Ask how many nodes are below a path."""

    path: str


class ChangeWatches(NamedTuple):
    """Ask whether a watch exists, or remove it."""

    path: str
    kind: WatcherKind
    remove: bool


class AddWatch(NamedTuple):
    """Watch until told otherwise."""

    path: str
    mode: AddWatchMode


class SetWatches(NamedTuple):
    """Re-arm watches after a reconnect, or fire those that were missed since `since_zxid`."""

    since_zxid: int
    data: tuple[str, ...]
    exist: tuple[str, ...]
    child: tuple[str, ...]
    persistent: tuple[str, ...] = ()
    recursive: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Authenticate:
    """Prove an identity."""

    scheme: str
    secret: bytes = field(repr=False)


class WhoAmI(NamedTuple):
    """Ask which identities were proven."""


class Ping(NamedTuple):
    """Keep the session alive."""


class CloseSession(NamedTuple):
    """End the session now."""


Read: TypeAlias = (
    Exists
    | GetData
    | GetChildren
    | MultiRead
    | GetAcl
    | Sync
    | GetEphemerals
    | CountDescendants
    | WhoAmI
)
WatchRequest: TypeAlias = ChangeWatches | AddWatch | SetWatches
Request: TypeAlias = WriteStep | Multi | Read | WatchRequest | Authenticate | Ping | CloseSession
