"""Serve the control interface: which answers are given at it is for `answering` to say.

Theory of operation. Who may come in, and for how long, is the `Door`'s business; aiohttp reads the request and writes
the answer. There is one request for each connection. The socket is looked after: where the path no longer leads to it,
because somebody removed it or the whole folder, it is made anew as long as the group is ours.

aiohttp takes a fifth of a second to import, so it is imported when the server starts, which is after the
first workers were launched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from autohealer.control import socket_path
from autohealer.control.answering import Answering
from autohealer.control.complaints import Complaints
from autohealer.control.door import REQUEST_S, Door
from autohealer.control.looks import LOOK_S, IsWhole
from autohealer.control.records import StatusRecord
from autohealer.control.requests import Commands

if TYPE_CHECKING:
    from aiohttp import web

HEADER_BYTES = 4096
"""The longest line of a request that is read."""


class ControlServer:
    """Answers from the daemon's own loop; used from its thread only."""

    def __init__(
        self,
        folder: Path,
        status: Callable[[], Awaitable[StatusRecord]],
        commands: Commands,
        say: Callable[[str], None],
    ) -> None:
        """`status` is asked for the answer.

        `say` gets a sentence when something is wrong with the socket or its clients, at most one a minute and cause.
        """
        self._folder = folder
        self._status = status
        self._commands = commands
        self._complain = Complaints(say, asyncio.get_running_loop().time)
        self._door: Door | None = None
        self._server: web.Server | None = None
        self._answering: Answering | None = None
        self._listening: socket_path.Listening | None = None

    async def serve(
        self,
        is_ours: Callable[[], Awaitable[bool]],
        until_disturbed: Callable[[IsWhole], Awaitable[None]],
    ) -> None:
        """Answer until cancelled.

        `is_ours` is asked before the socket is made, first or again; `until_disturbed` is waited for once it is made,
        and told how to see that it is still there.
        """
        try:
            while True:
                listening = await self.listen() if await is_ours() else None
                if listening is None:
                    await asyncio.sleep(LOOK_S)
                else:
                    await until_disturbed(listening.is_reachable)
        finally:
            await self.stop()

    async def listen(self) -> socket_path.Listening | None:
        """Listen, where this is not done yet or the socket was removed; None where that cannot be had now."""
        try:
            if self._door is None:
                self._door = await self._make_door()
            if self._listening is None or not await asyncio.to_thread(self._listening.is_reachable):
                self._listening = await asyncio.to_thread(socket_path.listen, self._folder)
                self._door.open(self._listening.socket)
        except (OSError, RuntimeError) as error:
            # No room, no descriptor, no thread: healing matters more than being asked about it, and that may pass.
            self._complain("the control socket cannot be made", str(error))
            return None
        return self._listening

    async def stop(self) -> None:
        """Stop listening, end all connections and remove the socket."""
        if self._door is None or self._server is None or self._answering is None:
            return
        self._door.close()
        self._answering.cancel()
        await self._server.shutdown(0.0)
        if self._listening is not None and self._listening.is_reachable():
            (self._folder / socket_path.SOCKET_NAME).unlink(missing_ok=True)

    async def _make_door(self) -> Door:
        libraries = await asyncio.to_thread(_import_libraries)
        self._answering = answering = Answering(
            libraries,
            self._status,
            self._commands,
            lambda transport: door.has_asked(transport),  # noqa: PLW0108 - it is made below
        )
        self._server = libraries[0].Server(
            answering.to,
            access_log=None,
            logger=self._complain.as_logger(),
            keepalive_timeout=REQUEST_S,
            lingering_time=0.0,
            max_line_size=HEADER_BYTES,
            max_field_size=HEADER_BYTES,
            tcp_keepalive=False,
            auto_decompress=False,
        )
        door = Door(self._server, self._complain)
        return door


def _import_libraries() -> tuple[ModuleType, ModuleType]:
    import pydantic
    from aiohttp import web

    return web, pydantic
