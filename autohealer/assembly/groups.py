"""The groups of one daemon: a keeper each, begun and stopped in their order, detached together.

Theory of operation. Every group has a decision loop of its own, so that trouble in one is its own. A group that comes
after others begins once each of those has been whole, unless workers of it live already: these are looked after at
once. It is stopped before them, so none of them is told to end while it still runs. A second request to stop leaves no
order, because it is meant for somebody who does not want to wait.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace

from autohealer.assembly.keeper import Keeper, Shared, end_task
from autohealer.core.actions import Plan
from autohealer.core.events import Event
from autohealer.core.membership import have_served
from autohealer.core.model import View
from autohealer.daemon.ports import Observer
from autohealer.settings import GroupSettings
from autohealer.statedir.hold import Hold


class Groups:
    """Used from the event loop's thread only."""

    def __init__(self, settings: Sequence[GroupSettings], shared: Shared) -> None:
        self._after = {group.name: frozenset(group.after) for group in settings}
        self._shared = shared
        self._keepers: dict[str, Keeper] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._begun: set[str] = set()
        self._whole: set[str] = set()
        self._looks: dict[str, asyncio.TimerHandle] = {}
        self._stopping: set[str] = set()
        self._stop_asked = asyncio.Event()

    @property
    def leaves_workers(self) -> bool:
        """Whether workers may outlive this daemon now."""
        return any(keeper.leaves_workers for keeper in self._keepers.values())

    @property
    def stop_is_asked(self) -> bool:
        """Whether everything is to end."""
        return self._stop_asked.is_set()

    def add(self, settings: GroupSettings, hold: Hold) -> None:
        """A group is to be kept."""
        logger = self._shared.logger
        if self._shared.settings.config is not None:
            logger = logger.bind(group=settings.name)
        shared = replace(self._shared, logger=logger)
        self._keepers[settings.name] = Keeper(settings, shared, hold)

    def adopt(self, undo: AsyncExitStack) -> int:
        """Take over the workers of an earlier daemon; how many live. Raises `PlatformError`."""
        adopted = 0
        for name, keeper in self._keepers.items():
            found = keeper.adopt(undo)
            adopted += found
            if found or not self._after[name]:
                self._begin(keeper)
            else:
                keeper.wait_for(sorted(self._after[name]))
        return adopted

    async def claim(self) -> None:
        """Return when each is ours alone, cannot be claimed, or is to be stopped. Raises `AlreadyRunning`."""
        claims = [
            asyncio.ensure_future(keeper.claim_group(self._stop_asked))
            for keeper in self._keepers.values()
        ]
        try:
            await asyncio.gather(*claims)
        finally:
            for claim in claims:
                claim.cancel()

    async def run(self, observers: Sequence[Observer]) -> None:
        """Until everything is gone, as asked."""
        async with AsyncExitStack() as undo:
            for name, keeper in self._keepers.items():
                task = self._shared.unforeseen.start(keeper.run((self._observe, *observers)))
                self._running[name] = task
                undo.push_async_callback(end_task, task)
            while self._running:
                await asyncio.wait(self._running.values(), return_when=asyncio.FIRST_COMPLETED)
                for name in [name for name, task in self._running.items() if task.done()]:
                    del self._running[name]
                if self._stop_asked.is_set():
                    self._stop(self._free_to_stop())

    def request_stop(self) -> None:
        """Have all end in their order; asked again, at once."""
        if self._stop_asked.is_set():
            self._stop(set(self._keepers) - self._stopping)
            self._stop(self._keepers)
        self._stop_asked.set()
        self._stop(self._free_to_stop())

    def request_detach(self) -> None:
        """Have all keepers end and their workers run on."""
        for keeper in self._keepers.values():
            keeper.request_detach()

    def _stop(self, names: Iterable[str]) -> None:
        for name in names:
            self._stopping.add(name)
            self._keepers[name].request_stop()

    def _free_to_stop(self) -> list[str]:
        """Those not told yet, that nobody who still runs comes after."""
        needed = {before for name in self._unfinished() for before in self._after[name]}
        return [name for name in self._keepers if name not in needed | self._stopping]

    def _unfinished(self) -> Iterable[str]:
        """Before they run, nobody is finished."""
        return self._running or self._keepers

    def _observe(self, _facts: Sequence[Event], _plan: Plan, view: View) -> None:
        """After a group's round: what waits for it may begin, if it stays ready for long enough."""
        group = view.group
        if group in self._whole or group in self._looks or group not in self._awaited():
            return
        if view.ready_count() >= view.desired.replicas:
            loop = asyncio.get_running_loop()
            self._looks[group] = loop.call_later(view.policy.min_ready_s, self._look, view)

    def _look(self, view: View) -> None:
        """Some time after a group was ready: whether it has been since."""
        del self._looks[view.group]
        if not have_served(view, time.monotonic()):
            self._observe((), Plan(), view)
            return
        self._whole.add(view.group)
        for name, keeper in self._keepers.items():
            if name not in self._begun and self._after[name] <= self._whole:
                self._begin(keeper)

    def _awaited(self) -> set[str]:
        """Those begun that a group waits for."""
        waiting = self._keepers.keys() - self._begun
        return {before for name in waiting for before in self._after[name]} & self._begun

    def _begin(self, keeper: Keeper) -> None:
        self._begun.add(keeper.name)
        keeper.begin()
