"""Goal: the less common questions get Apache's answers; probes can read the four-letter words."""

from __future__ import annotations

import pytest

from autohealer.zkserver import fourletter
from autohealer.zkserver.protocol import Code, Op
from autohealer.zkserver.wire import Reader, pack_bool, pack_int, pack_text

from .world import EPHEMERAL, MULTI_END, World

ENVIRONMENT = {"client.port": "2181", "host.name": "here"}


def test_a_fresh_root_looks_like_apaches() -> None:
    """Tools that inspect the root would stumble."""
    client = World().client()
    reply = client.children("/")
    assert reply.texts == ["zookeeper"]
    assert (reply.stat.cversion, reply.stat.child_count) == (-1, 1)
    assert sorted(client.children("/zookeeper").texts) == ["config", "quota"]


def test_ephemerals_are_those_of_the_asking_session() -> None:
    """zkCli's getEphemerals would show somebody else's nodes."""
    world = World()
    client, other = world.client(), world.client()
    client.create("/a", mode=EPHEMERAL)
    client.create("/b", mode=EPHEMERAL)
    other.create("/c", mode=EPHEMERAL)
    found = [client.call(Op.GET_EPHEMERALS, pack_text(prefix)).texts for prefix in ("/", "", "/a")]
    assert found == [["/a", "/b"], ["/a", "/b"], ["/a"]]


def test_descendants_are_counted_at_any_depth() -> None:
    """A count would include neighbours whose names begin alike."""
    client = World().client()
    for path in ("/a", "/a/b", "/a/b/c", "/ab"):
        client.create(path)
    counts = [
        client.call(Op.COUNT_DESCENDANTS, pack_text(path)).reader.int32() for path in ("/a", "/")
    ]
    assert counts == [2, 7]
    assert client.call(Op.COUNT_DESCENDANTS, pack_text("/none")).code is Code.NO_NODE


def test_several_reads_in_one_reply() -> None:
    """The Java client's multi-read would lose results, or fail as a whole for one missing node."""
    client = World().client()
    client.create("/a", b"data")
    steps = [(Op.GET_DATA, "/a"), (Op.GET_DATA, "/none"), (Op.GET_CHILDREN, "/")]
    body = b"".join(
        pack_int(op) + pack_bool(False) + pack_int(-1) + pack_text(path) + pack_bool(False)
        for op, path in steps
    )
    reader = client.call(Op.MULTI_READ, body + MULTI_END).reader
    assert (_step_header(reader), reader.buffer()) == ((Op.GET_DATA, 0), b"data")
    reader.raw(68)
    assert (_step_header(reader), reader.int32()) == ((Op.ERROR, Code.NO_NODE), Code.NO_NODE)
    assert _step_header(reader) == (Op.GET_CHILDREN, 0)
    assert set(reader.vector(Reader.text)) == {"zookeeper", "a"}
    assert _step_header(reader) == (-1, -1)


def _step_header(reader: Reader) -> tuple[int, int]:
    op = reader.int32()
    reader.boolean()
    return op, reader.int32()


def test_sync_is_answered_in_order() -> None:
    """A program that waits for sync before it reads would hang."""
    assert World().client().call(Op.SYNC, pack_text("/a")).text == "/a"


def test_the_embedded_server_is_recognised_by_its_version() -> None:
    """The daemon could not tell its own server from an ensemble, nor kazoo its version."""
    world = World()
    answer = fourletter.answer(b"srvr", world.machine, ENVIRONMENT)
    assert answer is not None
    assert answer.startswith(b"Zookeeper version: 3.8.0-autohealer-embedded")
    assert f"Zxid: {world.state.zxid:#x}\n".encode() in answer


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        (b"ruok", b"imok"),
        (b"isro", b"rw"),
        (b"stat", b"Node count: 5"),
        (b"mntr", b"zk_ephemerals_count\t1\n"),
        (b"conf", b"tickTime=500\n"),
        (b"cons", b"to=4000"),
        (b"dump", b"\t/e\n"),
        (b"wchs", b"1 connections watching 1 paths\nTotal watches:1\n"),
        (b"envi", b"zookeeper.version=3.8.0-autohealer-embedded"),
    ],
)
def test_every_word_is_answered(word: bytes, expected: bytes) -> None:
    """Monitoring that works with Apache ZooKeeper would not work here."""
    world = World()
    client = world.client()
    client.create("/e", mode=EPHEMERAL)
    client.get("/e", watch=True)
    assert fourletter.is_word(word)
    assert expected in (fourletter.answer(word, world.machine, ENVIRONMENT) or b"")


def test_what_is_no_word_is_a_frame() -> None:
    """A client's first packet would be taken for a question."""
    assert not fourletter.is_word(b"\0\0\0\x2d")
    assert fourletter.answer(b"kill", World().machine, ENVIRONMENT) is None
