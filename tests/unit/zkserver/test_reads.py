"""Goal: the less common questions get Apache's answers; probes can read the four-letter words."""

from __future__ import annotations

import pytest

from autohealer.zkserver import fourletter
from autohealer.zkserver.host import HostFacts
from autohealer.zkserver.protocol import Code, Op
from autohealer.zkserver.wire import Reader, pack_bool, pack_int, pack_text

from .world import EPHEMERAL, MULTI_END, WALL_START_MS, World, create_body

HOST = HostFacts(port=2181, uptime_ms=7, open_file_count=9, open_file_max=4160, data_bytes=77)


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
    answer = fourletter.answer(b"srvr", world.machine, world.now, lambda: HOST)
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
    assert expected in (fourletter.answer(word, world.machine, world.now, lambda: HOST) or b"")


def test_what_is_no_word_is_a_frame() -> None:
    """A client's first packet would be taken for a question."""
    assert not fourletter.is_word(b"\0\0\0\x2d")
    world = World()
    assert fourletter.answer(b"kill", world.machine, world.now, lambda: HOST) is None


def _ask(world: World, word: bytes) -> str:
    return (fourletter.answer(word, world.machine, world.now, lambda: HOST) or b"").decode()


def test_cons_tells_of_a_client_what_apache_tells() -> None:
    """Whoever looks for the client that does not move would find no time and no operation."""
    world = World()
    client, _bare = world.client(), world.peer("127.0.0.2")
    zxid = world.state.zxid
    details = f",sid={client.session_id:#x},lop={{}},est={WALL_START_MS},to=4000"
    details += ",lcxid={},lzxid={:#x},lresp={}"
    details += ",llat=0,minlat=0,avglat=0,maxlat=0)\n"
    head = " /127.0.0.1:0[1](queued=0,recved={0},sent={0}"
    bare = " /127.0.0.2:0[1](queued=0,recved=0,sent=0)\n\n"
    assert _ask(world, b"cons") == head.format(1) + details.format("SESS", "0x0", zxid, 0) + bare
    world.advance_to(40)
    client.call(Op.CREATE, create_body("/a"), xid=17)
    client.call(Op.PING, xid=-2)
    assert _ask(world, b"cons") == (
        head.format(3) + details.format("PING", "0x11", zxid + 1, 40) + bare
    )


def test_dump_tells_when_who_expires_as_apache_tells_it() -> None:
    """Scripts that list sessions and connections would find neither."""
    world = World()
    first, second = world.client(2000), world.client(6000)
    second.create("/e", mode=EPHEMERAL)
    world.peer()
    assert _ask(world, b"dump") == (
        "SessionTracker dump:\nSession Sets (2)/(2):\n"
        f"1 expire at Fri Jan 15 08:00:02 UTC 2027:\n\t{first.session_id:#x}\n"
        f"1 expire at Fri Jan 15 08:00:06 UTC 2027:\n\t{second.session_id:#x}\n"
        "ephemeral nodes dump:\nSessions with Ephemerals (1):\n"
        f"{second.session_id:#x}:\n\t/e\n"
        "Connections dump:\nConnections Sets (3)/(3):\n"
        "1 expire at Fri Jan 15 08:00:02 UTC 2027:\n"
        f"\tip: /127.0.0.1:0 sessionId: {first.session_id:#x}\n"
        "1 expire at Fri Jan 15 08:00:06 UTC 2027:\n"
        f"\tip: /127.0.0.1:0 sessionId: {second.session_id:#x}\n"
        "1 expire at Fri Jan 15 08:00:10 UTC 2027:\n"
        "\tip: /127.0.0.1:0 sessionId: 0x0\n"
    )


def test_conf_has_the_fields_of_apaches_in_its_order() -> None:
    """Scripts that read a setting would find none, or another's."""
    names = [line.partition("=")[0] for line in _ask(World(), b"conf").splitlines()]
    assert " ".join(names) == (
        "clientPort secureClientPort dataDir dataDirSize dataLogDir dataLogSize tickTime"
        " maxClientCnxns minSessionTimeout maxSessionTimeout clientPortListenBacklog serverId"
    )
    assert "dataDirSize=77\n" in _ask(World(), b"conf")


def test_mntr_tells_of_the_process() -> None:
    """The alarm before descriptors run out, and the one for restarts, would have nothing to read."""
    told = _ask(World(), b"mntr")
    assert (
        "zk_open_file_descriptor_count\t9\nzk_max_file_descriptor_count\t4160\nzk_uptime\t7\n"
        in told
    )
