"""Goal: nobody can hurt a neighbour. Method: a real process under attack, a session beside that measures."""

from __future__ import annotations

import socket
import subprocess
import threading
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from autohealer.zkserver.limits import STEPS_MAX
from autohealer.zkserver.protocol import Code, Op
from autohealer.zkserver.wire import pack_frame, pack_int, pack_long, pack_text
from tests.support.eventually import eventually

from .rawclient import PING, WITHIN_S, Client, LimitedZooKeeper, connect, is_closed, limited
from .world import MULTI_END, create_body, version_body

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ANSWER_WITHIN_S = 3.0
"""A costly request takes a tenth of a second, several times that where tests share the processor."""

GROWTH_BYTES_MAX = 64 * 1_048_576

FLOOD_COUNT = 4
CONNECT = pack_frame(bytes(28) + pack_int(16) + bytes(17))
PATIENT = pack_frame(bytes(12) + pack_int(40_000) + bytes(8) + pack_int(16) + bytes(17))
"""A session that does not end while its client dawdles on a busy machine."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LimitedZooKeeper]:
    """One server that has to stand everything."""
    with limited(tmp_path_factory.mktemp("hostile") / "zookeeper") as one:
        yield one


@contextmanager
def _meanwhile(attack: Callable[[threading.Event], None]) -> Iterator[threading.Thread]:
    """Attack from a thread for the duration of a block, or until the server hangs up."""
    over = threading.Event()

    def run() -> None:
        with suppress(OSError):
            attack(over)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield thread
    finally:
        over.set()
        thread.join(WITHIN_S)


def _attached(server: LimitedZooKeeper) -> socket.socket:
    one = connect(server)
    one.sendall(CONNECT)
    one.recv(41)
    return one


def _request(op: Op, body: bytes) -> bytes:
    return pack_frame(pack_int(1) + pack_int(op) + body)


LARGEST_MULTI = _request(
    Op.MULTI,
    (pack_int(Op.CHECK) + b"\0" + pack_int(-1) + version_body("/")) * STEPS_MAX + MULTI_END,
)
FLOODS = {
    "pings": PING * 1000,
    "creates": _request(Op.CREATE, create_body("/flood", b"x" * 100, 2)) * 500,
    "refused": _request(Op.DELETE, version_body("/nothing")) * 500,
    "unknown": _request(Op.SYNC, pack_text("x" * 900)) * 500,
    "largest multis": LARGEST_MULTI,
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS.keys())
def test_a_pipelined_flood_leaves_the_neighbours_their_turn(
    server: LimitedZooKeeper, flood: bytes
) -> None:
    """One busy client would starve the others' pings and so end their sessions."""
    attacker = _attached(server)

    sent_count = 0

    def attack(over: threading.Event) -> None:
        nonlocal sent_count
        while not over.is_set():
            attacker.sendall(flood)
            sent_count += 1

    def drain(over: threading.Event) -> None:
        while not over.is_set() and attacker.recv(1_000_000):
            pass

    def is_answered_under_fire() -> bool:
        assert neighbour.answer_s() < ANSWER_WITHIN_S
        return sent_count >= FLOOD_COUNT

    with Client(server) as neighbour, attacker:
        attacker.settimeout(WITHIN_S)
        with _meanwhile(drain), _meanwhile(attack):
            eventually(is_answered_under_fire, within_s=2 * WITHIN_S)
            attacker.shutdown(socket.SHUT_RDWR)


def test_a_flood_whose_replies_nobody_reads_is_left_in_the_socket(server: LimitedZooKeeper) -> None:
    """One stuck client would fill the server's memory with its requests or replies."""
    attacker = _attached(server)
    attacker.settimeout(WITHIN_S)
    sent_bytes = 0

    def attack(over: threading.Event) -> None:
        nonlocal sent_bytes
        attacker.setblocking(False)
        while not over.is_set():
            with suppress(BlockingIOError):
                sent_bytes += attacker.send(FLOODS["pings"])

    with Client(server) as neighbour, attacker, _meanwhile(attack):
        eventually(lambda: sent_bytes > 100_000, within_s=WITHIN_S)
        assert max(neighbour.answer_s() for _ in range(40)) < ANSWER_WITHIN_S
    assert sent_bytes < 30_000_000


