"""A TCP proxy that stands between clients and a server and misbehaves on request.

Theory of operation: an asyncio loop in a thread of its own. Each connection has two pumps, one per
direction; a pump reads at once, notes when the bytes may arrive, and passes them on in order when that
time has come and its direction is open. What a silent direction holds back arrives when it is healed,
as TCP would send it again; the end of a connection is held back like any other news. Every operation
has happened when it returns. The port stays reserved while connections to it are refused.

Must never know: ZooKeeper's protocol, why a test wants the fault.

Limits: loopback only. Bytes are never lost from the middle of a stream, for TCP does not lose them.
A server that is not there looks like one that resets each connection at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import struct
import threading
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, TypeVar

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from types import TracebackType

T = TypeVar("T")

HOST = "127.0.0.1"
_CHUNK_BYTES = 65536
_CHUNKS_HELD_MAX = 1000
_OPERATION_WITHIN_S = 30.0
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # struct linger: on, zero seconds


class Direction(Enum):
    """Which way bytes travel."""

    TO_SERVER = "to the server"
    TO_CLIENT = "to the client"


@dataclass(slots=True)
class _Way:
    """The state of one direction, shared by all connections."""

    is_open: asyncio.Event
    delay_s: float = 0.0


@dataclass(eq=False, slots=True)
class _Link:
    """One client's connection and its counterpart at the server."""

    client_port: int
    task: asyncio.Task[None]
    writers: list[asyncio.StreamWriter]

    def close(self, *, reset: bool) -> None:
        """End both halves at once."""
        for writer in self.writers:
            if reset and not writer.is_closing():
                connection = writer.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                writer.transport.abort()
            else:
                writer.close()


class ChaosProxy:
    """Forwards `address` to `target`; use it as a context manager, from any thread."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._ways = {direction: _Way(asyncio.Event()) for direction in Direction}
        self._links: list[_Link] = []
        self._server: asyncio.Server | None = None
        # Bound and never listening: it keeps the port ours while connections are refused.
        self._reservation = socket.socket()
        self._reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._reservation.bind((HOST, 0))
        self.port: int = self._reservation.getsockname()[1]

    @property
    def address(self) -> str:
        """`127.0.0.1:PORT` for clients, the same for the proxy's whole life."""
        return f"{HOST}:{self.port}"

    def __enter__(self) -> ChaosProxy:
        self._thread.start()
        self.heal()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.refuse()
        self.cut()
        asyncio.run_coroutine_threadsafe(self._finish(), self._loop).result(_OPERATION_WITHIN_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._reservation.close()

    # --- faults -------------------------------------------------------------------------------

    def cut(
        self, *, share: float = 1.0, pids: Collection[int] | None = None, reset: bool = True
    ) -> int:
        """End connections (RST, or FIN): those of some client processes, or a share, oldest first.

        Returns how many. The clients may connect again at once unless they are refused.
        """

        def cut() -> int:
            links = self._links if pids is None else self._links_of(pids)
            chosen = links[: math.ceil(share * len(links))]
            for link in chosen:
                link.close(reset=reset)
                link.task.cancel()
            self._links = [link for link in self._links if link not in chosen]
            return len(chosen)

        return self._on_loop(cut)

    def refuse(self) -> None:
        """Refuse new connections; those that stand are left alone."""
        self._on_loop(self._stop_listening)

    def silence(self, *directions: Direction) -> None:
        """Pass nothing on in these directions; connections stay open and new ones are accepted."""

        def silence() -> None:
            for direction in directions:
                self._ways[direction].is_open.clear()

        self._on_loop(silence)

    def blackhole(self) -> None:
        """Pass nothing on at all: existing connections fall silent, new ones are never answered."""
        self.silence(*Direction)

    def delay(self, *, to_server_s: float = 0.0, to_client_s: float = 0.0) -> None:
        """Make everything sent from now on arrive so much later."""

        def delay() -> None:
            self._ways[Direction.TO_SERVER].delay_s = to_server_s
            self._ways[Direction.TO_CLIENT].delay_s = to_client_s

        self._on_loop(delay)

    def heal(self) -> None:
        """Be an honest proxy again: listen, delay nothing, deliver what was held back."""

        async def heal() -> None:
            for way in self._ways.values():
                way.delay_s = 0.0
                way.is_open.set()
            if self._server is None:
                self._server = await asyncio.start_server(
                    self._accept, HOST, self.port, reuse_port=True
                )

        asyncio.run_coroutine_threadsafe(heal(), self._loop).result(_OPERATION_WITHIN_S)

    def client_pids(self) -> list[int]:
        """The processes that are connected now, oldest connection first."""
        ports = self._on_loop(lambda: [link.client_port for link in self._links])
        owners = self._owners()
        return [owners[port] for port in ports if port in owners]

    # --- on the loop --------------------------------------------------------------------------

    def _on_loop(self, operation: Callable[[], T]) -> T:
        async def run() -> T:
            return operation()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(_OPERATION_WITHIN_S)

    async def _finish(self) -> None:
        """Let nothing be left on the loop."""
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _links_of(self, pids: Collection[int]) -> list[_Link]:
        owners = self._owners()
        return [link for link in self._links if owners.get(link.client_port) in pids]

    def _owners(self) -> dict[int, int]:
        """Client port to process, for every connection to this proxy."""
        return {
            c.laddr.port: c.pid
            for c in psutil.net_connections("tcp4")
            if c.pid and c.laddr and c.raddr and c.raddr.port == self.port
        }

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "a coroutine runs in a task"
        link = _Link(writer.get_extra_info("peername")[1], task, [writer])
        self._links.append(link)
        # A cut cancels us, and asyncio would take that for a fault of its own.
        with contextlib.suppress(asyncio.CancelledError):
            await self._carry(link, reader, writer)
        with contextlib.suppress(ValueError):  # a cut has removed it already
            self._links.remove(link)

    async def _carry(
        self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Serve one client to the end of its connection."""
        try:
            await self._ways[Direction.TO_SERVER].is_open.wait()
            server_reader, server_writer = await asyncio.open_connection(*self._target)
            link.writers.append(server_writer)
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(reader, server_writer, Direction.TO_SERVER))
                pumps.create_task(self._pump(server_reader, writer, Direction.TO_CLIENT))
            link.close(reset=False)
        except* OSError:
            link.close(reset=True)  # one side is gone: so is the other

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: Direction
    ) -> None:
        """Carry one direction to its end."""
        held: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_CHUNKS_HELD_MAX)
        way = self._ways[direction]
        async with asyncio.TaskGroup() as both:
            both.create_task(self._deliver(held, writer, way))
            chunk = b"the first"
            while chunk:
                try:
                    chunk = await reader.read(_CHUNK_BYTES)
                except OSError:
                    chunk = b""
                await held.put((self._loop.time() + way.delay_s, chunk))

    async def _deliver(
        self, held: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter, way: _Way
    ) -> None:
        """Write what has come in order, each piece when it is due; nothing means the end."""
        chunk = b"the first"
        while chunk:
            due, chunk = await held.get()
            await self._until(due)
            await way.is_open.wait()
            writer.write(chunk)
            await writer.drain()
        writer.write_eof()

    async def _until(self, due: float) -> None:
        """Wait for a time of the loop's clock."""
        if due > self._loop.time():
            arrived = asyncio.Event()
            self._loop.call_at(due, arrived.set)
            await arrived.wait()
