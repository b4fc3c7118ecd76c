"""What a journal holds, beside each other: the counters, a node as it stood, a session, a transaction.

Must never know: how a record is written, when it is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from autohealer.zkserver.tree import Znode
from autohealer.zkserver.txn import OpenSession, Txn


@dataclass(frozen=True, slots=True)
class Meta:
    """The counters, and the secret that session passwords are made with."""

    zxid: int
    next_session_id: int
    secret: bytes


@dataclass(frozen=True, slots=True)
class NodeImage:
    """One node as it stands."""

    path: str
    node: Znode


Record: TypeAlias = Meta | NodeImage | OpenSession | Txn
