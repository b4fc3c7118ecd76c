"""Goal: what no proper client sends is answered, refused or hung up on as Apache ZooKeeper does it.

Theory of operation. The same bytes go to both servers, followed by a sync that shows whether the
connection still serves. Session ids and passwords are masked; a zxid is shown as how far it is
behind the sync's. Differences that are meant are in `docs/conformance.md` and not here.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO

import pytest

from autohealer.zkserver.protocol import OPEN_ACL, Op
from autohealer.zkserver.wire import (
    Reader,
    pack_acl,
    pack_buffer,
    pack_frame,
    pack_int,
    pack_long,
    pack_text,
    pack_texts,
)
from tests.conformance.fuzz import apache_and
from tests.support.apache import apache_is_installed
from tests.support.embedded import EmbeddedZooKeeper
from tests.support.ports import HOST
from tests.support.require import require

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conformance.lockstep import Pair

pytestmark = pytest.mark.conformance

WITHIN_S = 10.0
_FLOOR_MS = 4000
"""Two of Apache's ticks here; the embedded server's are shorter."""
_TOUCHED = pack_buffer(b"") + pack_acl(OPEN_ACL) + pack_int(0)
_SYNC = pack_frame(pack_int(7777) + pack_int(Op.SYNC) + pack_text("/"))
_ANY = _EVENT = pack_int(-1)


def first(
    session_id: int = 0,
    password: bytes | None = bytes(16),
    *,
    version: int = 0,
    zxid: int = 0,
    timeout_ms: int = 10_000,
    tail: bytes = b"\0",
) -> bytes:
    """A first frame, all right unless told otherwise."""
    head = pack_int(version) + pack_long(zxid) + pack_int(timeout_ms) + pack_long(session_id)
    return pack_frame(head + pack_buffer(password) + tail)


def then(op: int, body: bytes, xid: int = 1) -> bytes:
    """A proper first frame and one request."""
    return first() + pack_frame(pack_int(xid) + pack_int(op) + body)


def step(op: int, body: bytes) -> bytes:
    """A multi of one step."""
    return pack_int(op) + b"\0" + _ANY + body + _ANY + b"\1" + _ANY


PACKETS = {
    "a client before 3.4": first(tail=b""),
    "a client that would read only": first(tail=b"\1"),
    "a first frame with more at its end": first(tail=b"\0more"),
    "another protocol version": first(version=7),
    "no timeout": first(timeout_ms=0),
    "a timeout below zero": first(timeout_ms=-5),
    "a zxid below zero": first(zxid=-9),
    "a zxid to come": first(zxid=2**62),
    "an unknown session": first(12345),
    "an unknown session of a client before 3.4": first(12345, tail=b""),
    "a session id below zero": first(-5),
    "no password": first(password=None),
    "a short password": first(password=b"abc"),
    "a long password": first(password=b"a" * 40),
    "a short first frame": pack_frame(b"abc"),
    "an empty first frame": pack_frame(b""),
    "a length of -1": pack_int(-1),
    "a first frame cut short": pack_frame(pack_int(0) + pack_long(0) + pack_int(5)),
    "everything at once, as Java sends it": (
        then(Op.AUTH, pack_int(0) + pack_text("digest") + pack_buffer(b"u:p"), -4)
        + pack_frame(pack_int(-8) + pack_int(101) + pack_long(0) + pack_texts(["/none"]) * 3)
        + pack_frame(pack_int(1) + pack_int(Op.WHO_AM_I))
    ),
    "a path of -5 bytes": then(Op.EXISTS, pack_int(-5) + b"\0"),
    "no path to set": then(Op.SET_DATA, pack_int(-1) + pack_buffer(b"") + _ANY),
    "no list": then(Op.CREATE, pack_text("/x") + pack_buffer(b"") + _ANY + pack_int(0)),
    "a list of -7": then(Op.CREATE, pack_text("/x") + pack_buffer(b"") + pack_int(-7) + _ANY),
    "a list of 2**31-1": then(
        Op.CREATE, pack_text("/x") + pack_buffer(b"") + pack_int(2**31 - 1) + _ANY
    ),
    "an unknown way to watch": then(Op.ADD_WATCH, pack_text("/") + pack_int(9)),
    "a watch where no node can be": then(Op.ADD_WATCH, pack_text("x") + pack_int(0)),
    "an unknown kind of watch": then(Op.REMOVE_WATCHES, pack_text("/") + pack_int(9)),
    "a sync of no path": then(Op.SYNC, pack_text("nonsense")),
    "a sync of nothing": then(Op.SYNC, b""),
    "an unknown step": then(Op.MULTI, step(77, pack_text("/x"))),
    "a setACL as a step": then(
        Op.MULTI, step(Op.SET_ACL, pack_text("/") + pack_acl(OPEN_ACL) + _ANY)
    ),
    "a read as a step": then(Op.MULTI, step(Op.GET_DATA, pack_text("/") + b"\0")),
    "a create with unknown flags as a step": then(
        Op.MULTI, step(Op.CREATE, pack_text("/x") + _TOUCHED[:-4] + pack_int(9))
    ),
    "a number for a name": then(Op.CREATE, pack_text("/") + _TOUCHED[:-4] + pack_int(2)),
    "the root once more": then(Op.CREATE, pack_text("/") + _TOUCHED),
    "a quota": then(Op.CREATE, pack_text("/zookeeper/quota/x") + _TOUCHED),
    "the configuration": then(
        Op.SET_DATA, pack_text("/zookeeper/config") + pack_buffer(b"") + _ANY
    ),
    "the end of the quotas": then(Op.DELETE, pack_text("/zookeeper/quota") + _ANY),
    "no secret": then(Op.AUTH, pack_int(0) + pack_text("digest") + _ANY, -4),
    "a secret without a colon": then(
        Op.AUTH, pack_int(0) + pack_text("digest") + pack_buffer(b"nobody"), -4
    ),
    "an address": then(Op.AUTH, pack_int(0) + pack_text("ip") + pack_buffer(b""), -4),
    "a claim to be super": then(Op.AUTH, pack_int(0) + pack_text("super") + pack_buffer(b""), -4),
    "a scheme of another build": then(Op.AUTH, pack_int(0) + pack_text("x509") + _ANY, -4),
    "a setWatches cut short": then(Op.SET_WATCHES, pack_long(0), -8),
    "a ping with a body": then(Op.PING, b"body", -2),
}


ATTEMPTS = 3
"""The session of an earlier packet may end just between an answer and the next, and has a zxid of its own."""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both servers, fresh for this module."""
    require("Apache ZooKeeper", apache_is_installed())
    with apache_and(EmbeddedZooKeeper, tmp_path_factory.mktemp("odd")) as servers:
        yield servers


