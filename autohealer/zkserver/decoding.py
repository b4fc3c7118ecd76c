"""Requests out of frames.

Layouts: `zookeeper.jute` of Apache ZooKeeper; `MultiOperationRecord` for multi. Bytes after a request
are ignored, as in Apache.

Must never know: the tree, sessions, what the answer will be.
Limits: those of the frame a request came in, and `STEPS_MAX`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from autohealer.zkserver.limits import STEPS_MAX
from autohealer.zkserver.protocol import (
    AddWatchMode,
    Code,
    CreateMode,
    MalformedError,
    Op,
    RefusedError,
    WatcherKind,
)
from autohealer.zkserver.requests import (
    AddWatch,
    Authenticate,
    ChangeWatches,
    Check,
    CloseSession,
    Connect,
    CountDescendants,
    Create,
    Delete,
    Exists,
    GetAcl,
    GetChildren,
    GetData,
    GetEphemerals,
    Multi,
    MultiRead,
    Ping,
    SetAcl,
    SetData,
    SetWatches,
    Sync,
    WhoAmI,
)
from autohealer.zkserver.wire import Reader

if TYPE_CHECKING:
    from collections.abc import Callable

    from autohealer.zkserver.requests import Request, WriteStep


def decode_connect(frame: bytes) -> Connect:
    """Read the first frame of a connection.

    Raises:
        MalformedError: it is too short.
    """
    reader = Reader(frame)
    reader.int32()  # protocol version, always 0
    last_zxid = reader.int64()
    timeout_ms = reader.int32()
    session_id = reader.int64()
    password = reader.buffer() or b""
    return Connect(last_zxid, timeout_ms, session_id, password, reader.remaining > 0)


def decode_request(op: int, reader: Reader) -> Request:
    """Read the body that follows a request header.

    Raises:
        MalformedError: the body is not what the type demands.
        RefusedError: UNIMPLEMENTED, a type this server does not know.
    """
    decoder = _DECODERS.get(op)
    if decoder is None:
        raise RefusedError(Code.UNIMPLEMENTED)
    return decoder(reader)


def _create(reader: Reader) -> Create:
    return Create(reader.text(), reader.buffer(), reader.vector(Reader.acl), reader.int32())


def _create2(reader: Reader) -> Create:
    plain = _create(reader)
    return Create(plain.path, plain.data, plain.acl, plain.mode, wants_stat=True)


def _create_step(reader: Reader) -> Create:
    """Inside a multi the mode decides what is returned, not the type (`MultiOperationRecord`)."""
    plain = _create(reader)
    wants_stat = plain.mode == CreateMode.CONTAINER
    return Create(plain.path, plain.data, plain.acl, plain.mode, wants_stat)


def _create_container(reader: Reader) -> Create:
    plain = _create(reader)
    return Create(plain.path, plain.data, plain.acl, CreateMode.CONTAINER, wants_stat=True)


def _create_ttl(reader: Reader) -> Create:
    plain = _create(reader)
    reader.int64()  # the time to live itself
    return Create(plain.path, plain.data, plain.acl, CreateMode.TTL, wants_stat=True)


def _delete(reader: Reader) -> Delete:
    return Delete(reader.text(), reader.int32())


def _set_data(reader: Reader) -> SetData:
    return SetData(reader.text(), reader.buffer(), reader.int32())


def _set_acl(reader: Reader) -> SetAcl:
    return SetAcl(reader.text(), reader.vector(Reader.acl), reader.int32())


def _check(reader: Reader) -> Check:
    return Check(reader.text(), reader.int32())


def _exists(reader: Reader) -> Exists:
    return Exists(reader.text(), reader.boolean())


def _get_data(reader: Reader) -> GetData:
    return GetData(reader.text(), reader.boolean())


def _get_children(reader: Reader) -> GetChildren:
    return GetChildren(reader.text(), reader.boolean())


def _get_children2(reader: Reader) -> GetChildren:
    return GetChildren(reader.text(), reader.boolean(), wants_stat=True)


def _multi(reader: Reader) -> Multi:
    steps: list[WriteStep] = []
    while (op := _next_step(reader, len(steps))) is not None:
        step = _WRITE_STEPS.get(op)
        if step is None:
            raise MalformedError(f"type {op} inside a multi")
        steps.append(step(reader))
    return Multi(tuple(steps))


def _multi_read(reader: Reader) -> MultiRead:
    steps: list[GetData | GetChildren] = []
    while (op := _next_step(reader, len(steps))) is not None:
        match op:
            case Op.GET_DATA:
                steps.append(_get_data(reader))
            case Op.GET_CHILDREN:
                steps.append(_get_children(reader))
            case _:
                raise MalformedError(f"type {op} inside a multiRead")
    return MultiRead(tuple(steps))


def _next_step(reader: Reader, count: int) -> int | None:
    """Read a MultiHeader after `count` steps: the type of the next step, None at the end."""
    op = reader.int32()
    done = reader.boolean()
    reader.int32()  # error, of use in replies only
    if done:
        return None
    if count == STEPS_MAX:
        raise MalformedError(f"more than {STEPS_MAX} steps")
    return op


def _watcher_kind(reader: Reader) -> WatcherKind:
    try:
        return WatcherKind(reader.int32())
    except ValueError as error:
        raise MalformedError("an unknown kind of watch") from error


def _add_watch(reader: Reader) -> AddWatch:
    path = reader.text()
    try:
        return AddWatch(path, AddWatchMode(reader.int32()))
    except ValueError as error:
        raise MalformedError("an unknown way to watch") from error


def _set_watches(reader: Reader) -> SetWatches:
    since_zxid = reader.int64()
    return SetWatches(since_zxid, *(reader.texts() for _ in range(3)))


def _set_watches2(reader: Reader) -> SetWatches:
    since_zxid = reader.int64()
    return SetWatches(since_zxid, *(reader.texts() for _ in range(5)))


def _authenticate(reader: Reader) -> Authenticate:
    reader.int32()  # a type nobody uses
    scheme, secret = reader.text(), reader.buffer()
    if secret is None and scheme == "digest":
        raise RefusedError(Code.AUTH_FAILED)
    return Authenticate(scheme, secret or b"")


WRITES = frozenset(
    {
        *(Op.CREATE, Op.CREATE2, Op.CREATE_CONTAINER, Op.CREATE_TTL, Op.DELETE),
        *(Op.SET_DATA, Op.SET_ACL, Op.CHECK, Op.MULTI),
    }
)
"""Types that use up a zxid, even when they are refused or can not be read."""

_WRITE_STEPS: dict[int, Callable[[Reader], WriteStep]] = {
    Op.CREATE: _create_step,
    Op.CREATE2: _create_step,
    Op.CREATE_CONTAINER: _create_container,
    Op.CREATE_TTL: _create_ttl,
    Op.DELETE: _delete,
    Op.SET_DATA: _set_data,
    Op.CHECK: _check,
}

_DECODERS: dict[int, Callable[[Reader], Request]] = {
    **_WRITE_STEPS,
    Op.CREATE: _create,
    Op.CREATE2: _create2,
    Op.SET_ACL: _set_acl,
    Op.EXISTS: _exists,
    Op.GET_DATA: _get_data,
    Op.GET_ACL: lambda reader: GetAcl(reader.text()),
    Op.GET_CHILDREN: _get_children,
    Op.SYNC: lambda reader: Sync(reader.text()),
    Op.PING: lambda _: Ping(),
    Op.GET_CHILDREN2: _get_children2,
    Op.MULTI: _multi,
    Op.CHECK_WATCHES: lambda reader: ChangeWatches(
        reader.text(), _watcher_kind(reader), remove=False
    ),
    Op.REMOVE_WATCHES: lambda reader: ChangeWatches(
        reader.text(), _watcher_kind(reader), remove=True
    ),
    Op.MULTI_READ: _multi_read,
    Op.AUTH: _authenticate,
    Op.SET_WATCHES: _set_watches,
    Op.GET_EPHEMERALS: lambda reader: GetEphemerals(reader.text()),
    Op.COUNT_DESCENDANTS: lambda reader: CountDescendants(reader.text()),
    Op.SET_WATCHES2: _set_watches2,
    Op.ADD_WATCH: _add_watch,
    Op.WHO_AM_I: lambda _: WhoAmI(),
    Op.CLOSE_SESSION: lambda _: CloseSession(),
}
