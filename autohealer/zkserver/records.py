"""Journal records as bytes.

One byte says what a record is, jute values follow. The bytes say nothing about their own integrity:
`journal` puts checksums around them.

Must never know: files.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, TypeVar, assert_never

from autohealer.zkserver.images import Meta, NodeImage, Record
from autohealer.zkserver.protocol import Acl, MalformedError
from autohealer.zkserver.tree import Znode
from autohealer.zkserver.txn import (
    Change,
    CheckedNode,
    CreateNode,
    DeleteNode,
    EndSession,
    OpenSession,
    SetNodeAcl,
    SetNodeData,
    Txn,
)
from autohealer.zkserver.wire import (
    Reader,
    pack_acl,
    pack_buffer,
    pack_int,
    pack_long,
    pack_text,
    pack_vector,
)

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_META, _NODE, _SESSION, _TXN = b"M", b"N", b"S", b"T"
_NODE_NUMBERS = Struct("!qqqqqqiii")


def encode_record(record: Record) -> bytes:
    """Bytes that `decode_record` reads back as an equal record."""
    match record:
        case Txn():
            changes = pack_vector(map(_encode_change, record.changes))
            return _TXN + pack_long(record.zxid) + pack_long(record.time_ms) + changes
        case NodeImage():
            return _NODE + _encode_node(record)
        case OpenSession():
            return _SESSION + pack_long(record.session_id) + pack_int(record.timeout_ms)
        case Meta():
            numbers = pack_long(record.zxid) + pack_long(record.next_session_id)
            return _META + numbers + pack_buffer(record.secret)
        case _:
            assert_never(record)


def decode_record(raw: bytes) -> Record:
    """Read a record.

    Raises:
        MalformedError: it is not one.
    """
    reader = Reader(raw[1:])
    record = _lookup(_RECORDS, raw[:1])(reader)
    if reader.remaining:
        raise MalformedError(f"{reader.remaining} bytes too many")
    return record


def _encode_node(image: NodeImage) -> bytes:
    node = image.node
    numbers = _NODE_NUMBERS.pack(
        node.owner,
        node.czxid,
        node.mzxid,
        node.pzxid,
        node.ctime_ms,
        node.mtime_ms,
        node.version,
        node.aversion,
        node.creates,
    )
    return pack_text(image.path) + pack_buffer(node.data) + pack_acl(node.acl) + numbers


def _decode_node(reader: Reader) -> NodeImage:
    path, data, acl = reader.text(), reader.buffer(), reader.vector(Reader.acl)
    owner, czxid, mzxid, pzxid, ctime_ms, mtime_ms = (reader.int64() for _ in range(6))
    version, aversion, creates = (reader.int32() for _ in range(3))
    node = Znode(
        data,
        acl,
        owner=owner,
        czxid=czxid,
        mzxid=mzxid,
        pzxid=pzxid,
        ctime_ms=ctime_ms,
        mtime_ms=mtime_ms,
        version=version,
        aversion=aversion,
        creates=creates,
    )
    return NodeImage(path, node)


def _decode_txn(reader: Reader) -> Txn:
    return Txn(reader.int64(), reader.int64(), reader.vector(_decode_change))


def _decode_meta(reader: Reader) -> Meta:
    return Meta(reader.int64(), reader.int64(), reader.buffer() or b"")


def _decode_session(reader: Reader) -> OpenSession:
    return OpenSession(reader.int64(), reader.int32())


_RECORDS: dict[bytes, Callable[[Reader], Record]] = {
    _META: _decode_meta,
    _NODE: _decode_node,
    _SESSION: _decode_session,
    _TXN: _decode_txn,
}


def _encode_change(change: Change) -> bytes:  # noqa: PLR0911 - one return per kind of change
    match change:
        case CreateNode():
            head = b"c" + pack_text(change.path) + pack_buffer(change.data) + pack_acl(change.acl)
            return head + pack_long(change.owner) + pack_int(change.parent_creates)
        case DeleteNode():
            return b"d" + pack_text(change.path)
        case SetNodeData():
            head = b"s" + pack_text(change.path) + pack_buffer(change.data)
            return head + pack_int(change.version)
        case SetNodeAcl():
            head = b"a" + pack_text(change.path) + pack_acl(change.acl)
            return head + pack_int(change.version)
        case CheckedNode():
            return b"k" + pack_text(change.path)
        case OpenSession():
            return b"o" + pack_long(change.session_id) + pack_int(change.timeout_ms)
        case EndSession():
            return b"e" + pack_long(change.session_id)
        case _:
            assert_never(change)


def _decode_change(reader: Reader) -> Change:
    return _lookup(_CHANGES, reader.raw(1))(reader)


def _acl(reader: Reader) -> tuple[Acl, ...]:
    return reader.vector(Reader.acl)


_CHANGES: dict[bytes, Callable[[Reader], Change]] = {
    b"c": lambda r: CreateNode(r.text(), r.buffer(), _acl(r), r.int64(), r.int32()),
    b"d": lambda r: DeleteNode(r.text()),
    b"s": lambda r: SetNodeData(r.text(), r.buffer(), r.int32()),
    b"a": lambda r: SetNodeAcl(r.text(), _acl(r), r.int32()),
    b"k": lambda r: CheckedNode(r.text()),
    b"o": _decode_session,
    b"e": lambda r: EndSession(r.int64()),
}


def _lookup(table: dict[bytes, T], kind: bytes) -> T:
    try:
        return table[kind]
    except KeyError as error:
        raise MalformedError(f"a record of unknown kind {kind!r}") from error
