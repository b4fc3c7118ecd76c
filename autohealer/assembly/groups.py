"""The groups of one daemon: a keeper each, begun and stopped in their order, detached together, changed by a reload.

Theory of operation. Every group has a decision loop of its own, so that trouble in one is its own. A group that comes
after others begins once each of those has been whole, unless workers of it live already: these are looked after at
once. It is stopped before them, so none of them is told to end while it still runs. A second request to stop leaves no
order, because it is meant for somebody who does not want to wait.

A group that a reload adds is adopted, claimed and run as at the start; one that it removes is stopped and then let go
of. Whoever stays is told what is wanted of it now.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import replace
from http import HTTPStatus

from autohealer.assembly.errors import PlatformError
from autohealer.assembly.keeper import Keeper, end_task
from autohealer.assembly.scaling import why_not
from autohealer.assembly.shared import Shared
from autohealer.control.records import ChangeRecord
from autohealer.control.requests import Asked, Refused, Scale
from autohealer.core.actions import Plan
from autohealer.core.events import Event
from autohealer.core.membership import have_served, is_failed, is_whole
from autohealer.core.model import View
from autohealer.daemon.ports import Observer
from autohealer.processes.limits import raise_descriptor_limit
from autohealer.settings import GroupSettings
from autohealer.statedir.hold import Hold
from autohealer.statedir.lock import AlreadyRunning


class Groups:
    """Used from the event loop's thread only."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._after: dict[str, frozenset[str]] = {}
        self._keepers: dict[str, Keeper] = {}
        self._undo: dict[str, ExitStack] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._joining: set[str] = set()
        self._observers: tuple[Observer, ...] = ()
        self._ended = asyncio.Event()
        self._begun: set[str] = set()
        self._whole: set[str] = set()
        self._looks: dict[str, asyncio.TimerHandle] = {}
        self._stopping: set[str] = set()
        self._leaving: set[str] = set()
        self._stop_asked = asyncio.Event()
        # Who keeps a file's groups may be given others; a command line's group is all there will be.
        self._ends_when_done = shared.settings.config is None
        self.failed = 0
        """How many workers are done and failed, when that ended the daemon."""

    @property
    def leaves_workers(self) -> bool:
        """Whether workers may outlive this daemon now."""
        return any(keeper.leaves_workers for keeper in self._keepers.values())

    @property
    def stop_is_asked(self) -> bool:
        """Whether everything is to end."""
        return self._stop_asked.is_set()

    @property
    def names(self) -> Collection[str]:
        """Those whose loops turn, or are about to."""
        return [name for name in self._keepers if name not in self._joining]

    @property
    def sizes(self) -> dict[str, int]:
        """How many workers each is to have by now, whoever said so."""
        return {name: keeper.size.replicas for name, keeper in self._keepers.items()}

    def is_leaving(self, name: str) -> bool:
        """Whether a group was removed and is not gone yet."""
        return name in self._leaving

    def add(self, settings: GroupSettings, hold: Hold) -> None:
        """A group is to be kept. Raises `OSError`: as if nobody had asked."""
        logger = self._shared.logger
        if self._shared.settings.config is not None:
            logger = logger.bind(group=settings.name)
        shared = replace(self._shared, logger=logger)
        self._keepers[settings.name] = Keeper(settings, shared, hold)
        self._after[settings.name] = frozenset(settings.after)
        self._undo[settings.name] = ExitStack()

    def adopt(self, undo: AsyncExitStack) -> int:
        """Take over the workers of an earlier daemon; how many live. Raises `PlatformError`."""
        undo.callback(self._undo_all)
        return sum(map(self._adopt, self._keepers.values()))

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
        self._observers = (self._observe, *observers)
        async with AsyncExitStack() as undo:
            undo.push_async_callback(self._end_tasks)
            for name, keeper in self._keepers.items():
                self._start(name, keeper)
            while self._running:
                await self._ended.wait()
                self._ended.clear()
                for name in [name for name, task in self._running.items() if task.done()]:
                    del self._running[name]
                    self._let_go(name)
                self._stop(self._free_to_stop() if self._stop_asked.is_set() else ())
                self._stop(self._free_to_leave())

    # --- the operator ---------------------------------------------------------------------------

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

    def change(
        self,
        changed: Sequence[GroupSettings],
        new: Sequence[tuple[GroupSettings, Hold]],
        removed: Collection[str],
    ) -> None:
        """Keep what is wanted now. Raises `PlatformError`: everything is as it was, and of `new` nothing is held."""
        found = self._joined(new)
        for settings in changed:
            self._after[settings.name] = frozenset(settings.after)
            self._keepers[settings.name].apply(settings)
        self._leaving |= set(removed)
        self._stop(self._free_to_leave())
        for keeper, workers in found:
            self._begin_or_wait(keeper, workers)
            self._joining.add(keeper.name)
            self._start(keeper.name, keeper)
        self._begin_all_free()
        for name in self._awaited():
            self._keepers[name].wake()

    def _joined(self, new: Sequence[tuple[GroupSettings, Hold]]) -> list[tuple[Keeper, int]]:
        """Keepers of new groups, and how many workers each has taken over; all or none. Raises `PlatformError`."""
        found = []
        with ExitStack() as undo:
            for _, hold in new:
                undo.callback(hold.give_up)
            for settings, hold in new:
                self._add_if_possible(settings, hold)
                undo.callback(self._forget, settings.name)
                keeper = self._keepers[settings.name]
                found.append((keeper, keeper.adopt(self._undo[settings.name])))
            undo.pop_all()
        return found

    def _add_if_possible(self, settings: GroupSettings, hold: Hold) -> None:
        try:
            self.add(settings, hold)
        except OSError as error:
            raise PlatformError(
                f"group {settings.name!r} cannot be kept now ({error.strerror}): reload again when the machine is less "
                "short of descriptors or memory"
            ) from error

    async def operate(self, name: str, asked: Asked) -> ChangeRecord:
        """Change one group as an operator asks. Raises `Refused`: nothing was changed."""
        keeper = self._keepers.get(name)
        if keeper is None:
            known = ", ".join(self._keepers)
            raise Refused(HTTPStatus.NOT_FOUND, f"there is no group {name!r} here, only {known}")
        if self.stop_is_asked or self.is_leaving(name):
            raise Refused(HTTPStatus.CONFLICT, f"group {name!r} is being stopped for good")
        if isinstance(asked.change, Scale):
            self._check_scale(keeper, asked.change)
        return await keeper.change(asked)

    def _check_scale(self, keeper: Keeper, change: Scale) -> None:
        """Raises `Refused`; else there are descriptors for as many, if they are to be had."""
        if change.replicas is None:
            return
        size = replace(keeper.size, replicas=change.replicas)
        others = [other.size for name, other in self._keepers.items() if name != keeper.name]
        if reason := why_not(size, others):
            raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, reason)
        raise_descriptor_limit(change.replicas + sum(other.replicas for other in others))

    # --- running --------------------------------------------------------------------------------

    def _adopt(self, keeper: Keeper) -> int:
        """Take over what lives, and begin if that is not to wait for others. Raises `PlatformError`."""
        found = keeper.adopt(self._undo[keeper.name])
        self._begin_or_wait(keeper, found)
        return found

    def _begin_or_wait(self, keeper: Keeper, found: int) -> None:
        """Who has workers is looked after at once."""
        if found or not self._after[keeper.name]:
            self._begin(keeper)
        else:
            keeper.wait_for(sorted(self._after[keeper.name]))

    def _start(self, name: str, keeper: Keeper) -> None:
        task = self._shared.unforeseen.start(self._run(name, keeper))
        self._running[name] = task
        task.add_done_callback(lambda _: self._ended.set())

    async def _run(self, name: str, keeper: Keeper) -> None:
        if name in self._joining:
            try:
                await keeper.claim_group(self._stop_asked)
            except AlreadyRunning as error:
                keeper.refuse(str(error))
                return
            finally:
                self._joining.discard(name)
        await keeper.run(self._observers)

    def _let_go(self, name: str) -> None:
        """A keeper has ended; where the daemon goes on, the group is another's to keep."""
        if self._stop_asked.is_set() and name not in self._leaving:
            return
        if name not in self._leaving and self._keepers[name].has_run:
            return  # detached, with all others
        self._forget(name)
        self._leaving.discard(name)
        self._stopping.discard(name)
        self._begun.discard(name)
        self._whole.discard(name)

    def _forget(self, name: str) -> None:
        self._undo.pop(name).close()
        self._keepers.pop(name).leave()
        del self._after[name]

    def _undo_all(self) -> None:
        for undo in self._undo.values():
            undo.close()

    async def _end_tasks(self) -> None:
        for task in self._running.values():
            await end_task(task)

    # --- order ----------------------------------------------------------------------------------

    def _stop(self, names: Iterable[str]) -> None:
        for name in names:
            self._stopping.add(name)
            self._keepers[name].request_stop()

    def _free_to_stop(self) -> list[str]:
        """Those not told yet, that nobody who still runs comes after."""
        needed = {before for name in self._unfinished() for before in self._after[name]}
        return [name for name in self._keepers if name not in needed | self._stopping]

    def _free_to_leave(self) -> list[str]:
        """Those removed and not told yet, that nobody who is removed with them comes after."""
        needed = {before for name in self._leaving for before in self._after[name]}
        return [name for name in self._leaving if name not in needed | self._stopping]

    def _unfinished(self) -> Iterable[str]:
        """Before they run, nobody is finished."""
        return self._running or self._keepers

    def _observe(self, _facts: Sequence[Event], _plan: Plan, view: View) -> None:
        """After a group's round: what waits for it may begin, if it stays ready for long enough."""
        if view.is_done() and self._ends_when_done and not self.stop_is_asked:
            self.failed = sum(map(is_failed, view.slots.values()))
            self._shared.logger.info("all_done", failed=self.failed)
            self.request_stop()
        group = view.group
        if group in self._whole or group in self._looks or group not in self._awaited():
            return
        if is_whole(view):
            loop = asyncio.get_running_loop()
            self._looks[group] = loop.call_later(view.policy.min_ready_s, self._look, view)

    def _look(self, view: View) -> None:
        """Some time after a group was ready: whether it has been since."""
        del self._looks[view.group]
        if not have_served(view, time.monotonic()):
            self._observe((), Plan(), view)
            return
        if view.group in self._keepers:
            self._whole.add(view.group)
            self._begin_all_free()

    def _begin_all_free(self) -> None:
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
