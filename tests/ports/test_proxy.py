"""The tests' own TCP proxy does what each of its operations says, or tests would prove nothing."""

from __future__ import annotations

import os
import socket
import socketserver
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.eventually import eventually
from tests.support.proxy import HOST, ChaosProxy, Direction

if TYPE_CHECKING:
    from collections.abc import Iterator

WITHIN_S = 20.0
SILENCE_S = 0.3

CLIENT = """
import socket, sys
host, _, port = sys.argv[1].rpartition(":")
connection = socket.create_connection((host, int(port)))
connection.sendall(b"hello")
print(connection.recv(5), flush=True)
sys.stdin.read()
"""


class _Echo(socketserver.BaseRequestHandler):
    """Notes what arrives and sends it back."""

    def handle(self) -> None:
        server = self.server
        assert isinstance(server, EchoServer)
        connection: socket.socket = self.request
        server.opened += 1
        try:
            while data := connection.recv(4096):
                server.received += data
                connection.sendall(data)
            server.ends.append("FIN")
        except ConnectionResetError:
            server.ends.append("RST")


class EchoServer(socketserver.ThreadingTCPServer):
    """The far end; its notes are what a silent direction is judged by."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__((HOST, 0), _Echo)
        self.received = b""
        self.opened = 0
        self.ends: list[str] = []


@pytest.fixture
def server() -> Iterator[EchoServer]:
    """An echo server."""
    with EchoServer() as echo:
        threading.Thread(target=echo.serve_forever, args=(0.02,), daemon=True).start()
        yield echo
        echo.shutdown()


@pytest.fixture
def proxy(server: EchoServer) -> Iterator[ChaosProxy]:
    """An honest proxy in front of it."""
    with ChaosProxy(f"{HOST}:{server.server_address[1]}") as chaos:
        yield chaos


def client_of(proxy: ChaosProxy) -> socket.socket:
    """A connected client whose reads give up after a while."""
    return socket.create_connection((HOST, proxy.port), WITHIN_S)


def echoes(client: socket.socket, text: bytes) -> bool:
    """Whether what is sent comes back."""
    client.settimeout(WITHIN_S)
    client.sendall(text)
    return read(client, len(text)) == text


def read(client: socket.socket, size: int) -> bytes:
    """Exactly so many bytes."""
    with client.makefile("rb", buffering=0) as stream:
        found = b""
        while len(found) < size:
            found += stream.read(size - len(found)) or b""
        return found


def hears_nothing(client: socket.socket) -> bool:
    """Whether a client is left without an answer, its connection still open."""
    client.settimeout(SILENCE_S)
    try:
        client.recv(1)
    except TimeoutError:
        return True
    return False


def test_an_honest_proxy_carries_everything_both_ways(
    proxy: ChaosProxy, server: EchoServer
) -> None:
    """A test would fail for what its proxy garbled, not for what it tests."""
    text = os.urandom(1_000_000)
    with client_of(proxy) as client:
        sender = threading.Thread(target=client.sendall, args=(text,))
        sender.start()
        assert read(client, len(text)) == text
        sender.join()
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
    assert server.ends == ["FIN"]


@pytest.mark.parametrize("reset", [True, False])
def test_a_cut_ends_both_halves_and_new_ones_are_welcome(
    proxy: ChaosProxy, server: EchoServer, reset: bool
) -> None:
    """A cut would be seen by one side only, or be an outage."""
    with client_of(proxy) as client:
        assert echoes(client, b"before")
        assert proxy.cut(reset=reset) == 1
        if reset:
            with pytest.raises(ConnectionResetError):
                client.recv(1)
        else:
            assert client.recv(1) == b""
    eventually(lambda: server.ends == ["RST" if reset else "FIN"], within_s=WITHIN_S)
    assert proxy.cut() == 0
    with client_of(proxy) as another:
        assert echoes(another, b"after")


def test_refusing_leaves_standing_connections_alone(proxy: ChaosProxy) -> None:
    """A refusing proxy would cut, or accept, or lose its port to somebody else."""
    with client_of(proxy) as client:
        assert echoes(client, b"before")
        proxy.refuse()
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            client_of(proxy)
        assert echoes(client, b"still here")
        proxy.heal()
        with client_of(proxy) as another:
            assert echoes(another, b"after")


def test_a_blackhole_accepts_and_answers_nothing_until_it_is_healed(
    proxy: ChaosProxy, server: EchoServer
) -> None:
    """A cut would pass for a partition, which nobody is told about."""
    with client_of(proxy) as client:
        assert echoes(client, b"before")
        proxy.blackhole()
        client.sendall(b"lost?")
        with client_of(proxy) as new:
            new.sendall(b"hello")
            assert hears_nothing(new)
            assert hears_nothing(client)
            assert (server.received, server.opened) == (b"before", 1)
            proxy.heal()
            new.settimeout(WITHIN_S)
            client.settimeout(WITHIN_S)
            assert read(new, 5) == b"hello"
            assert read(client, 5) == b"lost?"


def test_a_client_that_leaves_a_blackhole_is_missed_only_when_it_is_healed(
    proxy: ChaosProxy, server: EchoServer
) -> None:
    """The server would learn through a dead line that its client is gone."""
    with client_of(proxy) as client, client_of(proxy) as witness:
        assert echoes(client, b"a")
        assert echoes(witness, b"b")
        proxy.blackhole()
        client.close()
        assert hears_nothing(witness)
        assert server.ends == []
        proxy.heal()
        eventually(lambda: server.ends == ["FIN"], within_s=WITHIN_S)


@pytest.mark.parametrize("direction", Direction)
def test_one_way_loss_is_one_way(
    proxy: ChaosProxy, server: EchoServer, direction: Direction
) -> None:
    """A half-open line, where one side still hears the other, could not be made."""
    with client_of(proxy) as client:
        assert echoes(client, b"before")
        proxy.silence(direction)
        client.sendall(b"AND")
        if direction is Direction.TO_CLIENT:
            eventually(lambda: server.received == b"beforeAND", within_s=WITHIN_S)
        assert hears_nothing(client)
        assert server.received == b"before" + b"AND" * (direction is Direction.TO_CLIENT)
        proxy.heal()
        client.settimeout(WITHIN_S)
        assert read(client, 3) == b"AND"


@pytest.mark.parametrize(
    "ways", [("to_server_s",), ("to_client_s",), ("to_server_s", "to_client_s")]
)
def test_a_delay_delays_each_direction_it_is_asked_for(
    proxy: ChaosProxy, ways: tuple[str, ...]
) -> None:
    """A slow network would be a fast one, or reorder what it carries."""
    with client_of(proxy) as client:
        proxy.delay(**dict.fromkeys(ways, SILENCE_S))
        started = time.monotonic()
        client.sendall(b"one ")
        client.sendall(b"two")
        assert read(client, 7) == b"one two"
        assert time.monotonic() - started >= SILENCE_S * len(ways)
        proxy.heal()
        started = time.monotonic()
        assert all(echoes(client, b"quick") for _ in range(20))
        assert time.monotonic() - started < 20 * SILENCE_S


def test_a_share_of_the_connections_is_cut_and_the_others_go_on(proxy: ChaosProxy) -> None:
    """Half a group could not be cut off."""
    clients = [client_of(proxy) for _ in range(4)]
    assert all(echoes(client, b"before") for client in clients)
    assert proxy.cut(share=0.5) == 2
    for client in clients[:2]:
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    assert all(echoes(client, b"after") for client in clients[2:])
    for client in clients:
        client.close()


def test_the_connections_of_a_process_are_found_and_cut(proxy: ChaosProxy) -> None:
    """A fault meant for one worker would hit another."""
    command = [sys.executable, "-c", CLIENT, proxy.address]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other,
        client_of(proxy) as mine,
    ):
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == b"b'hello'\n"
        assert echoes(mine, b"before")
        assert sorted(proxy.client_pids()) == sorted([other.pid, os.getpid()])
        assert proxy.cut(pids=[other.pid]) == 1
        assert proxy.client_pids() == [os.getpid()]
        assert echoes(mine, b"after")
        other.stdin.close()


def test_a_server_that_is_not_there_resets_its_clients() -> None:
    """A client would hang at a proxy whose server is down."""
    with socket.socket() as nobody:
        nobody.bind((HOST, 0))
        with (
            ChaosProxy(f"{HOST}:{nobody.getsockname()[1]}") as proxy,
            pytest.raises(ConnectionResetError),
            client_of(proxy) as client,
        ):
            client.recv(1)