def _step(op: Op, body: bytes) -> bytes:
    return pack_int(op) + b"\0" + pack_int(-1) + body


def _read_the_same_often(one: Client) -> None:
    one.create("/b", b"x" * 1_000_000)
    steps = _step(Op.GET_DATA, pack_text("/b") + b"\0") * 500
    assert one.call(Op.MULTI_READ, steps + MULTI_END).code is Code.MARSHALLING_ERROR


def _never_read(one: Client) -> None:
    one.create("/b", b"x" * 1_000_000)
    one.socket.sendall(_request(Op.GET_DATA, pack_text("/b") + b"\0") * 500)


def _watch_long_paths(one: Client) -> None:
    for batch in range(100):
        paths = [pack_text(f"/{batch}-{number}{'w' * 4000}") for number in range(240)]
        body = pack_long(0) + pack_int(0) * 3 + pack_int(len(paths)) + b"".join(paths) + pack_int(0)
        one.call(Op.SET_WATCHES2, body)


def _be_many(one: Client) -> None:
    for number in range(80):
        secret = pack_text(f"{number}{'u' * 900_000}:p")
        one.socket.sendall(_request(Op.AUTH, pack_int(0) + pack_text("digest") + secret))


def _cause_events_nobody_reads(one: Client) -> None:
    path = f"/{'e' * 4000}"
    one.create(path)
    one.call(Op.ADD_WATCH, pack_text(path) + pack_int(0))
    steps = _step(Op.SET_DATA, pack_text(path) + pack_int(0) + pack_int(-1)) * 250
    one.socket.settimeout(1)
    for _ in range(80):
        one.socket.sendall(_request(Op.MULTI, steps + MULTI_END))


GREED = (
    _read_the_same_often,
    _never_read,
    _watch_long_paths,
    _be_many,
    _cause_events_nobody_reads,
)


@pytest.mark.parametrize("attack", GREED)
def test_one_connection_can_not_make_the_server_swallow_memory(
    tmp_path: Path, attack: Callable[[Client], None]
) -> None:
    """A single client would use up the memory of the machine, and with it everybody's workers."""
    with limited(tmp_path) as server, Client(server) as neighbour, Client(server) as greedy:
        before_bytes = _peak_bytes(server.pid)
        with suppress(OSError):  # left in the socket or hung up on, as it deserves
            attack(greedy)
        assert neighbour.answer_s() < ANSWER_WITHIN_S
        assert _peak_bytes(server.pid) - before_bytes < GROWTH_BYTES_MAX


def _peak_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


