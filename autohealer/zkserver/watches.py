"""Who waits to hear about which path.

Theory of operation. Four tables map a path to the connections that watch it: `data` and `child` fire
once, `persistent` and `recursive` until removed. A recursive watch hears of every node below it being
created, deleted or changed, but of no children changes, since those are the same news twice.
Beside each connection stands which halves of its watch are left, as a `WatcherKind`: the data half
hears of a node, the child half of its children, and both of its end; a watch that stays has both
until a client removes one of them.
Watches belong to a connection, not to a session: a reconnected client sets its own again.
What a connection that is gone has watched is given back a little at a time; nobody is told of it any more.
Source: `WatchManager`, `DataTree.addWatch`, `DataTree.deleteNode` of Apache ZooKeeper.

Must never know: nodes, access lists, how an event is delivered.
Limits: `watches_max` and `kept_bytes_max` in all, a stranger's share of the latter, and `watch_bytes_max` of one
connection, refused with THROTTLED; paths as in `paths.check_size`.
"""

from __future__ import annotations

from collections import Counter
from enum import Enum, auto
from itertools import islice
from sys import getsizeof
from typing import TYPE_CHECKING

from autohealer.zkserver.limits import WATCH_BYTES
from autohealer.zkserver.paths import ancestors_or_self, check_size
from autohealer.zkserver.protocol import Code, EventType, RefusedError, WatcherKind

if TYPE_CHECKING:
    from autohealer.zkserver.shares import Share

SLICE_WATCHES = 1000
"""Given back in a row, within a few milliseconds."""


class Table(Enum):
    """The four ways to watch a path."""

    DATA = auto()
    CHILD = auto()
    PERSISTENT = auto()
    RECURSIVE = auto()


_ORDER = (Table.DATA, Table.CHILD, Table.PERSISTENT, Table.RECURSIVE)
_HALVES = {
    Table.DATA: WatcherKind.DATA,
    Table.CHILD: WatcherKind.CHILDREN,
    Table.PERSISTENT: WatcherKind.ANY,
    Table.RECURSIVE: WatcherKind.ANY,
}
_HEARING = {
    EventType.CREATED: WatcherKind.DATA,
    EventType.DATA_CHANGED: WatcherKind.DATA,
    EventType.CHILDREN_CHANGED: WatcherKind.CHILDREN,
    EventType.DELETED: WatcherKind.ANY,
}
"""Which halves an event wakes."""


