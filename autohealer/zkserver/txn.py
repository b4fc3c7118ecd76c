"""Transactions: changes already checked, to be applied without a further question.

What the journal keeps and what is replayed after a restart is exactly this, so applying one must
need nothing but the state it was made for.

Must never know: requests, who asked, whether it was allowed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from autohealer.zkserver.protocol import Acl


@dataclass(frozen=True, slots=True)
class CreateNode:
    """`owner` is a session id for an ephemeral, CONTAINER_OWNER for a container, else 0."""

    path: str
    data: bytes | None
    acl: tuple[Acl, ...]
    owner: int
    parent_creates: int
    """How many children the parent has had, this one included."""


@dataclass(frozen=True, slots=True)
class DeleteNode:
    """Remove a leaf."""

    path: str


@dataclass(frozen=True, slots=True)
class SetNodeData:
    """Replace data; `version` is the new one."""

    path: str
    data: bytes | None
    version: int


@dataclass(frozen=True, slots=True)
class SetNodeAcl:
    """Replace the access control list; `version` is the new one."""

    path: str
    acl: tuple[Acl, ...]
    version: int


@dataclass(frozen=True, slots=True)
class CheckedNode:
    """A check that held: changes nothing, keeps its place in a multi's results."""

    path: str


@dataclass(frozen=True, slots=True)
class OpenSession:
    """Begin a session, or change its timeout."""

    session_id: int
    timeout_ms: int


@dataclass(frozen=True, slots=True)
class EndSession:
    """End a session and delete its ephemerals."""

    session_id: int


NodeChange: TypeAlias = CreateNode | DeleteNode | SetNodeData | SetNodeAcl | CheckedNode
Change: TypeAlias = NodeChange | OpenSession | EndSession


@dataclass(frozen=True, slots=True)
class Txn:
    """Changes made at one moment, under one zxid; `time_ms` is wall-clock time since 1970."""

    zxid: int
    time_ms: int
    changes: tuple[Change, ...]