GARBAGE = {
    "length -1": pack_int(-1),
    "length 2**31-1": b"\x7f\xff\xff\xff",
    "length 2**31": b"\x80\0\0\0",
    "one too long": pack_int(1_048_576),
    "no request": pack_frame(b""),
    "half a header": pack_frame(b"\0\0\0\1"),
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
@pytest.mark.parametrize("has_session", [False, True])
def test_garbage_closes_its_own_connection_only(
    server: LimitedZooKeeper, garbage: bytes, has_session: bool
) -> None:
    """A stray program would take the registry away from all."""
    with Client(server) as neighbour:
        neighbour.exists("/", watch=True)
        for _ in range(20):
            with _attached(server) if has_session else connect(server) as broken:
                broken.sendall(garbage)
                assert is_closed(broken)
        assert neighbour.answer_s() < ANSWER_WITHIN_S


def test_hundreds_of_half_packets_and_slow_senders_are_no_burden(server: LimitedZooKeeper) -> None:
    """Clients that dawdle would keep the others waiting."""
    whole = PATIENT + PING
    with Client(server) as neighbour, ExitStack() as undo:
        slow = [undo.enter_context(connect(server)) for _ in range(300)]
        for at in range(len(whole)):
            for one in slow:
                one.sendall(whole[at : at + 1])
            assert neighbour.answer_s() < ANSWER_WITHIN_S
        for one in slow:
            one.settimeout(WITHIN_S)
            answer = b""
            while len(answer) < 41 + 20:
                chunk = one.recv(61)
                assert chunk, "the server hung up"
                answer += chunk
        halves = [undo.enter_context(connect(server)) for _ in range(200)]
        for one in halves:
            one.sendall(pack_int(1_000_000) + bytes(100))
        assert neighbour.answer_s() < ANSWER_WITHIN_S


def test_a_packet_too_large_ends_its_connection(tmp_path: Path) -> None:
    """One client could make the server buffer without end."""
    with limited(tmp_path, "--frame-bytes-max", "1000") as server, Client(server) as client:
        with Client(server) as greedy:
            greedy.socket.sendall(pack_int(1001))
            assert is_closed(greedy.socket)
        assert client.create("/just-fits", b"x" * 900).code is Code.OK
        assert "a length of 1001, not 0..1000" in server.log


def test_too_many_connections_sessions_and_watches_are_refused(tmp_path: Path) -> None:
    """A leaking client would take the server down for all, and nobody could tell why."""
    options = ("--connections-max", "4", "--sessions-max", "2", "--watches-max", "1")
    with (
        limited(tmp_path, *options) as server,
        Client(server) as client,
        Client(server),
        ExitStack() as undo,
    ):
        with connect(server) as third:
            third.sendall(CONNECT)
            assert is_closed(third)
        eventually(lambda: "too many sessions" in server.log, within_s=WITHIN_S)
        for _ in range(2):
            undo.enter_context(connect(server))
        with connect(server) as fifth:
            assert is_closed(fifth)
        assert "4 connections are the limit" in server.log
        assert client.exists("/", watch=True).code is Code.OK
        assert client.exists("/b", watch=True).code is Code.THROTTLED
        assert client.exists("/b").code is Code.NO_NODE


def test_a_tree_too_large_refuses_growth_and_lets_itself_be_emptied(tmp_path: Path) -> None:
    """A client that never deletes would fill the memory, or lock everybody out for good."""
    with limited(tmp_path, "--tree-bytes-max", "20000") as server, Client(server) as client:
        codes = [client.create(f"/{number}", b"x" * 1000).code for number in range(30)]
        made = codes.count(Code.OK)
        assert codes == [Code.OK] * made + [Code.QUOTA_EXCEEDED] * (30 - made)
        assert 5 < made < 20
        assert client.exists("/0").code is Code.OK
        assert client.delete("/0").code is Code.OK
        assert client.create("/new", b"x" * 900).code is Code.OK
        server.kill()
        server.start()
        with Client(server) as back:
            assert back.create("/one-more", b"x" * 1000).code is Code.QUOTA_EXCEEDED


def test_requests_that_wait_in_too_great_number_close_the_greediest(tmp_path: Path) -> None:
    """Many clients, each within its limit, would fill the memory together."""
    options = ("--buffered-bytes-max", "2000000", "--connections-max", "100")
    with limited(tmp_path, *options) as server, Client(server) as neighbour:
        with ExitStack() as undo:
            many = [undo.enter_context(connect(server)) for _ in range(20)]
            for number, one in enumerate(many):
                with suppress(ConnectionError):
                    one.sendall(pack_int(1_000_000) + bytes(150_000 + 1000 * number))
            eventually(lambda: "too much is waiting" in server.log, within_s=WITHIN_S)
            assert neighbour.answer_s() < ANSWER_WITHIN_S
        assert neighbour.create("/still-here").code is Code.OK


def test_limits_below_one_are_refused_in_a_sentence(tmp_path: Path) -> None:
    """A typo would start a server that refuses everybody."""
    server = LimitedZooKeeper(tmp_path, "--watches-max", "0")
    run = subprocess.run(
        server.command, capture_output=True, text=True, timeout=WITHIN_S, check=False
    )
    assert run.returncode == 2
    assert "watches_max must be 1 or more, not 0" in run.stderr
