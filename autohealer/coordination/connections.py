"""Where the sessions of a ZooKeeper are connected from, as far as its servers tell.

Theory of operation. A server that is asked `cons` lists its connections, each with the address of its other end and its
session. Every server of the connection string is asked, each for those it has itself. Many do not answer: the word is
not allowed (Apache ZooKeeper's default), or they speak TLS. Then nothing is known, which says nothing of anybody.
Questions that come close together are one.

Must never know: processes. Limits: what somebody between us and the server makes of addresses is not noticed here: who
compares them with sockets of this machine does.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from autohealer.zkserver.endpoints import Address, Pair, address_of, is_loopback

ANSWER_S = 1.0
ANSWER_BYTES_MAX = 8 * 1024 * 1024
"""Some fifty thousand connections."""

_LINE = re.compile(r"^\s*/(?P<host>[0-9a-fA-F.:%]+):(?P<port>\d+)\[.*?\bsid=0x(?P<sid>[0-9a-f]+)")
_SIGN = 1 << 63


@dataclass(frozen=True, slots=True)
class Server:
    """One server that answered: its own addresses, and from where each session comes to it."""

    addresses: tuple[Address, ...]
    peers: Mapping[int, Address]

    def client_ends(self, session: int) -> list[Pair]:
        """What the client's socket of a session may be, if it is one of this machine's; empty: not connected here."""
        near = self.peers.get(session)
        if near is None:
            return []
        port = self.addresses[0].port
        same = (Address(near.ip, port),) if is_loopback(near) else ()
        fars = (*same, *(it for it in self.addresses if len(it.ip) == len(near.ip)))
        return [Pair(near, far) for far in dict.fromkeys(fars)]


def ends_of(servers: Sequence[Server], session: int) -> list[Pair]:
    """What the client's socket of a session may be, wherever it is connected."""
    return [end for server in servers for end in server.client_ends(session)]


class Connections:
    """Used from the event loop's thread only."""

    def __init__(self, hosts: list[tuple[str, int]], *, speaks_tls: bool) -> None:
        self._hosts = [] if speaks_tls else hosts
        self._asking: asyncio.Task[list[Server]] | None = None

    def are_all(self, servers: Sequence[Server], session: int) -> bool:
        """Whether these are all there are, and a session that is connected is found among them."""
        is_seen = any(session in server.peers for server in servers)
        return is_seen and len(servers) == len(self._hosts)

    async def servers(self) -> list[Server]:
        """Those that answer."""
        if self._asking is None:
            self._asking = asyncio.get_running_loop().create_task(self._ask_all())
            self._asking.add_done_callback(self._asked)
        return await asyncio.shield(self._asking)

    def _asked(self, _task: asyncio.Task[list[Server]]) -> None:
        self._asking = None

    async def _ask_all(self) -> list[Server]:
        answers = await asyncio.gather(*(_ask(host, port) for host, port in self._hosts))
        return [answer for answer in answers if answer is not None]


async def _ask(host: str, port: int) -> Server | None:
    try:
        async with asyncio.timeout(ANSWER_S):
            reader, writer = await asyncio.open_connection(host, port, limit=ANSWER_BYTES_MAX)
            try:
                address = address_of(*writer.get_extra_info("peername")[:2])
                writer.write(b"cons")
                text = await reader.read(ANSWER_BYTES_MAX)
                while more := await reader.read(ANSWER_BYTES_MAX):
                    text += more
                    if len(text) > ANSWER_BYTES_MAX:
                        return None
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return None  # it tells nothing
    peers = dict(_peers_in(text.decode(errors="replace")))
    return Server((address,), peers) if peers else None


def _peers_in(text: str) -> Iterator[tuple[int, Address]]:
    """Each session and the address it comes from."""
    for line in text.splitlines():
        if (match := _LINE.match(line)) is None:
            continue
        session = int(match["sid"], 16)
        try:
            address = address_of(match["host"], int(match["port"]))
        except (OSError, ValueError):
            continue
        yield (session - 2 * _SIGN if session >= _SIGN else session), address
