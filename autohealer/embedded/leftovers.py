"""Embedded servers of earlier daemons on other ports: kept while somebody needs them, ended when nobody does.

Theory of operation. A daemon that died may have used another port than the next one does, and its workers, adopted
by that, are still connected there. Such a server is held, not looked after: nothing is launched again. Once it has
had no connection for two looks it is ended, and at the end of the daemon unless somebody else still uses it.

Must never know: whose the connections are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from autohealer.embedded.facts import Event, Say
from autohealer.embedded.folder import ServerFolder, ports_in
from autohealer.embedded.keeper import ProcessMaker, ServerProcess, tell_defect
from autohealer.embedded.probe import clients_of

LOOK_S = 5.0
"""Between two looks at who is connected: a client that lost its connection is back well before."""

IDLE_LOOKS = 2
"""So many looks in a row without a client: nobody needs it."""

PARTING_S = 1.0
PARTING_LOOKS = 10
"""How long the end waits for connections of workers that were just ended to be gone."""


@dataclass(frozen=True, slots=True)
class _Left:
    folder: ServerFolder
    process: ServerProcess


class Leftovers:
    """All of one state directory; used from the event loop's thread only."""

    def __init__(
        self, make_process: ProcessMaker, say: Callable[[int, Say], None], look_s: float = LOOK_S
    ) -> None:
        """`say` gets the port and the line."""
        self._make_process = make_process
        self._say = say
        self._look_s = look_s
        self._left: list[_Left] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, state_dir: Path, in_use: int | None) -> None:
        """Hold what is left on other ports than `in_use`; what cannot be looked for is left to the next daemon."""
        with suppress(OSError, RuntimeError):
            for folder, process, found in await asyncio.to_thread(self._search, state_dir, in_use):
                if process.adopt(found):
                    self._say(folder.port, Say(Event.ADOPTED, process.pid))
                    left = _Left(folder, process)
                    self._left.append(left)
                    task = asyncio.get_running_loop().create_task(self._watch(left))
                    task.add_done_callback(tell_defect)
                    self._tasks.append(task)
                else:
                    folder.disclaim()

    async def stop(self) -> None:
        """End those that nobody uses."""
        await self._halt()
        for left in self._left:
            await self._part(left)

    async def release(self) -> None:
        """Leave them for the next daemon."""
        await self._halt()
        for left in self._left:
            left.process.release()
            left.folder.disclaim()

    async def _halt(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _search(
        self, state_dir: Path, in_use: int | None
    ) -> Sequence[tuple[ServerFolder, ServerProcess, list[int]]]:
        """On a thread: those that no other daemon answers for."""
        ports = (port for port in ports_in(state_dir) if port != in_use)
        folders = [f for port in ports if (f := ServerFolder(state_dir, port)).claim()]
        made = [(folder, self._make_process(folder, _unheeded)) for folder in folders]
        return [(folder, process, process.find()) for folder, process in made]

    async def _watch(self, left: _Left) -> None:
        idle_looks = 0
        while left.process.pid is not None and idle_looks < IDLE_LOOKS:
            await asyncio.sleep(self._look_s)
            idle_looks = idle_looks + 1 if await clients_of(left.folder.port) == 0 else 0
        await self._end(left)

    async def _part(self, left: _Left) -> None:
        """One that does not say who is connected serves nobody."""
        clients = await clients_of(left.folder.port)
        for _ in range(PARTING_LOOKS):
            if not clients:
                await self._end(left)
                return
            await asyncio.sleep(PARTING_S / PARTING_LOOKS)
            clients = await clients_of(left.folder.port)
        self._say(left.folder.port, Say(Event.LEFT, left.process.pid, f"clients: {clients}"))
        left.process.release()
        left.folder.disclaim()

    async def _end(self, left: _Left) -> None:
        if left.process.pid is not None:
            self._say(
                left.folder.port, Say(Event.ENDED, left.process.pid, "nobody uses it any more")
            )
        await left.process.stop()
        left.folder.disclaim()


def _unheeded(_pid: int, _lived_s: float) -> None:
    """That one ended is seen at the next look."""
