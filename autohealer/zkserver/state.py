"""Everything that must outlive the server: nodes, sessions, counters, the secret.

Theory of operation. Two ways in: `apply` for a transaction, `restore` for a record out of a snapshot.
Two ways out, both the records a snapshot is made of: `images` at once, and `begin_snapshot`, which is told of every
change from then on. Applying the same records in the same order always gives the same state.

Must never know: the time, the disk, connections, who is alive (`sessions`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

from autohealer.zkserver.images import Meta, NodeImage, Record
from autohealer.zkserver.snapshot import Snapshot
from autohealer.zkserver.tree import Event, Tree
from autohealer.zkserver.txn import Change, DeleteNode, EndSession, OpenSession, Txn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from autohealer.zkserver.protocol import Stat

_ERA_S = 1_577_836_800
"""2020-01-01: counted from there, seconds fit the 31 bits of an epoch until 2088."""

_EPOCH_BITS = 32


@dataclass(frozen=True, slots=True)
class Applied:
    """What a transaction did: news in order, and per change the node's metadata right after it."""

    events: list[Event]
    stats: list[Stat | None]


def first_zxid(wall_s: float, highest_zxid: int) -> int:
    """Where to go on counting: above every zxid ever given out, known here or not.

    kazoo never comes back to a server whose zxid is below one it has seen. A zxid is the wall clock
    with 32 fractional bits, so that even a wiped directory starts higher than before, unless the
    epoch in `highest_zxid` (what is known) demands more.
    """
    by_clock = int((wall_s - _ERA_S) * (1 << _EPOCH_BITS))
    by_record = ((highest_zxid >> _EPOCH_BITS) + 1) << _EPOCH_BITS
    return max(by_clock, by_record)


class State:
    """The durable state; `timeouts_ms` maps every session to its timeout."""

    def __init__(self, secret: bytes) -> None:
        self.secret = secret
        self.tree = Tree()
        self.timeouts_ms: dict[int, int] = {}
        self.next_session_id = 1
        self.zxid = 0
        self._snapshot: Snapshot | None = None

    def begin_snapshot(self) -> Snapshot:
        """The state as it is now, to be taken little by little until `end_snapshot`; one at a time."""
        self._snapshot = Snapshot(self)
        return self._snapshot

    def end_snapshot(self) -> None:
        """It was taken, or is not wanted any more."""
        self._snapshot = None

    def apply(self, txn: Txn) -> Applied:
        """Carry out a transaction."""
        assert txn.zxid > self.zxid, (txn.zxid, self.zxid)
        if self._snapshot is not None:
            self._snapshot.before(txn.changes)
        self.zxid = txn.zxid
        applied = Applied([], [])
        for change in txn.changes:
            applied.events.extend(self._apply_change(change, txn))
            applied.stats.append(self._stat_after(change))
        return applied

    def restore(self, record: Record) -> None:
        """Take in one record of a snapshot or journal."""
        match record:
            case Meta():
                self.zxid, self.secret = record.zxid, record.secret
                self.next_session_id = record.next_session_id
            case NodeImage():
                self.tree.put(record.path, record.node)
            case OpenSession():
                self.timeouts_ms[record.session_id] = record.timeout_ms
            case Txn():
                self.apply(record)
            case _:
                assert_never(record)

    def images(self) -> Iterator[Record]:
        """The state as records."""
        yield Meta(self.zxid, self.next_session_id, self.secret)
        for session_id, timeout_ms in self.timeouts_ms.items():
            yield OpenSession(session_id, timeout_ms)
        for path, node in self.tree.items():
            yield NodeImage(path, node)

    def _apply_change(self, change: Change, txn: Txn) -> list[Event]:
        match change:
            case OpenSession():
                self.timeouts_ms[change.session_id] = change.timeout_ms
                self.next_session_id = max(self.next_session_id, change.session_id + 1)
                return []
            case EndSession():
                self.timeouts_ms.pop(change.session_id, None)
                return self.tree.end_session(change.session_id, txn.zxid)
            case _:
                return self.tree.apply(change, txn.zxid, txn.time_ms)

    def _stat_after(self, change: Change) -> Stat | None:
        match change:
            case OpenSession() | EndSession() | DeleteNode():
                return None
            case _:
                node = self.tree.get(change.path)
                return None if node is None else node.stat()
