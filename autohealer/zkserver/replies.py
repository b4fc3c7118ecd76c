"""Replies and watch events as bytes, without the frame's length.

Must never know: how an answer was found.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, assert_never

from autohealer.zkserver.protocol import WATCH_XID, Code, EventType, Op
from autohealer.zkserver.requests import Check, Create, Delete, SetAcl, SetData
from autohealer.zkserver.wire import (
    pack_bool,
    pack_buffer,
    pack_int,
    pack_long,
    pack_stat,
    pack_text,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autohealer.zkserver.protocol import Stat
    from autohealer.zkserver.requests import WriteStep

_REPLY_HEADER = Struct("!iqi")
_STEP_HEADER = Struct("!i?i")
_STATE_CONNECTED = 3

MULTI_END = _STEP_HEADER.pack(-1, True, -1)  # noqa: FBT003 - the layout of MultiHeader
NO_PASSWORD = bytes(16)


def pack_reply(xid: int, zxid: int, code: Code, body: bytes = b"") -> bytes:
    """The answer to one request; `zxid` is the last one processed."""
    return _REPLY_HEADER.pack(xid, zxid, code) + body


def pack_event(event: EventType, path: str) -> bytes:
    """A watch event; its header's zxid is -1 as in Apache up to 3.8."""
    header = _REPLY_HEADER.pack(WATCH_XID, -1, Code.OK)
    return header + pack_int(event) + pack_int(_STATE_CONNECTED) + pack_text(path)


def pack_connected(timeout_ms: int, session_id: int, password: bytes, *, read_only: bool) -> bytes:
    """The answer to a connect request; with `read_only` for clients that know the flag."""
    body = pack_int(0) + pack_int(timeout_ms) + pack_long(session_id) + pack_buffer(password)
    return body + pack_bool(False) if read_only else body  # noqa: FBT003 - never read-only


def pack_session_expired(*, read_only: bool) -> bytes:
    """Tells a client that the session it wants back is gone."""
    return pack_connected(0, 0, NO_PASSWORD, read_only=read_only)


def pack_step(op: Op, body: bytes) -> bytes:
    """One good result inside a multi."""
    return _STEP_HEADER.pack(op, False, Code.OK) + body  # noqa: FBT003 - the layout


def pack_step_error(code: Code) -> bytes:
    """One bad result inside a multi."""
    return _STEP_HEADER.pack(Op.ERROR, False, code) + pack_int(code)  # noqa: FBT003 - the layout


def pack_write_result(step: WriteStep, path: str, stat: Stat | None) -> bytes:
    """What a step returns, alone or in a multi; `path` is where the node ended up."""
    match step:
        case Create(wants_stat=True):
            assert stat is not None, path
            return pack_text(path) + pack_stat(stat)
        case Create():
            return pack_text(path)
        case SetData() | SetAcl():
            assert stat is not None, path
            return pack_stat(stat)
        case Delete() | Check():
            return b""
        case _:
            assert_never(step)


def op_of(step: WriteStep) -> Op:
    """The type a step's result carries inside a multi (`OpResult`)."""
    match step:
        case Create(wants_stat=True):
            return Op.CREATE2
        case Create():
            return Op.CREATE
        case Delete():
            return Op.DELETE
        case SetData():
            return Op.SET_DATA
        case SetAcl():
            return Op.SET_ACL
        case Check():
            return Op.CHECK
        case _:
            assert_never(step)


def pack_multi(
    steps: Sequence[WriteStep], paths: Sequence[str], stats: Sequence[Stat | None]
) -> bytes:
    """Results of a multi that was carried out."""
    results = (
        pack_step(op_of(step), pack_write_result(step, path, stat))
        for step, path, stat in zip(steps, paths, stats, strict=True)
    )
    return b"".join(results) + MULTI_END


def pack_multi_failure(count: int, failed_at: int, code: Code) -> bytes:
    """Results of a multi that was refused: before the culprit 0, after it -2 (`DataTree.processTxn`)."""
    codes: Sequence[Code] = [
        *[Code.OK] * failed_at,
        code,
        *[Code.RUNTIME_INCONSISTENCY] * (count - failed_at - 1),
    ]
    return b"".join(map(pack_step_error, codes)) + MULTI_END
