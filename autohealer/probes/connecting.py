"""Connect to a worker on a bare socket of the event loop's, which costs half of what its transports do.

Must never know: what is said over a connection.
"""

from __future__ import annotations

import asyncio
import socket
from ipaddress import ip_address


async def connected(host: str, port: int) -> socket.socket:
    """A connected socket that does not block; names are tried at each of their addresses. Raises `OSError`."""
    loop = asyncio.get_running_loop()
    addresses: list[tuple[int, tuple[object, ...]]] = []
    try:
        is_old = ip_address(host).version == 4
        addresses.append((socket.AF_INET if is_old else socket.AF_INET6, (host, port)))
    except ValueError:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses += [(family, address) for family, _, _, _, address in found]
    refusal = OSError(0, f"there is no {host}")
    for family, address in addresses:
        try:
            return await _connected(loop, family, address)
        except OSError as error:
            refusal = error
    raise refusal


async def _connected(
    loop: asyncio.AbstractEventLoop, family: int, address: tuple[object, ...]
) -> socket.socket:
    connecting = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        await loop.sock_connect(connecting, address)
    except BaseException:  # also where it takes too long
        connecting.close()
        raise
    return connecting
