"""The znodes: what exists, in which version.

Theory of operation. A flat map from path to node, as in Apache's `DataTree`; each node knows its
children's names and each session's ephemerals are indexed. Changes arrive checked (`draft`) and are
only carried out here; carrying one out says which events it causes, in the order clients must see.

Two counters look alike. `creates` is how many children a node has ever had: it numbers sequential
children. The cversion shown to clients counts deletions as well: `2 * creates - children`
(`DataNode.copyStat`).

Must never know: sessions' time, connections, requests, permissions.
Limits: none of its own; `size_bytes` and `growth_bytes` let `machine` keep to `tree_bytes_max`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import repeat
from typing import TYPE_CHECKING, assert_never

from autohealer.zkserver.limits import EPHEMERAL_BYTES_MIN
from autohealer.zkserver.paths import CONFIG, QUOTA, ROOT, ZOOKEEPER, name_of, parent_of
from autohealer.zkserver.protocol import (
    CONTAINER_OWNER,
    OPEN_ACL,
    READ_ACL,
    Acl,
    EventType,
    Stat,
)
from autohealer.zkserver.txn import CheckedNode, CreateNode, DeleteNode, SetNodeAcl, SetNodeData
from autohealer.zkserver.wire import wrap_int32

if TYPE_CHECKING:
    from collections.abc import Iterator

    from autohealer.zkserver.txn import NodeChange


_NODE_BYTES = 300
"""What a node takes beside its path, data and access list, measured on CPython 3.11."""

_ACL_ENTRY_BYTES = 150


@dataclass(slots=True)
class Znode:
    """One node; `owner` as in `txn.CreateNode`, times in milliseconds since 1970."""

    data: bytes | None
    acl: tuple[Acl, ...]
    owner: int = 0
    czxid: int = 0
    mzxid: int = 0
    pzxid: int = 0
    ctime_ms: int = 0
    mtime_ms: int = 0
    version: int = 0
    aversion: int = 0
    creates: int = 0
    children: dict[str, None] = field(default_factory=dict)

    def stat(self) -> Stat:
        """The metadata clients see."""
        return Stat(
            czxid=self.czxid,
            mzxid=self.mzxid,
            ctime_ms=self.ctime_ms,
            mtime_ms=self.mtime_ms,
            version=self.version,
            cversion=wrap_int32(self.creates * 2 - len(self.children)),
            aversion=self.aversion,
            ephemeral_owner=0 if self.owner == CONTAINER_OWNER else self.owner,
            data_bytes=0 if self.data is None else len(self.data),
            child_count=len(self.children),
            pzxid=self.pzxid,
        )


@dataclass(frozen=True, slots=True)
class Event:
    """News about a path, for those whom `acl` lets read it."""

    type: EventType
    path: str
    acl: tuple[Acl, ...]


class Tree:
    """All znodes. Reading methods take paths as clients give them: an empty one means the root."""

    def __init__(self) -> None:
        self._nodes: dict[str, Znode] = {
            ROOT: Znode(b"", OPEN_ACL),
            ZOOKEEPER: Znode(b"", OPEN_ACL),
            QUOTA: Znode(b"", OPEN_ACL),
            CONFIG: Znode(b"", READ_ACL, aversion=-1),
        }
        self._nodes[ROOT].children[name_of(ZOOKEEPER)] = None
        self._nodes[ZOOKEEPER].children.update({name_of(QUOTA): None, name_of(CONFIG): None})
        self._ephemerals: dict[int, dict[str, None]] = {}
        self._ephemeral_bytes: Counter[int] = Counter()
        self.size_bytes = sum(_size_bytes(*item) for item in self._nodes.items())
        """What the nodes take in memory, roughly."""
        self.data_bytes = sum(_data_bytes(*item) for item in self._nodes.items())
        """Their paths and data, as `DataTree.approximateDataSize` has it."""
        self.idle_containers: dict[str, None] = {}
        """Containers that had children and have none now."""

    def __len__(self) -> int:
        return len(self._nodes)

    def get(self, path: str) -> Znode | None:
        """The node at a path."""
        return self._nodes.get(path or ROOT)

    def items(self) -> Iterator[tuple[str, Znode]]:
        """Every path and node, parents before children."""
        return iter(self._nodes.items())

    def ephemerals_of(self, session_id: int) -> list[str]:
        """Paths a session owns, oldest first."""
        return list(self._ephemerals.get(session_id, ()))

    def ephemeral_bytes_of(self, session_id: int) -> int:
        """What the paths a session owns count in its share."""
        return self._ephemeral_bytes[session_id]

    def ephemerals(self) -> dict[int, list[str]]:
        """Every session that owns nodes, and which."""
        return {owner: list(paths) for owner, paths in self._ephemerals.items()}

    @property
    def ephemeral_count(self) -> int:
        """How many nodes belong to a session."""
        return sum(map(len, self._ephemerals.values()))

    def count_descendants(self, path: str) -> int:
        """Nodes below a path, at any depth; walks the whole map."""
        if path in {"", ROOT}:
            return len(self._nodes) - 1
        return sum(map(str.startswith, self._nodes, repeat(f"{path}/")))

    def put(self, path: str, node: Znode) -> None:
        """Place a node as it was, out of a snapshot; its parent comes first."""
        known = self._nodes.get(path)
        if known is not None:
            self.size_bytes -= _size_bytes(path, known)
            self.data_bytes -= _data_bytes(path, known)
        node.children = known.children if known is not None else {}
        self._nodes[path] = node
        self.size_bytes += _size_bytes(path, node)
        self.data_bytes += _data_bytes(path, node)
        if path != ROOT:
            self._nodes[parent_of(path)].children[name_of(path)] = None
        self._index(path, node)

    def growth_bytes(self, change: NodeChange) -> int:
        """How much larger a change would make the tree; changes before it are not looked at."""
        match change:
            case CreateNode():
                return _size_bytes(change.path, Znode(change.data, change.acl))
            case SetNodeData():
                node = self._nodes.get(change.path)
                return len(change.data or b"") - len((node and node.data) or b"")
            case SetNodeAcl():
                node = self._nodes.get(change.path)
                return _acl_bytes(change.acl) - (_acl_bytes(node.acl) if node else 0)
            case DeleteNode():
                node = self._nodes.get(change.path)
                return -_size_bytes(change.path, node) if node else 0
            case CheckedNode():
                return 0
            case _:
                assert_never(change)

    def apply(self, change: NodeChange, zxid: int, time_ms: int) -> list[Event]:
        """Carry out one change and say what there is to tell, in order."""
        match change:
            case CreateNode():
                return self._create(change, zxid, time_ms)
            case DeleteNode():
                return self._delete(change.path, zxid)
            case SetNodeData():
                return self._set_data(change, zxid, time_ms)
            case SetNodeAcl():
                node = self._nodes[change.path]
                self.size_bytes += _acl_bytes(change.acl) - _acl_bytes(node.acl)
                node.acl, node.aversion = change.acl, change.version
                return []
            case CheckedNode():
                return []
            case _:
                assert_never(change)

    def end_session(self, session_id: int, zxid: int) -> list[Event]:
        """Delete what a session owned."""
        events: list[Event] = []
        for path in self.ephemerals_of(session_id):
            events += self._delete(path, zxid)
        return events

    def _create(self, change: CreateNode, zxid: int, time_ms: int) -> list[Event]:
        path, parent_path = change.path, parent_of(change.path)
        node = Znode(
            change.data,
            change.acl,
            owner=change.owner,
            czxid=zxid,
            mzxid=zxid,
            pzxid=zxid,
            ctime_ms=time_ms,
            mtime_ms=time_ms,
        )
        parent = self._nodes[parent_path]
        parent.children[name_of(path)] = None
        parent.creates, parent.pzxid = change.parent_creates, zxid
        self._nodes[path] = node
        self.size_bytes += _size_bytes(path, node)
        self.data_bytes += _data_bytes(path, node)
        self._index(path, node)
        self.idle_containers.pop(parent_path, None)
        return [
            Event(EventType.CREATED, path, change.acl),
            Event(EventType.CHILDREN_CHANGED, parent_path, parent.acl),
        ]

    def _delete(self, path: str, zxid: int) -> list[Event]:
        node, parent_path = self._nodes.pop(path), parent_of(path)
        assert not node.children, path
        self.size_bytes -= _size_bytes(path, node)
        self.data_bytes -= _data_bytes(path, node)
        parent = self._nodes[parent_path]
        del parent.children[name_of(path)]
        parent.pzxid = zxid
        self._unindex(path, node)
        self._note_idle(parent_path, parent)
        return [
            Event(EventType.DELETED, path, node.acl),
            Event(EventType.CHILDREN_CHANGED, parent_path, parent.acl),
        ]

    def _set_data(self, change: SetNodeData, zxid: int, time_ms: int) -> list[Event]:
        node = self._nodes[change.path]
        growth_bytes = len(change.data or b"") - len(node.data or b"")
        self.size_bytes += growth_bytes
        self.data_bytes += growth_bytes
        node.data, node.version = change.data, change.version
        node.mzxid, node.mtime_ms = zxid, time_ms
        return [Event(EventType.DATA_CHANGED, change.path, node.acl)]

    def _index(self, path: str, node: Znode) -> None:
        if node.owner > 0:
            owned = self._ephemerals.setdefault(node.owner, {})
            if path not in owned:
                owned[path] = None
                self._ephemeral_bytes[node.owner] += ephemeral_bytes(path)
        self._note_idle(path, node)

    def _unindex(self, path: str, node: Znode) -> None:
        self.idle_containers.pop(path, None)
        owned = self._ephemerals.get(node.owner)
        if owned is not None:
            del owned[path]
            self._ephemeral_bytes[node.owner] -= ephemeral_bytes(path)
            if not owned:
                del self._ephemerals[node.owner], self._ephemeral_bytes[node.owner]

    def _note_idle(self, path: str, node: Znode) -> None:
        if node.owner == CONTAINER_OWNER and node.creates > 0 and not node.children:
            self.idle_containers[path] = None


def _size_bytes(path: str, node: Znode) -> int:
    return _NODE_BYTES + len(path) + len(node.data or b"") + _acl_bytes(node.acl)


def _data_bytes(path: str, node: Znode) -> int:
    return len(path) + len(node.data or b"")


def ephemeral_bytes(path: str) -> int:
    """What an ephemeral counts in its session's share."""
    return max(len(path), EPHEMERAL_BYTES_MIN)


def _acl_bytes(acl: tuple[Acl, ...]) -> int:
    return sum(_ACL_ENTRY_BYTES + len(entry.scheme) + len(entry.id) for entry in acl)
