"""Notice that the servers turn new clients of this host away while our own session works, and say so.

Theory of operation. Apache ZooKeeper takes 60 connections of one host unless told otherwise and closes further ones
before a word is said; to a worker that looks like a server that is away, and to the daemon like a worker that never
registers. So while workers take long to register, we knock: a connection that is closed at once although we say nothing
is one too many. Only who finds no server that takes it is turned away.

An observer of decisions: it costs a comparison while nobody is late, and has no timer then.

Must never know: how to heal. Limits: a server that closes connections for another reason looks the same; what the
sentence says is the likely one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from enum import Enum

from autohealer.core.actions import Plan
from autohealer.core.events import Event
from autohealer.core.model import Incarnation, Phase, Store, View

PATIENCE_S = 2.0
"""A worker that has not registered by then is worth a look; each further look waits twice as long."""

PATIENCE_MAX_S = 60.0
CONNECT_S = 2.0
SILENCE_S = 0.5
"""A server that has nothing against us waits for us to speak."""

_UNSETTLED = (Phase.STARTING, Phase.BACKOFF, Phase.QUARANTINED)
"""As long as there is such a slot what was found is not over: a worker that is turned away comes back and again."""


class Door(Enum):
    """What became of a knock."""

    OPEN = "open"
    SHUT = "shut"
    NOBODY = "nobody"


class TurnedAway:
    """Knocks while workers wait; `sentence` is what was found, "" while nothing is wrong."""

    def __init__(
        self,
        hosts: Sequence[tuple[str, int]],
        start: Callable[[Coroutine[object, object, None]], asyncio.Task[None]],
        say: Callable[[str], None],
        patience_s: float = PATIENCE_S,
    ) -> None:
        """`start` runs work in the background; `say` is called when workers begin to be turned away."""
        self._hosts = hosts
        self._start = start
        self._say = say
        self._patience_s = patience_s
        self._looking: asyncio.Task[None] | None = None
        self.sentence = ""

    def __call__(self, _facts: Sequence[Event], _plan: Plan, view: View) -> None:
        """Begin to look when somebody is to register."""
        if self._looking is None and view.counts[Phase.STARTING]:
            self._looking = self._start(self._look(view))

    def close(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()

    async def _look(self, view: View) -> None:
        """Until nobody is waiting any more."""
        pause_s = self._patience_s
        while any(view.counts[phase] for phase in _UNSETTLED):
            waiting = _starting(view)
            await asyncio.sleep(pause_s)
            late = len(waiting & _starting(view))
            pause_s = next_pause_s(pause_s, self._patience_s, waiting=len(waiting), late=late)
            if late and view.store is Store.CONNECTED:
                self._conclude(view, late, is_shut=await doors_are_shut(self._hosts))
        self.sentence = ""
        self._looking = None

    def _conclude(self, view: View, late: int, *, is_shut: bool) -> None:
        if not is_shut:
            self.sentence = ""
            return
        is_news = not self.sentence
        self.sentence = _told(self._hosts, late, view.desired.kept)
        if is_news:
            self._say(self.sentence)


def _starting(view: View) -> set[Incarnation]:
    """Who was launched and has not registered."""
    slots = view.slots.values()
    return {s.occupant.name for s in slots if s.phase is Phase.STARTING and s.occupant is not None}


def next_pause_s(pause_s: float, patience_s: float, *, waiting: int, late: int) -> float:
    """Twice the last one, unless those who waited have registered: others may have begun to wait meanwhile."""
    return patience_s if waiting and not late else min(2 * pause_s, PATIENCE_MAX_S)


async def doors_are_shut(hosts: Sequence[tuple[str, int]]) -> bool:
    """Whether no server takes a new connection of this host, and one closes it at once."""
    doors = await asyncio.gather(*(_knock(host, port) for host, port in hosts))
    return Door.OPEN not in doors and Door.SHUT in doors


async def _knock(host: str, port: int) -> Door:
    try:
        async with asyncio.timeout(CONNECT_S):
            reader, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError):
        return Door.NOBODY
    try:
        async with asyncio.timeout(SILENCE_S):
            return Door.OPEN if await reader.read(1) else Door.SHUT
    except TimeoutError:
        return Door.OPEN
    except OSError:
        return Door.SHUT
    finally:
        writer.transport.abort()


def _told(hosts: Sequence[tuple[str, int]], late: int, replicas: int) -> str:
    servers = ",".join(f"{host}:{port}" for host, port in hosts)
    wait = "1 worker waits" if late == 1 else f"{late} workers wait"
    return (
        f"ZooKeeper at {servers} closes new connections of this host at once, while the daemon's own works: {wait} to "
        "register. Most likely it takes no more clients of one host (maxClientCnxns in its zoo.cfg, 60 unless set; an "
        f"embedded server takes 4096): {replicas} workers and the daemon need {replicas + 1} connections"
    )
