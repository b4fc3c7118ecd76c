"""A whole daemon in memory: the real loop, mailbox and executor on fakes and virtual time.

Theory of operation: virtual workers register `REGISTERS_AFTER_S` after their launch and keep their znode while
they live and are not frozen; the znode of one that died or froze lasts `SESSION_S`, unless it is discarded.

Limits: one group a rig (several may be neighbours), one host; a worker that is frozen twice is not thawed in between.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autohealer.core.events import Event, ReplicasSet, StoreChanged
from autohealer.core.model import Budget, Exit, Incarnation, Phase, StoreRoom, View
from autohealer.core.policy import Policy
from autohealer.daemon.executor import Executor
from autohealer.daemon.loop import Loop
from autohealer.daemon.mailbox import Mailbox
from autohealer.daemon.neighbours import Neighbours
from tests.support.fakehost import FakeHost, FakeProcess
from tests.support.fakes import FakeProcesses, FakeRegistry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from autohealer.core.actions import Plan
    from autohealer.daemon.ports import Observer

BASE = 1000
REGISTERS_AFTER_S = 0.2
SESSION_S = 4.0
ROUNDS_AT_ONCE_MAX = 200
"""More rounds than this at one instant are a loop that keeps a processor busy for nothing."""

POLICY = Policy(settle_s=SESSION_S + 2.0)


@dataclass(frozen=True, slots=True)
class Round:
    """What an observer was told."""

    at: float
    facts: tuple[Event, ...]
    plan: Plan
    processes_alive: int


class Rig:
    """One daemon; `host` may be that of an earlier one."""

    def __init__(
        self,
        *,
        policy: Policy = POLICY,
        host: FakeHost | None = None,
        heartbeat_s: float | None = None,
        generation_base: int = BASE,
        group: str = "web",
        neighbours: Neighbours | None = None,
    ) -> None:
        self._timers = asyncio.get_running_loop()
        self.clock = self._timers.time
        self.rounds: list[Round] = []
        self.mailbox = Mailbox()
        self.neighbours = neighbours
        self.processes = FakeProcesses(self._post, host, self._started)
        self.registry = FakeRegistry(self._post, group)
        self.executor = Executor(self.processes, self.registry, self._post, self.mailbox.fail)
        self.view = View(
            policy=policy,
            budget=Budget(tokens=float(policy.budget_burst)),
            group=group,
            room=StoreRoom() if neighbours is None else neighbours.room,
            generation_base=generation_base,
            now=self.clock(),
        )
        observers: list[Observer] = [self._observe]
        if neighbours is not None:
            neighbours.join(group, self.mailbox)
            observers.append(neighbours.observe)
        self.loop = Loop(self.view, self.mailbox, self.executor, self.clock, observers, heartbeat_s)
        self._rounds_now = 0
        self.most_alive: Counter[int] = Counter()

    @asynccontextmanager
    async def running(self, replicas: int = 0) -> AsyncIterator[asyncio.Task[None]]:
        """Run the loop for a block; what it raises, the block's end raises."""
        self.mailbox.put(ReplicasSet(replicas))
        self.registry.connect()
        task = asyncio.ensure_future(self.loop.run())
        try:
            yield task
        finally:
            self.executor.cancel()
            if not task.done():
                task.cancel()
            await asyncio.wait([task])
        if not task.cancelled():
            task.result()

    # --- what a test sees ---------------------------------------------------------------------

    def ready(self) -> dict[int, Incarnation]:
        """Slot to incarnation, of the ready ones."""
        return {
            key: slot.occupant.name
            for key, slot in self.view.slots.items()
            if slot.phase is Phase.READY and slot.occupant is not None
        }

    def process(self, slot: int) -> FakeProcess:
        """What fills a slot."""
        occupant = self.view.slots[slot].occupant
        assert occupant is not None, f"slot {slot} is empty"
        return self.processes.process(occupant.name)

    def facts(self) -> list[Event]:
        """Every fact folded so far."""
        return [fact for round_ in self.rounds for fact in round_.facts]

    # --- what a test does ---------------------------------------------------------------------

    def kill(self, slot: int) -> None:
        """Somebody kills a worker."""
        self._session_ends(self.process(slot).name)
        self.process(slot).die(Exit(signal=9))

    def freeze(self, slot: int) -> None:
        """Somebody stops a worker."""
        self.process(slot).frozen = True
        self._session_ends(self.process(slot).name)

    # --- how it works -------------------------------------------------------------------------

    def _post(self, fact: Event) -> None:
        """What the adapters tell; of the session the neighbours tell, where there are any."""
        if self.neighbours is None or not isinstance(fact, StoreChanged):
            self.mailbox.put(fact)

    def _observe(self, facts: Sequence[Event], plan: Plan, _view: View) -> None:
        if self.rounds and self.rounds[-1].at < self.clock():
            self._rounds_now = 0
        self._rounds_now += 1
        assert self._rounds_now <= ROUNDS_AT_ONCE_MAX, f"a busy loop: {plan}"
        self.rounds.append(
            Round(self.clock(), tuple(facts), plan, len(self.processes.host.running()))
        )

    def _started(self, process: FakeProcess) -> None:
        alive = Counter(p.name.slot for p in self.processes.host.running())
        self.most_alive |= alive
        self._timers.call_later(REGISTERS_AFTER_S, self._register, process)

    def _register(self, process: FakeProcess) -> None:
        if process.alive and not process.frozen:
            self.registry.register(process.name, self.processes.host.record_of(process))

    def _session_ends(self, name: Incarnation) -> None:
        self._timers.call_later(SESSION_S, self.registry.vanish, name)
