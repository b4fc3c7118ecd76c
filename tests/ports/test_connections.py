"""From where a session is connected, asked of both kinds of ZooKeeper, and what is made of no answer."""

from __future__ import annotations

import asyncio
import os

import pytest

from autohealer.coordination import connections
from autohealer.coordination.connections import Connections
from autohealer.processes.kinship import Family, Kin
from tests.support.clients import connected
from tests.support.ports import HOST, free_port
from tests.support.servers import ZooKeeperUnderTest


async def test_whose_a_session_is_can_be_told(zookeeper: ZooKeeperUnderTest) -> None:
    """Nothing could be proven of who made a child: two that appear together would stop a start."""
    with connected(zookeeper.connection) as client:
        host, port = client.hosts[0]
        servers = await Connections([(host, port)], speaks_tls=False).servers()
        ends = [end for server in servers for end in server.client_ends(client.client_id[0])]
        assert Family({}, {}).behind(ends) == Kin(os.getpid(), None)
        assert all(server.client_ends(client.client_id[0] + 4711) == [] for server in servers)


async def test_several_who_ask_at_once_cause_one_question() -> None:
    """A start beside a thousand children would ask a server for a thousand lists of all its connections."""
    asked = 0

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        await reader.readexactly(4)
        writer.close()

    async with await asyncio.start_server(count, HOST, 0) as server:
        both = Connections([server.sockets[0].getsockname()[:2]], speaks_tls=False)
        assert await asyncio.gather(*(both.servers() for _ in range(50))) == [[]] * 50
    assert asked == 1


@pytest.mark.parametrize(
    "said",
    [
        b"cons is not executed because it is not in the whitelist.\n",
        b" /127.0.0.1:nonsense[1](sid=0x7)\n /999.1.1.1:80[1](sid=0x7)\n",
        b"",
        b"\xff" * 5000,
    ],
)
async def test_a_server_that_does_not_tell_tells_nothing(said: bytes) -> None:
    """An Apache ZooKeeper as it comes would end the daemon, or make foreigners of all its workers."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(4)
        writer.write(said)
        writer.close()

    async with await asyncio.start_server(answer, HOST, 0) as server:
        asked = Connections([server.sockets[0].getsockname()[:2]], speaks_tls=False)
        assert await asked.servers() == []


async def test_a_server_that_is_away_silent_or_secured_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No launch would ever be bound."""
    monkeypatch.setattr(connections, "ANSWER_S", 0.05)

    async def keep_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(keep_silent, HOST, 0) as server:
        hosts = [server.sockets[0].getsockname()[:2], (HOST, free_port())]
        assert await Connections(hosts, speaks_tls=False).servers() == []
        assert await Connections(hosts, speaks_tls=True).servers() == []
