"""Requests that are answered over several turns: what each step puts out.

Theory of operation. A job is an iterator; a step puts out some of the answer, and the last one its end. Both kinds of
job answer with the zxid that stood when they began: a client that comes back asks for what happened since then.

Must never know: whose turn it is, time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from autohealer.zkserver.listings import Streamed
from autohealer.zkserver.protocol import Code, RefusedError
from autohealer.zkserver.replies import pack_event, pack_reply

if TYPE_CHECKING:
    from collections.abc import Iterator

    from autohealer.zkserver.connections import Connection
    from autohealer.zkserver.outbox import Outbox
    from autohealer.zkserver.reads import Rearming


def begin(
    outbox: Outbox, connection: Connection, xid: int, zxid: int, answer: Streamed | Rearming
) -> Iterator[None]:
    """The job that answers a request so; nothing is done before its first step."""
    if isinstance(answer, Streamed):
        return _stream(outbox, connection, pack_reply(xid, zxid, Code.OK), answer)
    return _rearm(outbox, connection, xid, zxid, answer)


def _stream(outbox: Outbox, connection: Connection, head: bytes, body: Streamed) -> Iterator[None]:
    outbox.begin(connection, len(head) + body.size_bytes)
    outbox.part(connection, head)
    for part in body.parts:
        outbox.part(connection, part)
        if connection.owed_bytes:
            yield


def _rearm(
    outbox: Outbox, connection: Connection, xid: int, zxid: int, slices: Rearming
) -> Iterator[None]:
    code = Code.OK
    try:
        for news in slices:
            if news is None:
                yield
            else:
                outbox.send(connection, pack_event(*news))
    except RefusedError as refusal:
        code = refusal.code
    outbox.send(connection, pack_reply(xid, zxid, code))
