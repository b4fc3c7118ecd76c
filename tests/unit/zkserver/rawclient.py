"""Real server processes with small limits, and clients that speak to them in bytes.

Must never know: what a test proves with them.
Limits: blocking; a server that says nothing for `WITHIN_S` fails the test.
"""

from __future__ import annotations

import socket
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from autohealer.zkserver.protocol import Op
from autohealer.zkserver.wire import (
    Reader,
    pack_bool,
    pack_buffer,
    pack_frame,
    pack_int,
    pack_long,
    pack_text,
)
from tests.support.embedded import EmbeddedZooKeeper
from tests.support.ports import HOST
from tests.support.servers import running

from .world import Reply, create_body, read_reply

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

WITHIN_S = 20.0
PING = pack_frame(pack_int(-2) + pack_int(Op.PING))


class LimitedZooKeeper(EmbeddedZooKeeper):
    """The embedded server with further options on its command line, and what it leaves behind."""

    def __init__(self, data_dir: Path, *options: str) -> None:
        super().__init__(data_dir, options=options)

    @property
    def command(self) -> Sequence[str]:
        """What runs it."""
        return self._command()

    @property
    def journal(self) -> Path:
        """The one file its state is in."""
        (path,) = (self.data_dir / "data").glob("journal-*")
        return path

    @property
    def log(self) -> str:
        """All it has said."""
        return (self.data_dir / "server.log").read_text()


@contextmanager
def limited(data_dir: Path, *options: str) -> Iterator[LimitedZooKeeper]:
    """A running server for the duration of a block."""
    server = LimitedZooKeeper(data_dir, *options)
    with running(server):
        yield server


def connect(server: EmbeddedZooKeeper) -> socket.socket:
    """A bare connection."""
    return socket.create_connection((HOST, server.port), WITHIN_S)


def is_closed(one: socket.socket) -> bool:
    """Read to the end; True when there is one."""
    try:
        while one.recv(65_536):
            pass
    except ConnectionError:
        pass  # closed with our bytes unread: closed all the same
    return True


class Client:
    """One session on a blocking socket."""

    def __init__(
        self,
        server: EmbeddedZooKeeper,
        timeout_ms: int = 10_000,
        session_id: int = 0,
        password: bytes = bytes(16),
        last_zxid: int = 0,
    ) -> None:
        self.socket = connect(server)
        self._stream = self.socket.makefile("rb")
        head = pack_int(0) + pack_long(last_zxid) + pack_int(timeout_ms) + pack_long(session_id)
        self.socket.sendall(pack_frame(head + pack_buffer(password) + pack_bool(False)))
        answer = Reader(self._take() or bytes(40))
        answer.int32()
        self.timeout_ms, self.session_id = answer.int32(), answer.int64()
        self.password = answer.buffer() or b""

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_exit: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up without ending the session."""
        self._stream.close()
        self.socket.close()

    def call(self, op: int, body: bytes = b"", xid: int = 1) -> Reply:
        """Send a request and take its reply; answers to pings and events before it are dropped."""
        self.socket.sendall(pack_frame(pack_int(xid) + pack_int(op) + body))
        while True:
            reply = read_reply(self._take())
            if reply.xid == xid:
                return reply

    def create(self, path: str, data: bytes = b"", mode: int = 0) -> Reply:
        """Make a node."""
        return self.call(Op.CREATE, create_body(path, data, mode))

    def delete(self, path: str) -> Reply:
        """Remove a node."""
        return self.call(Op.DELETE, pack_text(path) + pack_int(-1))

    def exists(self, path: str, *, watch: bool = False) -> Reply:
        """Ask for metadata."""
        return self.call(Op.EXISTS, pack_text(path) + pack_bool(watch))

    def children(self, path: str) -> list[str]:
        """The names of a node's children."""
        return self.call(Op.GET_CHILDREN, pack_text(path) + b"\0").texts

    def ping(self) -> None:
        """Say that it is alive, without waiting for the answer."""
        self.socket.sendall(PING)

    def answer_s(self) -> float:
        """How long the server takes to answer now."""
        began = time.monotonic()
        self.exists("/")
        return time.monotonic() - began

    def _take(self) -> bytes:
        return self._stream.read(int.from_bytes(self._stream.read(4), "big"))
