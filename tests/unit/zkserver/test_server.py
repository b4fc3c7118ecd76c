"""Goal: the real process does what the parts promise. Method: real sockets, kazoo, real signals."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import SystemZookeeperError
from kazoo.retry import KazooRetry

from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WITHIN_S = 20.0


class Server:
    """One server process on a port of its own; can be killed and started again."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Where clients connect."""
        return f"127.0.0.1:{self.port}"

    @property
    def process_id(self) -> int:
        """Its pid."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it listens."""
        self._process = subprocess.Popen(
            [*command(self.data_dir, self.port)], stderr=subprocess.DEVNULL
        )
        eventually(self._listens, "the server listens")

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self) -> int:
        """Wait for its end; returns its exit code."""
        assert self._process is not None
        return self._process.wait(WITHIN_S)

    def connect(self) -> socket.socket:
        """A bare connection."""
        return socket.create_connection(("127.0.0.1", self.port), WITHIN_S)

    def ask(self, word: bytes) -> bytes:
        """The answer to a four-letter word."""
        with self.connect() as connection:
            connection.sendall(word)
            return read_all(connection)

    def _listens(self) -> bool:
        try:
            self.connect().close()
        except OSError:
            return False
        return True


def command(data_dir: Path, port: int) -> list[str]:
    """How a server is started."""
    options = ["--port", str(port), "--data-dir", str(data_dir)]
    return [sys.executable, "-m", "autohealer.zkserver", *options]


def read_all(connection: socket.socket) -> bytes:
    """Read until the server closes."""
    connection.settimeout(WITHIN_S)
    received = b""
    try:
        while chunk := connection.recv(65536):
            received += chunk
    except ConnectionResetError:
        pass  # closed with our bytes unread: closed all the same
    return received


