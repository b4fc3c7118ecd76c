"""Carry out what the decider orders about one embedded server, on the event loop, with a real process.

Theory of operation. Every fact goes through `_tell`: decide, remember, do what was ordered, set the timer. Orders that
take time (a look, a launch) are tasks that end in a fact; what may wait for a disk is done on a thread, and a thread
that cannot be started is a look or a launch that failed. Used from the event loop's thread only.

Must never know: when to launch, kill or give up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Protocol, assert_never

from autohealer.embedded.decider import Keeping, decide
from autohealer.embedded.facts import (
    Adopted,
    Begun,
    Ended,
    Fact,
    GiveUp,
    Kill,
    Launch,
    Launched,
    Listener,
    Look,
    Looked,
    NotLaunched,
    Order,
    Say,
    SessionChanged,
    Stopped,
    TimePassed,
)
from autohealer.embedded.folder import ServerFolder
from autohealer.embedded.probe import who_listens


class ServerUnavailable(Exception):  # noqa: N818 - says what is the case
    """No embedded server can be had on the port; the message is one sentence with the cause."""


class ServerProcess(Protocol):
    """One process or none, held so that no signal can reach another."""

    @property
    def pid(self) -> int | None:
        """The process, if it lives."""

    def find(self) -> list[int]:
        """What may be one that an earlier daemon left; may take a while, on any thread. Raises `OSError`."""

    @property
    def is_as_told(self) -> bool:
        """Whether it was started with the options it would be started with now."""

    def adopt(self, pids: Sequence[int]) -> bool:
        """Hold the first of these that is proven to be one. Raises `OSError`."""

    def launch(self, output: int) -> None:
        """Start it, with its output going to this descriptor. Raises `OSError`."""

    async def stop(self) -> None:
        """End it; returns when it is gone or cannot be ended."""

    def kill(self) -> None:
        """End it at once, without waiting."""

    def release(self) -> None:
        """Leave it running."""


ProcessMaker = Callable[[ServerFolder, Callable[[int, float], None]], ServerProcess]
"""Makes the process of a folder; the callback gets the pid and how long it lived, in seconds."""


class EmbeddedServer:
    """The embedded server on one port, ours or another daemon's."""

    def __init__(
        self, folder: ServerFolder, make_process: ProcessMaker, say: Callable[[Say], None]
    ) -> None:
        self._folder = folder
        self._process = make_process(folder, self._ended)
        self._say = say
        self._keeping = Keeping(folder.port)
        self._is_searched = False
        self._is_halted = False
        self._answered = asyncio.Event()
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def pid(self) -> int | None:
        """Its process, if it is ours and lives."""
        return self._process.pid

    async def start(self, *, may_give_up: bool, patience_s: float) -> None:
        """Keep it from now on; returns when it answers, or where there is no giving up after `patience_s`.

        Raises:
            ServerUnavailable: only where it may give up.
        """
        self._tell(Begun(may_give_up))
        answered = asyncio.ensure_future(self._answered.wait())
        await asyncio.wait(
            (answered, self._failed),
            timeout=None if may_give_up else patience_s,
            return_when=asyncio.FIRST_COMPLETED,
        )
        answered.cancel()
        if self._failed.done():
            self._failed.result()

    async def stop(self) -> None:
        """Take it down, if it is ours or belongs to nobody any more."""
        await self._halt()
        if self.pid is None:
            with suppress(OSError, RuntimeError):  # it cannot be told whether one was left
                await self._claim()
        await self._process.stop()
        self._folder.disclaim()

    async def release(self) -> None:
        """Leave it running for the next daemon to take over."""
        await self._halt()
        self._process.release()
        self._folder.disclaim()

    def session_changed(self, *, is_connected: bool) -> None:
        """The daemon's own session tells whether a server is there at all."""
        self._tell(SessionChanged(is_connected))

    async def _halt(self) -> None:
        self._tell(Stopped())
        self._is_halted = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- deciding -----------------------------------------------------------------------------

    def _tell(self, fact: Fact) -> None:
        if self._is_halted:
            return
        loop = asyncio.get_running_loop()
        self._keeping, orders = decide(self._keeping, fact, loop.time())
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if (wake_at := self._keeping.wake_at) is not None:
            self._timer = loop.call_at(wake_at, self._tell, TimePassed())
        if self._keeping.has_answered:
            self._answered.set()
        for order in orders:
            self._carry_out(order)

    def _carry_out(self, order: Order) -> None:
        match order:
            case Look():
                self._begin(self._look())
            case Launch():
                self._begin(self._launch())
            case Kill():
                self._process.kill()
            case GiveUp(sentence):
                if not self._failed.done():
                    self._failed.set_exception(ServerUnavailable(sentence))
            case Say():
                self._say(order)
            case _:
                assert_never(order)

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(tell_defect)

    # --- orders -------------------------------------------------------------------------------

    async def _look(self) -> None:
        try:
            is_claimed = await self._claim()
            seen = await who_listens(self._folder.port)
        except (OSError, RuntimeError) as error:  # no descriptors, no memory, no thread
            self._tell(Looked(Listener.UNSEEN, is_claimed=False, why=str(error)))
        else:
            self._tell(Looked(seen.listener, is_claimed, seen.why))

    async def _claim(self) -> bool:
        """Whether we answer for it; who newly does takes over what was left. Raises `OSError`, `RuntimeError`."""
        if self._is_searched:
            return True
        is_claimed, found = await asyncio.to_thread(self._search)
        if is_claimed and self.pid is None:
            self._adopt(found)
        self._is_searched = is_claimed
        return is_claimed

    def _adopt(self, found: Sequence[int]) -> None:
        if self._process.adopt(found) and (pid := self._process.pid) is not None:
            self._tell(Adopted(pid, self._process.is_as_told))

    def _search(self) -> tuple[bool, list[int]]:
        """On a thread."""
        return (True, self._process.find()) if self._folder.claim() else (False, [])

    async def _launch(self) -> None:
        try:
            self._process.launch(await asyncio.to_thread(self._folder.open_log))
        except (OSError, RuntimeError) as error:
            self._tell(NotLaunched(str(error)))
            return
        if self.pid is not None:
            self._tell(Launched(self.pid))

    def _ended(self, pid: int, lived_s: float) -> None:
        if not self._is_halted:
            self._begin(self._tell_end(pid, lived_s))

    async def _tell_end(self, pid: int, lived_s: float) -> None:
        try:
            said = await asyncio.to_thread(self._folder.last_line)
        except RuntimeError as error:
            said = f"its log cannot be read ({error})"
        self._tell(Ended(pid, lived_s, said))


def tell_defect(task: asyncio.Task[None]) -> None:
    """What a task did not foresee is told at once, not when it is collected as garbage."""
    if not task.cancelled() and (error := task.exception()) is not None:
        told = {"message": "keeping the embedded server failed", "exception": error}
        asyncio.get_running_loop().call_exception_handler(told)