@pytest.mark.parametrize("name", PACKETS)
def test_an_odd_packet_meets_the_same(pair: Pair, name: str) -> None:
    """A client library's quirk that Apache puts up with would fail here, or the other way round."""
    for _ in range(ATTEMPTS):
        apache, ours = (_answers(port, PACKETS[name]) for port in pair.ports)
        if ours == apache:
            return
    assert ours == apache


def _answers(port: int, packet: bytes) -> list[object]:
    """Everything that comes back for a packet and the sync behind it, in normal form.

    The sync follows when all is answered: sent to a server that hangs up, it could cost an answer.
    """
    with (
        socket.create_connection((HOST, port), WITHIN_S) as client,
        client.makefile("rb") as received,
    ):
        client.sendall(packet)
        frames = list(_frames(received, _count(packet)))
        with suppress(ConnectionError):
            client.sendall(_SYNC)
        synced = list(_frames(received, 1))
    if not frames:
        return ["hung up"]
    last_zxid = Reader(synced[0][4:]).int64() if synced else 0
    replies = [_relative(frame, last_zxid) for frame in (*frames[1:], *synced)]
    return [_masked(frames[0]), *replies, "serves" if synced else "hung up"]


def _count(packet: bytes) -> int:
    """How many frames a packet has, a broken one included."""
    reader, count = Reader(packet), 0
    while reader.remaining:
        reader.raw(max(reader.int32(), 0))
        count += 1
    return count


def _frames(received: BinaryIO, due: int) -> Iterator[bytes]:
    """So many replies and the events among them; fewer when the server hangs up."""
    with suppress(ConnectionError):
        while due and (head := received.read(4)):
            frame = received.read(int.from_bytes(head, "big"))
            due -= frame[:4] != _EVENT
            yield frame


def _masked(connected: bytes) -> object:
    reader = Reader(connected)
    version, timeout_ms, session_id = reader.int32(), reader.int32(), reader.int64()
    password = reader.buffer() or b""
    tail = reader.raw(reader.remaining)
    granted = max(timeout_ms, _FLOOR_MS)
    return version, granted, session_id > 0, len(password), any(password), tail


def _relative(reply: bytes, last_zxid: int) -> object:
    reader = Reader(reply)
    xid, zxid, code = reader.int32(), reader.int64(), reader.int32()
    behind = last_zxid - zxid if zxid > 0 else zxid
    return xid, behind if last_zxid else "unknown", code, reader.raw(reader.remaining)
