"""Goal: a burst is served oldest first, and who has gone costs nothing. Method: the real shell, real sockets."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from autohealer.zkserver.acceptor import Acceptor
from autohealer.zkserver.client import ClientConnection
from autohealer.zkserver.doorkeeper import Doorkeeper
from autohealer.zkserver.endpoints import Kernel
from autohealer.zkserver.machine import Machine
from autohealer.zkserver.settings import ServerSettings
from autohealer.zkserver.shell import Shell, read_clocks
from autohealer.zkserver.state import State
from autohealer.zkserver.wire import pack_buffer, pack_frame, pack_int, pack_long

from .world import FakeLedger

if TYPE_CHECKING:
    from collections.abc import Sequence

WITHIN_S = 20.0
BURST = 300
CONNECT = pack_frame(
    pack_int(0) + pack_long(0) + pack_int(4000) + pack_long(0) + pack_buffer(bytes(16)) + b"\0"
)
CONNECTED_BYTES = 41


class _Served:
    """One shell and its acceptor on a listener that has clients waiting already."""

    def __init__(self, listener: socket.socket, *, may_use_netlink: bool = True) -> None:
        settings = ServerSettings(Path("/nowhere"))
        self.ledger = FakeLedger()
        machine = Machine(settings, State(b"secret"), self.ledger, read_clocks())
        self.begun_count = len(self.ledger.txns)
        self.shell = Shell(machine, asyncio.get_running_loop())
        self._kernel = Kernel(may_use_netlink=may_use_netlink)
        doorkeeper = Doorkeeper(self._kernel, os.geteuid(), is_open=False)
        self._acceptor = Acceptor(
            listener, doorkeeper, lambda stranger: ClientConnection(self.shell, stranger)
        )

    @property
    def session_count(self) -> int:
        """Sessions that were ever opened."""
        return len(self.ledger.txns) - self.begun_count

    async def close(self) -> None:
        """Take it down."""
        self._acceptor.close()
        self._kernel.close()
        self.shell.close()
        await asyncio.sleep(0)


def _burst(undo: ExitStack, listener: socket.socket) -> list[socket.socket]:
    """Clients that have all sent their handshake before anybody was served, oldest first."""
    clients = [
        undo.enter_context(socket.create_connection(listener.getsockname())) for _ in range(BURST)
    ]
    for client in clients:
        client.sendall(CONNECT)
        client.settimeout(0)
    return clients


async def _session_ids(clients: Sequence[socket.socket]) -> list[int]:
    loop, ids = asyncio.get_running_loop(), []
    for client in clients:
        answer = b""
        while len(answer) < CONNECTED_BYTES:
            chunk = await loop.sock_recv(client, CONNECTED_BYTES - len(answer))
            assert chunk
            answer += chunk
        ids.append(int.from_bytes(answer[12:20], "big"))
    return ids


@pytest.mark.parametrize("may_use_netlink", [True, False], ids=["netlink", "tables"])
def test_a_burst_is_served_oldest_first(may_use_netlink: bool) -> None:
    """In a mass start those who waited longest would give up and begin again, which makes the burst larger."""

    async def scenario(listener: socket.socket, clients: Sequence[socket.socket]) -> None:
        served = _Served(listener, may_use_netlink=may_use_netlink)
        ids = await _session_ids(clients)
        assert ids == sorted(ids)
        assert served.session_count == BURST
        await served.close()

    with ExitStack() as undo:
        listener = undo.enter_context(socket.create_server(("127.0.0.1", 0), backlog=BURST))
        clients = _burst(undo, listener)
        asyncio.run(asyncio.wait_for(scenario(listener, clients), WITHIN_S))


@pytest.mark.parametrize("is_taken", [False, True], ids=["in the queue", "taken already"])
def test_who_has_gone_costs_no_session(is_taken: bool) -> None:
    """A client that gave up would leave a session behind, written to disk and expired later, for every try."""

    async def scenario(listener: socket.socket, clients: Sequence[socket.socket]) -> None:
        served = _Served(listener)
        if is_taken:
            for _ in range(4):  # some are taken, none is served yet
                await asyncio.sleep(0)
        for client in clients[::2]:
            client.close()
        await _session_ids(clients[1::2])
        opened_count = served.session_count
        if not is_taken:
            assert opened_count == BURST // 2
        else:
            assert BURST // 2 <= opened_count < BURST
        await served.close()

    with ExitStack() as undo:
        listener = undo.enter_context(socket.create_server(("127.0.0.1", 0), backlog=BURST))
        clients = _burst(undo, listener)
        asyncio.run(asyncio.wait_for(scenario(listener, clients), WITHIN_S))


def test_a_session_is_answered_in_the_middle_of_a_burst() -> None:
    """The pings of those who work would wait behind every newcomer, and their sessions would end."""
    ping = pack_frame(pack_int(-2) + pack_int(11))

    async def scenario(undo: ExitStack, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        served = _Served(listener)
        with closing(socket.create_connection(listener.getsockname())) as old:
            old.sendall(CONNECT)
            old.settimeout(0)
            await _session_ids([old])
            clients = _burst(undo, listener)
            old.sendall(ping)
            await loop.sock_recv(old, 100)
            assert served.session_count < BURST // 2
            await _session_ids(clients)
        await served.close()

    with ExitStack() as undo:
        listener = undo.enter_context(socket.create_server(("127.0.0.1", 0), backlog=BURST))
        asyncio.run(asyncio.wait_for(scenario(undo, listener), WITHIN_S))
