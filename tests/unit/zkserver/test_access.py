"""Goal: a stranger gets nothing, and is told of in bounds. Method: a real process, sockets of real other users."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from autohealer.zkserver.shares import STRANGER_PART
from autohealer.zkserver.wire import pack_frame, pack_int
from tests.support.eventually import eventually
from tests.support.otheruser import ANOTHER, STRANGER, connected_as

from .rawclient import WITHIN_S, Client, LimitedZooKeeper, connect, is_closed, limited

if TYPE_CHECKING:
    from collections.abc import Iterator

CONNECT = pack_frame(bytes(28) + pack_int(16) + bytes(17))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LimitedZooKeeper]:
    """A server as it is started by default."""
    with limited(tmp_path_factory.mktemp("access") / "zookeeper") as one:
        yield one


def _received(connection: socket.socket, request: bytes) -> bytes:
    received = b""
    try:
        connection.sendall(request)
        while chunk := connection.recv(65_536):
            received += chunk
    except ConnectionError:
        pass
    return received


@pytest.mark.parametrize(
    "request_", [b"ruok", b"mntr", b"dump", CONNECT, b"GET / HTTP/1.1\r\n\r\n"]
)
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_stranger_is_not_answered_a_byte(
    server: LimitedZooKeeper, request_: bytes, host: str
) -> None:
    """Any user of the machine could read who works there, delete registrations and so end every worker."""
    with connected_as(STRANGER, server.port, host) as stranger:
        assert _received(stranger, request_) == b""
    with connected_as(0, server.port, host) as own:
        own.sendall(b"ruok")
        assert own.recv(4) == b"imok"


def test_refusals_are_told_once_with_what_to_do(server: LimitedZooKeeper) -> None:
    """Nobody could tell why a worker of another user never registers; or a stranger could fill the disk."""
    for _ in range(50):
        with connected_as(STRANGER, server.port) as stranger:
            assert is_closed(stranger)
    with Client(server) as neighbour:
        neighbour.exists("/")
    told = [line for line in server.log.splitlines() if f"client of user {STRANGER}" in line]
    assert len(told) == 1
    assert "--open-to-all" in told[0]


def test_an_opened_server_serves_everybody(tmp_path: Path) -> None:
    """Who shares a machine on purpose could not let others in."""
    with limited(tmp_path, "--open-to-all") as server:
        with connected_as(STRANGER, server.port) as stranger:
            stranger.sendall(b"ruok")
            assert stranger.recv(4) == b"imok"
        assert "open to all" in server.log


def test_strangers_leave_room_for_the_owner(tmp_path: Path) -> None:
    """On a server open to all one user could take every connection: no worker would register, none be replaced."""
    with (
        limited(tmp_path, "--open-to-all", "--connections-max", "16") as server,
        ExitStack() as undo,
    ):
        for uid in range(STRANGER - 12, STRANGER):
            for _ in range(16 // STRANGER_PART):
                undo.enter_context(connected_as(uid, server.port))
        refused = undo.enter_context(connected_as(ANOTHER, server.port))
        assert is_closed(refused)
        eventually(lambda: "its share is used up" in server.log, within_s=WITHIN_S)
        for _ in range(7):
            undo.enter_context(Client(server))
        with connect(server) as own:
            own.sendall(b"ruok")
            assert own.recv(4) == b"imok"