class Watches:
    """The watch tables. Connections are numbers; dicts keep the order of asking."""

    def __init__(self, watches_max: int, watch_bytes_max: int, kept: Share) -> None:
        """`kept` is what all connections may have the server keep for them, in bytes."""
        self._watches_max = watches_max
        self._kept = kept
        self._strangers: dict[int, int] = {}
        self._watch_bytes_max = watch_bytes_max
        self._tables: dict[Table, dict[str, dict[int, int]]] = {table: {} for table in Table}
        self._data, self._child, self._persistent, self._recursive = (
            self._tables[table] for table in _ORDER
        )
        self._by_connection: dict[int, dict[tuple[Table, str], None]] = {}
        self._bytes: Counter[int] = Counter()
        self._gone: dict[int, None] = {}
        self.count = 0

    @property
    def connection_count(self) -> int:
        """Connections with at least one watch."""
        return len(self._by_connection)

    @property
    def path_count(self) -> int:
        """Watched paths, one per table they are in."""
        return sum(map(len, self._tables.values()))

    def add(self, table: Table, path: str, connection: int) -> None:
        """Watch a path; asking twice is asking once.

        Raises:
            RefusedError: THROTTLED, there are too many watches; BAD_ARGUMENTS, no path is so large.
        """
        watchers = self._tables[table].get(path)
        if watchers is not None and connection in watchers:
            watchers[connection] = _HALVES[table]
            return
        check_size(path)
        size_bytes, stranger = _size_bytes(path), self._strangers.get(connection)
        held_bytes = self._bytes[connection] + size_bytes
        if self.count >= self._watches_max or held_bytes > self._watch_bytes_max:
            raise RefusedError(Code.THROTTLED)
        if size_bytes > self._kept.room(stranger):
            raise RefusedError(Code.THROTTLED)
        self._kept.take(stranger, size_bytes)
        self._tables[table].setdefault(path, {})[connection] = _HALVES[table]
        self._by_connection.setdefault(connection, {})[table, path] = None
        self._bytes[connection] = held_bytes
        self.count += 1

    def bytes_of(self, connection: int) -> int:
        """What a connection's watches take in memory, roughly."""
        return self._bytes[connection]

    def fire(self, event: EventType, path: str) -> list[int]:
        """The connections to tell, each once; watches that fire once are gone afterwards."""
        told: dict[int, None] = {}
        halves = _HEARING[event]
        if halves & WatcherKind.DATA and path in self._data:
            told.update(self._take(Table.DATA, path))
        if halves & WatcherKind.CHILDREN and path in self._child:
            told.update(self._take(Table.CHILD, path))
        if path in self._persistent:
            _hear(self._persistent[path], halves, told)
        if self._recursive and event is not EventType.CHILDREN_CHANGED:
            for above in ancestors_or_self(path):
                if above in self._recursive:
                    _hear(self._recursive[above], halves, told)
        return [each for each in told if each not in self._gone] if self._gone else list(told)

    def has(self, kind: WatcherKind, path: str, connection: int) -> bool:
        """Whether the connection watches the path in this way."""
        return any(self._halves(table, path, connection) & kind for table in _ORDER)

    def remove(self, kind: WatcherKind, path: str, connection: int) -> bool:
        """Stop watching; False when there was nothing to stop."""
        found = [table for table in _ORDER if self._halves(table, path, connection) & kind]
        for table in found:
            left = self._halves(table, path, connection) & ~kind
            if left:
                self._tables[table][path][connection] = left
            else:
                self._discard(table, path, connection)
        return bool(found)

    def introduce(self, connection: int, stranger: int | None) -> None:
        """Say whose a connection is, before its first watch; `stranger` as in `shares`."""
        if stranger is not None:
            self._strangers[connection] = stranger

    @property
    def is_untidy(self) -> bool:
        """Whether connections that are gone still have watches."""
        return bool(self._gone)

    def forget(self, connection: int) -> None:
        """The connection is gone; where it had very many watches, `tidy` has to be called until all are given back."""
        self._gone[connection] = None
        self.tidy()

    def tidy(self) -> None:
        """Give back some watches of who is gone."""
        connection = next(iter(self._gone))
        for table, path in list(islice(self._by_connection.get(connection, ()), SLICE_WATCHES)):
            self._discard(table, path, connection)
        if connection not in self._by_connection:
            del self._gone[connection]
            self._strangers.pop(connection, None)
            self._bytes.pop(connection, None)

    def _halves(self, table: Table, path: str, connection: int) -> int:
        return self._tables[table].get(path, {}).get(connection, 0)

    def _take(self, table: Table, path: str) -> dict[int, None]:
        taken = dict.fromkeys(self._tables[table][path])
        for connection in taken:
            self._discard(table, path, connection)
        return taken

    def _discard(self, table: Table, path: str, connection: int) -> None:
        watchers = self._tables[table][path]
        del watchers[connection]
        if not watchers:
            del self._tables[table][path]
        mine = self._by_connection[connection]
        del mine[table, path]
        self._bytes[connection] -= _size_bytes(path)
        self._kept.take(self._strangers.get(connection), -_size_bytes(path))
        if not mine:
            del self._by_connection[connection], self._bytes[connection]
        self.count -= 1


def _hear(watchers: dict[int, int], halves: int, told: dict[int, None]) -> None:
    for connection, left in watchers.items():
        if left & halves:
            told[connection] = None


def _size_bytes(path: str) -> int:
    """A path counts for each watch on it, because who was first may be gone first."""
    return WATCH_BYTES + getsizeof(path)
