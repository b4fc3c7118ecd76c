"""How a client waits for a server that does not answer, and what it leaves behind when it gives up."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from kazoo.client import KazooClient

from autohealer.patience import Patience
from autohealer.zkclient import client_for
from tests.support.apache import ApacheZooKeeper, apache_is_installed
from tests.support.embedded import EmbeddedZooKeeper
from tests.support.eventually import eventually
from tests.support.ports import HOST
from tests.support.servers import ServerProcess, four_letter_word, running

WITHIN_S = 20.0


class SilentServer:
    """Takes every connection, notes what it is sent and when, and answers nothing.

    `grants_ms`: but the first, which is given a session that lasts so long, and closed.
    """

    def __init__(self, grants_ms: int) -> None:
        self._grants_ms = grants_ms
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self.attempts: list[tuple[float, bytes]] = []
        """How long each stayed, and what it said."""

    def serve(self) -> None:
        """Until it is closed."""
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._note, args=(connection,), daemon=True).start()

    def close(self) -> None:
        """Take nobody any more."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _note(self, connection: socket.socket) -> None:
        began_s, said = time.monotonic(), b""
        with connection, suppress(OSError):
            while chunk := connection.recv(4096):
                said += chunk
                if self._grants_ms:
                    granted, self._grants_ms = self._grants_ms, 0
                    answer = struct.pack(">iiqi16s?", 0, granted, 4711, 16, bytes(16), False)
                    connection.sendall(struct.pack(">i", len(answer)) + answer)
                    break
        self.attempts.append((time.monotonic() - began_s, said))


@contextmanager
def silent_server(grants_ms: int = 0) -> Iterator[SilentServer]:
    """Have one for a block."""
    with closing(SilentServer(grants_ms)) as server:
        threading.Thread(target=server.serve, daemon=True).start()
        yield server


@contextmanager
def client_of(address: str, session_timeout_s: float = 1.0) -> Iterator[KazooClient]:
    """Have a client that tries to connect for a block."""
    client = client_for(address, session_timeout_s)
    client.start_async()
    try:
        yield client
    finally:
        client.stop()
        client.close()


def test_a_client_that_is_not_answered_waits_longer_each_time() -> None:
    """A server that is buried in handshakes would be asked again and again before it gets to anybody's."""
    with silent_server() as server, client_of(f"{HOST}:{server.port}"):
        eventually(lambda: len(server.attempts) >= 3, within_s=WITHIN_S)
    first_s, second_s, third_s = (stayed_s for stayed_s, _ in server.attempts[:3])
    assert first_s < second_s < third_s
    assert first_s == pytest.approx(1.0, abs=0.4)
    assert third_s > 1.5 * first_s


def test_a_client_whose_session_was_clipped_waits_no_longer_than_fits_into_it() -> None:
    """A server that is just starting may swallow an attempt: the session would end before the next one."""
    with silent_server(grants_ms=3000) as server, client_of(f"{HOST}:{server.port}", 30.0):
        eventually(lambda: len(server.attempts) >= 2, within_s=WITHIN_S)
    (_, granted), (stayed_s, _) = server.attempts[:2]
    assert granted
    assert stayed_s == pytest.approx(1.0, abs=0.4)


@pytest.mark.parametrize(
    ("neighbours", "spread_s"), [(0, 0.0), (10, 0.01), (400, 0.4), (9000, 1.0)]
)
def test_who_has_many_neighbours_makes_way_for_them(neighbours: int, spread_s: float) -> None:
    """A thousand workers would keep their server from starting again, or a single one would come back late."""
    patience = Patience(KazooClient(), 4.0, lambda: neighbours)
    assert patience.spread_s() == pytest.approx(spread_s)


def test_the_first_connection_makes_way_for_nobody() -> None:
    """A replacement in a large group would be registered a second late."""
    began_s = time.monotonic()
    Patience(KazooClient(), 10_000.0, lambda: 1_000_000).make_way()
    assert time.monotonic() - began_s < 1.0


def test_a_client_that_gives_up_leaves_a_goodbye() -> None:
    """Each handshake that was given up would become a session that nobody uses, for its whole timeout."""
    with silent_server() as server, client_of(f"{HOST}:{server.port}"):
        eventually(lambda: server.attempts, within_s=WITHIN_S)
    _, said = server.attempts[0]
    length = int.from_bytes(said[:4], "big")
    assert said[4 + length :] == b"\0\0\0\x08\0\0\0\x01\xff\xff\xff\xf5"


KINDS = [
    EmbeddedZooKeeper,
    pytest.param(
        ApacheZooKeeper,
        marks=pytest.mark.skipif(not apache_is_installed(), reason="no Apache ZooKeeper here"),
    ),
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_handshake_that_was_given_up_leaves_no_session(
    kind: type[ServerProcess], tmp_path: Path
) -> None:
    """A server that was stopped for a moment would come back to hundreds of sessions without a client."""
    with running(kind(tmp_path)) as server:
        with client_of(server.address) as client:
            eventually(lambda: client.connected, within_s=WITHIN_S)
        server.freeze()
        with client_of(server.address):
            eventually(lambda: given_up(server.port) >= 2, within_s=WITHIN_S)
        server.resume()
        with client_of(server.address) as last:
            eventually(lambda: last.connected, within_s=WITHIN_S)
            eventually(lambda: monitored(server).get("zk_global_sessions") == 1, within_s=WITHIN_S)
            assert monitored(server)["zk_stale_sessions_expired"] == 0


CLOSE_WAIT = "08"


def given_up(port: int) -> int:
    """How many connections to a server its clients have closed and it has not, also of those it has not taken yet."""
    text = "".join(Path(f"/proc/net/{name}").read_text() for name in ("tcp", "tcp6"))
    ends = (line.split()[1:4] for line in text.splitlines())
    return sum(end[0].endswith(f":{port:04X}") and end[2] == CLOSE_WAIT for end in ends)


def monitored(server: ServerProcess) -> dict[str, int]:
    """What `mntr` says in whole numbers; nothing while the server does not answer."""
    words = four_letter_word(server.address, "mntr")
    lines = (line.split("\t") for line in words.splitlines())
    return {key: int(value) for key, value in lines if value.isdecimal()}
