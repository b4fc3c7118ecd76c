"""Answer one HTTP request: which path means what, who asks, and what comes back.

Theory of operation. A body is read for changes only, up to a size and from a client whose time to ask runs until it is
in. Who asks is what the kernel says of the socket's other end.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from http import HTTPStatus
from types import ModuleType
from typing import TYPE_CHECKING

from autohealer.control.changes import BODY_BYTES, Reader, problem
from autohealer.control.encoding import encoder
from autohealer.control.records import ReloadRecord, StatusRecord
from autohealer.control.requests import Commands, Refused
from autohealer.control.shared_answer import SharedAnswer
from autohealer.statedir.files import name_of_user
from autohealer.statedir.lock import peer_of

if TYPE_CHECKING:
    import asyncio

    from aiohttp import web

PATHS = frozenset(
    {"/v1/status", "/v1/detach", "/v1/stop", "/v1/reload", "/v1/config/plan"},
)
CHUNK_BYTES = 16 * 1024


class Answering:
    """Used from the loop's thread only; the libraries are handed in because they take long to import."""

    def __init__(
        self,
        libraries: tuple[ModuleType, ModuleType],
        status: Callable[[], Awaitable[StatusRecord]],
        commands: Commands,
        has_asked: Callable[[asyncio.BaseTransport | None], None],
    ) -> None:
        """`libraries` are aiohttp's `web` and pydantic; `has_asked` is told when a request is in."""
        self._web, pydantic = libraries
        self._commands = commands
        self._has_asked = has_asked
        self._reader = Reader(pydantic)
        encode = encoder(pydantic)

        async def make() -> bytes:
            return await encode(await status())

        self._status = SharedAnswer(make)

    def cancel(self) -> None:
        """Make no answers any more."""
        self._status.cancel()

    async def to(self, request: web.BaseRequest) -> web.Response:
        """The answer to a request."""
        try:
            response = await self._changed(request) or await self._answered(request)
        except Refused as error:
            response = self._json(problem(error), error.status, "application/problem+json")
        response.force_close()
        return response

    async def _answered(self, request: web.BaseRequest) -> web.Response:
        self._has_asked(request.transport)
        match request.method, request.path:
            case "GET", "/v1/status":
                return self._json(await self._status.get())
            case "POST", "/v1/detach":
                self._commands.detach()
                return self._empty(HTTPStatus.ACCEPTED)
            case "POST", "/v1/stop":
                self._commands.stop()
                return self._empty(HTTPStatus.ACCEPTED)
            case "POST", "/v1/reload" | "/v1/config/plan":
                told = await self._commands.reload(request.path != "/v1/reload")
                return self._record(asdict(told), _status_of(told))
            case _, path if path in PATHS:
                return self._empty(HTTPStatus.METHOD_NOT_ALLOWED)
        return self._empty(HTTPStatus.NOT_FOUND)

    async def _changed(self, request: web.BaseRequest) -> web.Response | None:
        """The answer to a change; None where none is asked for. Raises `Refused`."""
        if not request.can_read_body and request.method == "GET":
            return None
        body = await _body_of(request)
        found = self._reader.change_in(
            request.method, request.path, request.headers, body, _who_asks(request)
        )
        if found is None:
            return None
        self._has_asked(request.transport)
        group, asked = found
        return self._record(asdict(await self._commands.operate(group, asked)), HTTPStatus.OK)

    def _json(
        self, body: bytes, status: HTTPStatus = HTTPStatus.OK, kind: str = "application/json"
    ) -> web.Response:
        response: web.Response = self._web.Response(body=body, status=status, content_type=kind)
        return response

    def _record(self, told: object, status: HTTPStatus) -> web.Response:
        response: web.Response = self._web.json_response(told, status=status)
        return response

    def _empty(self, status: HTTPStatus) -> web.Response:
        response: web.Response = self._web.Response(status=status)
        return response


async def _body_of(request: web.BaseRequest) -> bytes:
    """All of it. Raises `Refused` where it is too long."""
    body = bytearray()
    while chunk := await request.content.read(CHUNK_BYTES):
        body += chunk
        if len(body) > BODY_BYTES:
            raise Refused(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {BODY_BYTES} bytes are not read"
            )
    return bytes(body)


def _who_asks(request: web.BaseRequest) -> str:
    """The user at the other end, as people know them."""
    if request.transport is None:
        return "somebody who is gone"
    connection = request.transport.get_extra_info("socket")
    return name_of_user(peer_of(connection).uid)


def _status_of(told: ReloadRecord) -> HTTPStatus:
    if told.mistakes:
        return HTTPStatus.UNPROCESSABLE_ENTITY
    return HTTPStatus.CONFLICT if told.refusal else HTTPStatus.OK
