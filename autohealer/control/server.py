"""Serve the control interface: `GET /v1/status`, `POST /v1/detach`.

aiohttp takes a fifth of a second to import, so it is imported when the server starts, which is after the
first workers were launched.
"""

from __future__ import annotations

import asyncio
import http
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from autohealer.control import socket_path
from autohealer.control.records import StatusRecord

if TYPE_CHECKING:
    from aiohttp import web


class ControlServer:
    """Answers from the daemon's own loop, so an answer is as of one decision."""

    def __init__(
        self, folder: Path, status: Callable[[], StatusRecord], detach: Callable[[], None]
    ) -> None:
        """`status` is asked for the answer, `detach` is called to end the daemon and leave its workers."""
        self._folder = folder
        self._status = status
        self._detach = detach
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen. Raises `OSError` when the socket cannot be made."""
        aiohttp_web, pydantic = await asyncio.to_thread(_import_libraries)
        encode = pydantic.TypeAdapter(StatusRecord).dump_json

        async def status(_request: web.Request) -> web.Response:
            body: bytes = encode(self._status())
            response: web.Response = aiohttp_web.Response(
                body=body, content_type="application/json"
            )
            return response

        async def detach(_request: web.Request) -> web.Response:
            self._detach()
            response: web.Response = aiohttp_web.Response(status=http.HTTPStatus.ACCEPTED)
            return response

        app = aiohttp_web.Application()
        app.router.add_get("/v1/status", status)
        app.router.add_post("/v1/detach", detach)
        self._runner = aiohttp_web.AppRunner(app, access_log=None, handle_signals=False)
        await self._runner.setup()
        await aiohttp_web.SockSite(self._runner, socket_path.listen(self._folder)).start()

    async def stop(self) -> None:
        """Stop listening and remove the socket."""
        if self._runner is not None:
            await self._runner.cleanup()
            (self._folder / socket_path.SOCKET_NAME).unlink(missing_ok=True)


def _import_libraries() -> tuple[ModuleType, ModuleType]:
    import pydantic
    from aiohttp import web

    return web, pydantic
