"""The records of a state as it is now, taken little by little while the state goes on changing.

Theory of operation. A node that is about to change and was not taken yet is taken first, with those above it, because
a record's parent comes before it. A node that is made meanwhile is none of the snapshot's. So whatever happens between
two takes, what was taken in the end is the state of the beginning.

Must never know: the disk, time.
Limits: beside a list of all paths and a set of those that were taken, it holds on to the data that changed and was
not taken yet: at most what all nodes had in the beginning.
"""

from __future__ import annotations

from collections import deque
from copy import copy
from typing import TYPE_CHECKING

from autohealer.zkserver.images import Meta, NodeImage
from autohealer.zkserver.paths import ROOT, parent_of
from autohealer.zkserver.txn import CheckedNode, EndSession, OpenSession

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from autohealer.zkserver.images import Record
    from autohealer.zkserver.state import State
    from autohealer.zkserver.tree import Znode
    from autohealer.zkserver.txn import Change


class Snapshot:
    """One state at one moment; told of every change beforehand."""

    def __init__(self, state: State) -> None:
        self._tree = state.tree
        self._paths = [path for path, _ in state.tree.items()]
        self._at = 0
        self._taken: set[str] = set()
        self._waiting: deque[Record] = deque(
            [Meta(state.zxid, state.next_session_id, state.secret)]
        )
        self._sessions = iter(dict(state.timeouts_ms).items())

    def before(self, changes: Sequence[Change]) -> None:
        """These changes are about to be carried out."""
        for change in changes:
            for path in self._touched(change):
                self._keep(path)

    def take(self) -> Record | None:
        """One more record, to be used before the state changes again; None when there are no more."""
        if self._waiting:
            return self._waiting.popleft()
        for session_id, timeout_ms in self._sessions:
            return OpenSession(session_id, timeout_ms)
        while self._at < len(self._paths):
            path = self._paths[self._at]
            self._at += 1
            if path not in self._taken:
                self._taken.add(path)
                return NodeImage(path, self._node(path))
        return None

    def _keep(self, path: str) -> None:
        """Take a node now, if it belongs to the snapshot and was not taken."""
        lineage: list[str] = []
        while path not in self._taken:
            lineage.append(path)
            if path == ROOT:
                break
            path = parent_of(path)
        for each in reversed(lineage):
            self._taken.add(each)
            if self._tree.get(each) is not None:
                self._waiting.append(NodeImage(each, copy(self._node(each))))

    def _node(self, path: str) -> Znode:
        node = self._tree.get(path)
        assert node is not None, path
        return node

    def _touched(self, change: Change) -> Iterator[str]:
        """The nodes a change is about; their parents, which it changes as well, are above them."""
        match change:
            case OpenSession() | CheckedNode():
                return
            case EndSession():
                yield from self._tree.ephemerals_of(change.session_id)
            case _:
                yield change.path
