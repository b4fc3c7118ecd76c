"""Goal: limits are kept where bytes arrive. Method: the real shell on a real socket, in this process."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from autohealer.zkserver.client import ClientConnection
from autohealer.zkserver.machine import Machine
from autohealer.zkserver.protocol import Op
from autohealer.zkserver.settings import ServerSettings
from autohealer.zkserver.shell import Shell, read_clocks
from autohealer.zkserver.state import State
from autohealer.zkserver.wire import pack_buffer, pack_frame, pack_int, pack_long, pack_text

from .world import FakeLedger, create_body

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SETTINGS = ServerSettings(Path("/nowhere"))
WITHIN_S = 10.0
CONNECT = pack_frame(
    pack_int(0) + pack_long(0) + pack_int(4000) + pack_long(0) + pack_buffer(bytes(16)) + b"\0"
)
PING = pack_frame(pack_int(-2) + pack_int(11))
PING_REPLY_BYTES = 20

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def _serving(settings: ServerSettings) -> AsyncIterator[int]:
    loop = asyncio.get_running_loop()
    machine = Machine(settings, State(b"secret"), FakeLedger(), read_clocks())
    shell = Shell(machine, loop)
    listener = await loop.create_server(lambda: ClientConnection(shell), "127.0.0.1", 0)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        shell.close()
        await asyncio.sleep(0)


@asynccontextmanager
async def _client(port: int) -> AsyncIterator[Streams]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def _is_closed(reader: asyncio.StreamReader) -> bool:
    try:
        return await asyncio.wait_for(reader.read(), WITHIN_S) == b""
    except ConnectionResetError:
        return True


def test_a_connection_too_many_is_closed_and_the_others_stay() -> None:
    """A leaking client would take the server down for all."""

    async def scenario() -> None:
        async with (
            _serving(replace(SETTINGS, connections_max=1)) as port,
            _client(port) as (reader, writer),
        ):
            writer.write(CONNECT)
            await reader.readexactly(41)
            async with _client(port) as (refused, _):
                assert await _is_closed(refused)
            writer.write(PING)
            await reader.readexactly(PING_REPLY_BYTES)

    asyncio.run(asyncio.wait_for(scenario(), WITHIN_S))


def test_a_connection_without_a_session_is_closed_in_time() -> None:
    """Port scanners and half-open sockets would use up the connections."""

    async def scenario() -> None:
        async with (
            _serving(replace(SETTINGS, handshake_timeout_ms=20)) as port,
            _client(port) as (silent, _),
        ):
            assert await _is_closed(silent)

    asyncio.run(asyncio.wait_for(scenario(), WITHIN_S))


def test_a_turn_ends_when_it_has_made_much_to_send() -> None:
    """A few hundred bytes of pipelined requests would make the server hold every reply at once."""

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        shell = Shell(Machine(SETTINGS, State(b"secret"), FakeLedger(), read_clocks()), loop)
        served: list[ClientConnection] = []

        def serve() -> ClientConnection:
            served.append(ClientConnection(shell))
            return served[-1]

        listener = await loop.create_server(serve, "127.0.0.1", 0)
        async with _client(listener.sockets[0].getsockname()[1]) as (reader, writer):
            writer.write(CONNECT + _request(Op.CREATE, create_body("/b", b"x" * 1_000_000)))
            await reader.readexactly(41 + 26)
            writer.write(_request(Op.GET_DATA, pack_text("/b") + b"\0") * 64)
            while served[0].held_bytes == 0:  # noqa: ASYNC110 - nothing tells when replies wait
                await asyncio.sleep(0)
            assert served[0].held_bytes < 2_500_000
            for _ in range(64):
                await reader.readexactly(4 + 16 + 4 + 1_000_000 + 68)
        listener.close()
        shell.close()
        await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(scenario(), WITHIN_S))


def _request(op: Op, body: bytes) -> bytes:
    return pack_frame(pack_int(1) + pack_int(op) + body)


def test_a_packet_too_large_is_refused_by_its_length_alone() -> None:
    """One client could make the server buffer without end."""

    async def scenario() -> None:
        async with (
            _serving(replace(SETTINGS, frame_bytes_max=100)) as port,
            _client(port) as (reader, writer),
        ):
            writer.write(pack_int(101))
            assert await _is_closed(reader)

    asyncio.run(asyncio.wait_for(scenario(), WITHIN_S))


@pytest.mark.parametrize("chunk_bytes", [1, 7, 10_000])
def test_pipelined_requests_are_answered_in_order_however_they_arrive(chunk_bytes: int) -> None:
    """A client that does not wait for replies (Java does not) would hang or lose its place."""
    requests = [pack_frame(pack_int(xid) + pack_int(11)) for xid in range(1, 101)]
    stream = CONNECT + b"".join(requests)

    async def scenario() -> None:
        async with _serving(SETTINGS) as port, _client(port) as (reader, writer):
            for at in range(0, len(stream), chunk_bytes):
                writer.write(stream[at : at + chunk_bytes])
                await writer.drain()
            await reader.readexactly(41)
            replies = await reader.readexactly(PING_REPLY_BYTES * len(requests))
            xids = [replies[at + 7] for at in range(0, len(replies), PING_REPLY_BYTES)]
            assert xids == list(range(1, 101))

    asyncio.run(asyncio.wait_for(scenario(), WITHIN_S))
