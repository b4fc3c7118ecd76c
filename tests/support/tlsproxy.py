"""Ends TLS in front of a plain server, as proxies do: what has come together goes on in one piece.

Limits: one event loop, that of the test; everything ends with the block.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from tests.support.ports import HOST

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_TOGETHER_S = 0.05
_PIECE_BYTES = 16_000
"""As much as one record of TLS holds."""


@asynccontextmanager
async def ending_tls(certificate: Path, behind: str) -> AsyncIterator[str]:
    """Have an address where this certificate is shown in front of the server `behind`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    host, _, port = behind.rpartition(":")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        their_reader, their_writer = await asyncio.open_connection(host, int(port))
        with suppress(OSError, asyncio.CancelledError):
            await asyncio.gather(_pass_on(reader, their_writer), _pass_on(their_reader, writer))

    server = await asyncio.start_server(serve, HOST, 0, ssl=context)
    async with server:
        yield "{}:{}".format(*server.sockets[0].getsockname()[:2])


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while piece := await reader.read(_PIECE_BYTES):
            with suppress(TimeoutError):
                async with asyncio.timeout(_TOGETHER_S):
                    while more := await reader.read(_PIECE_BYTES - len(piece)):
                        piece += more
            writer.write(piece)
            await writer.drain()
    finally:
        writer.close()
