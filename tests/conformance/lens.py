"""What a client sees, in a form that two servers must share.

Theory of operation. Zxids become distances from the start of the run, which must be the same on both
servers; a time must be the time of the transaction whose zxid stands beside it, and the same for all
nodes of that transaction; sessions become names; paths lose the run's root. The orders of children
and of ephemerals are nobody's promise and are sorted away. Everything else stays as it came.

Must never know: which server it looks at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from autohealer.zkserver.protocol import EventType, Op
from autohealer.zkserver.wire import Reader
from tests.conformance.rawclient import End, Event

if TYPE_CHECKING:
    from tests.conformance.rawclient import Item


class Lens:
    """The normal form of one server's answers during one run."""

    def __init__(self, root: str, base_zxid: int) -> None:
        self._root = root
        self._base_zxid = base_zxid
        self._times_ms: dict[int, int] = {}
        self._names = {0: "nobody"}
        self.last_zxid = base_zxid

    def name_session(self, session_id: int, name: str) -> None:
        """From now on this session is called so."""
        self._names[session_id] = name

    def show(self, item: Item) -> str:
        """One item as a reader of a transcript sees it, and as the other server must show it too."""
        if isinstance(item, End):
            return item.reason
        if isinstance(item, Event):
            return self._event(item)
        if item.code == 0 and item.zxid > self.last_zxid:
            self.last_zxid = item.zxid
        head = f"{item.op.name.lower()} @{self._zxid(item.zxid)}"
        order = "" if item.xid_matches else " to another request"
        if item.code != 0:
            return f"{head}{order} error {item.code}" + (f" {item.body!r}" if item.body else "")
        reader = Reader(item.body)
        shown = self._value(item.op, reader)
        rest = reader.raw(reader.remaining)
        return f"{head}{order} {shown}" + (f" and {rest!r}" if rest else "")

    def _event(self, event: Event) -> str:
        reader = Reader(event.body)
        kind, state, path = reader.int32(), reader.int32(), reader.text()
        assert (state, reader.remaining) == (3, 0), event
        known = EventType(kind).name.lower() if kind in set(EventType) else str(kind)
        return f"EVENT {known} {self._path(path)} header {event.zxid} {event.code}"

    def _value(self, op: int, reader: Reader) -> str:  # noqa: PLR0911 - one return per layout
        match op:
            case Op.CREATE | Op.SYNC:
                return self._path(reader.text())
            case Op.CREATE2 | Op.CREATE_CONTAINER | Op.CREATE_TTL:
                return f"{self._path(reader.text())} {self._stat(reader)}"
            case Op.EXISTS | Op.SET_DATA | Op.SET_ACL:
                return self._stat(reader)
            case Op.GET_DATA:
                return f"{reader.buffer()!r} {self._stat(reader)}"
            case Op.GET_CHILDREN:
                return self._texts(reader)
            case Op.GET_CHILDREN2:
                return f"{self._texts(reader)} {self._stat(reader)}"
            case Op.GET_ACL:
                return f"{[tuple(acl) for acl in reader.vector(Reader.acl)]} {self._stat(reader)}"
            case Op.GET_EPHEMERALS:
                return self._texts(reader)
            case Op.COUNT_DESCENDANTS | Op.ADD_WATCH:
                return str(reader.int32())
            case Op.MULTI | Op.MULTI_READ:
                return self._steps(reader)
            case Op.WHO_AM_I:
                return str(sorted(reader.vector(lambda one: (one.text(), one.text()))))
            case _:
                return "ok"

    def _steps(self, reader: Reader) -> str:
        steps: list[str] = []
        while True:
            op, done, code = reader.int32(), reader.boolean(), reader.int32()
            if done:
                return f"[{'; '.join(steps)}]"
            match op:
                case Op.ERROR:
                    value = f"error {reader.int32()}"
                case Op.DELETE | Op.CHECK:
                    value = "ok"
                case _:
                    value = self._value(op, reader)
            steps.append(f"{op} {code} {value}")

    def _texts(self, reader: Reader) -> str:
        return str(sorted(map(self._path, reader.vector(Reader.text))))

    def _stat(self, reader: Reader) -> str:
        czxid, mzxid, ctime_ms, mtime_ms = (reader.int64() for _ in range(4))
        versions = ".".join(str(reader.int32()) for _ in range(3))
        owner_id = reader.int64()
        data_bytes, child_count, pzxid = reader.int32(), reader.int32(), reader.int64()
        owner = self._names.get(owner_id, "a stranger")
        zxids = ",".join(str(self._zxid(zxid)) for zxid in (czxid, mzxid, pzxid))
        times = self._time(czxid, ctime_ms) + self._time(mzxid, mtime_ms)
        return (
            f"<c,m,pzxid {zxids} versions {versions} {owner} {data_bytes}B {child_count}ch{times}>"
        )

    def _time(self, zxid: int, time_ms: int) -> str:
        """Empty when a time is that of its transaction, and not before an earlier one's."""
        known_ms = self._times_ms.setdefault(zxid, time_ms)
        return "" if known_ms == time_ms else " TIME OF ANOTHER TRANSACTION"

    def _zxid(self, zxid: int) -> int:
        """0 and -1 are special; whatever was there before the run is alike."""
        return zxid if zxid in {0, -1} else zxid - self._base_zxid

    def _path(self, path: str) -> str:
        if not path.startswith(self._root):
            return path
        return path[len(self._root) :] or "."
