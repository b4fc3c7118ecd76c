"""Carry out a plan: each action becomes one call of a port, and what comes of it becomes a fact.

Signals are immediate system calls, launches are ordered from a thread, both in the order of the plan; deleting and
reading registrations go on in the background. Nothing holds the loop up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import assert_never

from autohealer.contract import MANUAL_PREFIX
from autohealer.core.actions import (
    Action,
    Discard,
    Drain,
    Inspect,
    Kill,
    Plan,
    Register,
    Relist,
    Remember,
    Spawn,
    Withdraw,
)
from autohealer.core.events import RegistrantDead, RegistrationRead
from autohealer.core.model import Ending, Incarnation
from autohealer.core.strangers import Standing
from autohealer.daemon.ports import Agent, Binder, Gone, Post, Processes, Registry, Unreadable

READS_AT_ONCE = 16
"""Unfamiliar registrations read in parallel: enough for a start beside strangers, far below kazoo's queue limit."""


class Executor:
    """The only caller of the ports; `fail` is told of what breaks in the background."""

    def __init__(
        self,
        processes: Processes,
        registry: Registry,
        post: Post,
        fail: Callable[[BaseException], None],
        agent: Agent | None = None,
        binder: Binder | None = None,
    ) -> None:
        """`agent`: where the daemon registers for its programs; `binder`: where they do under names of their own."""
        self._processes = processes
        self._registry = registry
        self._post = post
        self._fail = fail
        self._agent = agent
        self._binder = binder
        self._reads: set[asyncio.Task[None]] = set()
        self._read_places = asyncio.Semaphore(READS_AT_ONCE)

    def employ(self, agent: Agent) -> None:
        """From now on the daemon registers for programs that do not do it."""
        self._agent = agent

    def bind(self, binder: Binder) -> None:
        """From now on programs register under names of their own."""
        self._binder = binder

    def execute(self, plan: Plan) -> None:
        """Start everything the plan says, in its order."""
        for action in plan.actions:
            self._carry_out(action)

    def cancel(self) -> None:
        """Give up what is still being read; used once, at the end."""
        for task in self._reads:
            task.cancel()

    def _carry_out(self, action: Action) -> None:
        match action:
            case Spawn(_, name):
                self._processes.spawn(name)
            case Drain(_, name, _, Ending.WATCHDOG):
                self._processes.abort(name)
            case Drain(_, name):
                self._processes.terminate(name)
            case Kill(_, name):
                self._processes.kill(name)
            case Register(name):
                self._register(name)
            case Withdraw(name):
                self._the_agent().withdraw(name)
            case Discard(name, child):
                self._registry.discard(name, child)
            case Inspect(name):
                self._read(self._inspect(name))
            case Relist():
                self._registry.relist()
            case Remember(bonds):
                self._the_binder().remember(bonds)
            case _:
                assert_never(action)

    def _the_agent(self) -> Agent:
        assert self._agent is not None, "these programs register themselves"
        return self._agent

    def _the_binder(self) -> Binder:
        assert self._binder is not None, "these programs register by the names they were given"
        return self._binder

    def _read(self, reading: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(reading)
        self._reads.add(task)
        task.add_done_callback(self._read_done)

    def _register(self, name: Incarnation) -> None:
        record = self._processes.record_of(name)
        if record is not None:  # else it has just ended, which is told
            self._the_agent().register(name, record)

    def _read_done(self, task: asyncio.Task[None]) -> None:
        self._reads.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    async def _inspect(self, name: Incarnation | str) -> None:
        if self._binder is not None and isinstance(name, str):
            async with self._read_places:
                examined = await self._binder.look_at(name)
            if examined is not None:
                self._post(examined)
            return
        try:
            async with self._read_places:
                record = await self._registry.read(name)
        except Gone:
            return
        except Unreadable:
            self._post(RegistrationRead(name, Standing.GARBAGE))
            return
        if isinstance(name, str):
            standing = Standing.MANUAL if name.startswith(MANUAL_PREFIX) else Standing.UNKNOWN
            self._post(RegistrationRead(name, standing, record.pid, record.host))
            return
        found = self._processes.look_into(name, record)
        if found is None:
            return
        if found is Standing.DEAD:
            self._post(RegistrantDead(name))
        else:
            self._post(RegistrationRead(name, found, record.pid, record.host))