def eventually(predicate: Callable[[], bool], what: str) -> None:
    """Wait for a fact."""
    deadline_s = time.monotonic() + WITHIN_S
    while not predicate():
        assert time.monotonic() < deadline_s, f"not within {WITHIN_S} s: {what}"
        time.sleep(0.005)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A running server, stopped afterwards."""
    one = Server(tmp_path / "data")
    one.start()
    yield one
    one.signal(signal.SIGCONT)
    one.signal(signal.SIGTERM)
    one.wait()


@contextmanager
def kazoo(server: Server, timeout_s: float = 4.0) -> Iterator[KazooClient]:
    """A connected client that comes back quickly."""
    retry = KazooRetry(max_tries=-1, delay=0.05, max_delay=0.2)
    client = KazooClient(server.address, timeout=timeout_s, connection_retry=retry)
    client.start()
    try:
        yield client
    finally:
        client.stop()
        client.close()


def test_a_killed_server_gives_every_session_and_node_back(server: Server) -> None:
    """kill -9 of the embedded server would look like the death of every worker."""
    with kazoo(server) as client:
        client.create("/persistent", b"kept")
        client.create("/ephemeral", b"mine", ephemeral=True)
        session = client.client_id
        server.signal(signal.SIGKILL)
        assert server.wait() == -signal.SIGKILL
        eventually(lambda: not client.connected, "the client notices")
        server.start()
        eventually(lambda: client.connected, "the client is back")
        assert client.client_id == session
        assert client.get("/persistent")[0] == b"kept"
        assert client.exists("/ephemeral").ephemeralOwner == session[0]


def test_a_wiped_server_lets_clients_start_over(server: Server) -> None:
    """After the data was lost, kazoo clients would hang until they are restarted (kazoo #42)."""
    with kazoo(server) as client:
        client.create("/a")
        session = client.client_id
        server.signal(signal.SIGKILL)
        server.wait()
        for path in server.data_dir.iterdir():
            path.unlink()
        server.start()
        eventually(lambda: client.connected and client.client_id != session, "a new session")
        assert client.exists("/a") is None


def test_localhost_answers_whichever_address_it_is(server: Server) -> None:
    """Java's client would wait a second whenever it tried ::1 first."""
    asked = [("127.0.0.1", server.port)]
    with closing(socket.socket(socket.AF_INET6)) as probe:
        try:
            probe.bind(("::1", 0))
            asked.append(("::1", server.port))
        except OSError:
            pass  # no IPv6 on this machine: then `localhost` is not ::1 either
    for address in asked:
        with socket.create_connection(address, 1.0) as connection:
            connection.sendall(b"ruok")
            assert read_all(connection) == b"imok", address


def test_a_port_of_ipv6_that_is_taken_stops_nobody(tmp_path: Path) -> None:
    """Somebody's program on ::1 would keep the registry from starting."""
    server = Server(tmp_path / "data")
    with closing(socket.socket(socket.AF_INET6)) as other:
        try:
            other.bind(("::1", server.port))
        except OSError:
            pytest.skip("no IPv6 on this machine")
        other.listen()
        server.start()
        assert server.ask(b"ruok") == b"imok"
        server.signal(signal.SIGTERM)
        assert server.wait() == 0


def test_a_silent_client_is_expired_and_watchers_are_told(server: Server) -> None:
    """A frozen worker would stay registered for ever."""
    with kazoo(server) as watcher, server.connect() as silent:
        silent.sendall(bytes.fromhex("0000002d" + "00" * 12 + "000003e8" + "00" * 8 + "00000010"))
        silent.sendall(bytes(17))
        session_id = int.from_bytes(silent.recv(41)[12:20], "big")
        create = b"\0\0\0\1\0\0\0\1\0\0\0\2/e\0\0\0\0\0\0\0\1\0\0\0\x1f\0\0\0\5world\0\0\0\6anyone\0\0\0\1"
        silent.sendall(len(create).to_bytes(4, "big") + create)
        asked_s = time.monotonic()
        silent.recv(100)
        told = threading.Event()
        assert watcher.exists("/e", watch=lambda _: told.set()).ephemeralOwner == session_id
        assert told.wait(WITHIN_S)
        assert time.monotonic() - asked_s >= 1.0
        assert read_all(silent) == b""


def test_a_frozen_server_expires_nobody(server: Server) -> None:
    """Suspending the machine would kill every healthy worker."""
    with kazoo(server, timeout_s=1.0) as client:
        client.create("/e", ephemeral=True)
        session = client.client_id
        server.signal(signal.SIGSTOP)
        time.sleep(3.0)  # the freeze itself: longer than two session timeouts
        server.signal(signal.SIGCONT)
        eventually(lambda: client.connected and client.exists("/e") is not None, "all as before")
        assert client.client_id == session


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_is_clean(tmp_path: Path, number: signal.Signals) -> None:
    """Service managers would report a failure for an ordinary stop."""
    server = Server(tmp_path)
    server.start()
    with server.connect():
        server.signal(number)
        assert server.wait() == 0


@pytest.mark.parametrize(
    "packet",
    [
        b"\xff\xff\xff\xff",
        b"\x7f\xff\xff\xff",
        b"\x80\0\0\0",
        b"\0\0\0\0",
        b"\0\0\0\4abcd",
        b"GET / HTTP/1.1\r\n\r\n",
    ],
    ids=["-1", "2**31-1", "-2**31", "empty", "short", "HTTP"],
)
def test_a_malformed_packet_drops_only_its_connection(server: Server, packet: bytes) -> None:
    """One stray program could take the registry away from all."""
    with kazoo(server) as client, server.connect() as broken, server.connect() as half:
        half.sendall(b"\0\0")
        broken.sendall(packet)
        assert read_all(broken) == b""
        assert client.exists("/") is not None
    assert server.ask(b"ruok") == b"imok"


def test_a_full_disk_refuses_writes_and_serves_reads(server: Server) -> None:
    """A full disk would take the registry away, or lose what was acknowledged."""
    with kazoo(server) as client:
        client.create("/kept", b"before")
        used_bytes = next(server.data_dir.glob("journal-*")).stat().st_size
        resource.prlimit(server.process_id, resource.RLIMIT_FSIZE, (used_bytes + 50, -1))
        with pytest.raises(SystemZookeeperError):
            client.set("/kept", b"x" * 100)
        assert client.get("/kept")[0] == b"before"
        resource.prlimit(server.process_id, resource.RLIMIT_FSIZE, (-1, -1))
        client.set("/kept", b"after")
        server.signal(signal.SIGKILL)
        server.wait()
        server.start()
        eventually(lambda: client.connected, "the client is back")
        assert client.get("/kept")[0] == b"after"


def test_a_client_that_never_reads_is_not_served_without_end(server: Server) -> None:
    """One stuck client would fill the server's memory."""
    with kazoo(server) as client, server.connect() as stuck:
        client.create("/large", b"x" * 1_000_000)
        stuck.settimeout(1.0)
        stuck.sendall(bytes.fromhex("0000002d" + "00" * 12 + "00002710" + "00" * 8 + "00000010"))
        stuck.sendall(bytes(17))
        get = b"\0\0\0\1\0\0\0\4\0\0\0\6/large\0"
        with pytest.raises(TimeoutError):
            stuck.sendall((len(get).to_bytes(4, "big") + get) * 500_000)
        assert client.exists("/large") is not None
        assert _resident_bytes(server.process_id) < 300_000_000


def _resident_bytes(process_id: int) -> int:
    pages = Path(f"/proc/{process_id}/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _fails_to_start(data_dir: Path, port: int) -> str:
    run = subprocess.run(
        command(data_dir, port), capture_output=True, text=True, timeout=WITHIN_S, check=False
    )
    assert run.returncode == 3
    assert "Traceback" not in run.stderr
    (sentence,) = run.stderr.splitlines()
    return sentence


def test_why_it_can_not_start_is_one_sentence(server: Server, tmp_path: Path) -> None:
    """A user would face a traceback instead of the reason."""
    assert "can not listen on 127.0.0.1" in _fails_to_start(tmp_path / "other", server.port)
    assert "in use by another server" in _fails_to_start(server.data_dir, free_port())
    (tmp_path / "file").touch()
    assert "can not be written" in _fails_to_start(tmp_path / "file" / "x", free_port())
    corrupt = tmp_path / "corrupt"
    corrupt.mkdir()
    (corrupt / "journal-0000000001").write_bytes(b"not a journal")
    assert "journal-0000000001 is corrupt at offset 0" in _fails_to_start(corrupt, free_port())
