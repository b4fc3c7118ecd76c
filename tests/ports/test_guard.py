"""Whom the kazoo clients of daemon and workers believe, asked of real listeners of other users."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from kazoo.client import KazooClient

from autohealer.contract import ENV_ZOOKEEPER, ENV_ZOOKEEPER_USER
from autohealer.zkclient import client_for
from autohealer.zkguard import trust_as_told, trust_only
from tests.support.embedded import EmbeddedZooKeeper
from tests.support.eventually import eventually
from tests.support.otheruser import ANOTHER, STRANGER, socket_of
from tests.support.ports import HOST
from tests.support.servers import running

WITHIN_S = 20.0


class _Listener:
    """Takes connections of whoever comes and notes what they say."""

    def __init__(self, uid: int) -> None:
        self._socket = socket_of(uid)
        self._socket.bind((HOST, 0))
        self._socket.listen()
        self.taken_count = 0
        self.heard = b""
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"{HOST}:{self._socket.getsockname()[1]}"

    def close(self) -> None:
        """End it."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(1.0)
                with suppress(OSError):
                    self.heard += connection.recv(100)
            self.taken_count += 1


@contextmanager
def _trying(client: KazooClient) -> Iterator[None]:
    client.start_async()
    try:
        yield
    finally:
        client.stop()
        client.close()


@pytest.mark.parametrize(
    ("listens", "trusted", "is_believed"),
    [
        (STRANGER, ANOTHER, False),
        (STRANGER, 0, False),
        (STRANGER, STRANGER, True),
        (0, ANOTHER, True),
    ],
)
def test_a_client_says_no_word_to_an_impostor(
    listens: int, trusted: int, is_believed: bool
) -> None:
    """Who takes the port in an outage could tell the daemon that every worker is gone, and workers that they lost."""
    listener = _Listener(listens)
    client = client_for(listener.address, 4.0)
    trust_only(client, trusted)
    with _trying(client):
        eventually(lambda: listener.taken_count >= 2, within_s=WITHIN_S)
        assert bool(listener.heard) is is_believed
    listener.close()


def test_a_worker_trusts_as_it_was_told_and_only_there() -> None:
    """A worker would talk to an impostor, or be kept from the ZooKeeper it names itself."""
    listener = _Listener(STRANGER)
    told = {ENV_ZOOKEEPER: listener.address, ENV_ZOOKEEPER_USER: "0"}
    warned, unwarned = (client_for(listener.address, 4.0) for _ in range(2))
    trust_as_told(warned, listener.address, told)
    with _trying(warned):
        eventually(lambda: listener.taken_count >= 2, within_s=WITHIN_S)
        assert listener.heard == b""
    trust_as_told(unwarned, listener.address, told | {ENV_ZOOKEEPER: "127.0.0.1:1"})
    with _trying(unwarned):
        eventually(lambda: listener.heard != b"", within_s=WITHIN_S)
    listener.close()


def test_the_real_server_is_believed(tmp_path: Path) -> None:
    """No worker would ever register."""
    with running(EmbeddedZooKeeper(tmp_path)) as server:
        client = client_for(server.address, 4.0)
        trust_only(client, 0)
        client.start(WITHIN_S)
        assert client.exists("/") is not None
        client.stop()
        client.close()
