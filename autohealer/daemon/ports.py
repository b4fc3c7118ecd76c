"""What the daemon needs from the world; adapters provide it, tests verify them against the same suites.

Facts come back through the `Post` each adapter was given, never as return values, with one exception: the answer
to a read the executor itself asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from autohealer.contract import WorkerRecord
from autohealer.core.actions import Plan
from autohealer.core.children import Bond, Child
from autohealer.core.events import ChildExamined, Event
from autohealer.core.model import Incarnation, View
from autohealer.core.strangers import Standing

Post = Callable[[Event], None]


class Unreadable(Exception):  # noqa: N818 - it is an answer, not a failure
    """A registration's data is not a worker record; the message says what it is instead."""


class Gone(Exception):  # noqa: N818 - it is an answer, not a failure
    """A registration vanished before it could be read, or the store is away."""


class Processes(Protocol):
    """Local processes. Posts `WorkerSpawned`, `SpawnFailed`, `WorkerExited`, `TreeEmptied`, `WorkerAdopted`."""

    def spawn(self, name: Incarnation) -> None:
        """Have an incarnation launched, behind those that were ordered before; told later, as what comes of it."""

    def terminate(self, name: Incarnation) -> None:
        """Ask the whole process group to end; a no-op for what is gone."""

    def abort(self, name: Incarnation) -> None:
        """Ask it to end, leaving behind what it was about (a core, a traceback); a no-op for what is gone."""

    def kill(self, name: Incarnation) -> None:
        """End everything the incarnation is and started; a no-op for what is gone."""

    def record_of(self, name: Incarnation) -> WorkerRecord | None:
        """What the daemon writes into the registration of a live incarnation it holds it for; None for what is gone."""

    def look_into(self, name: Incarnation, record: WorkerRecord) -> Standing | None:
        """Whose process a record names: adopted if proven ours (posted, and None), else its standing."""


class Registry(Protocol):
    """The children of `/workers`. Posts `StoreChanged` and `WorkersListed`."""

    def discard(self, name: Incarnation, child: Child | None = None) -> None:
        """Delete a dead incarnation's registration, in the background; a child only if it is that very one."""

    def relist(self) -> None:
        """Ask for the list anew, whether or not anything seems to have changed, and for one no server lags behind."""

    async def read(self, name: Incarnation | str) -> WorkerRecord:
        """Read a registration's data. Raises `Unreadable` or `Gone`."""


class Agent(Protocol):
    """Registrations that the daemon holds for programs that know nothing of ZooKeeper."""

    def register(self, name: Incarnation, record: WorkerRecord) -> None:
        """Hold an incarnation's registration until it is withdrawn, whatever becomes of sessions and servers."""

    def withdraw(self, name: Incarnation) -> None:
        """Delete it, and hold it no more."""


class Binder(Protocol):
    """Whose the children are that programs made under names of their own."""

    async def look_at(self, label: str) -> ChildExamined | None:
        """Which child it is, and who made it, as far as that can be proven; None when it is gone."""

    def remember(self, bonds: Sequence[Bond]) -> None:
        """Note for the next daemon which children are whose, in the background."""


class Clock(Protocol):
    """The one monotonic clock."""

    def __call__(self) -> float:
        """Seconds since some fixed instant."""


class Gauge(Protocol):
    """How busy the machine is."""

    def __call__(self) -> float | None:
        """The share of its processors that had nothing to do lately (0 to 1); None when that cannot be told."""


Observer = Callable[[Sequence[Event], Plan, View], None]
"""Somebody who tells of decisions (logs, progress display, systemd), called once a round after the plan is under
way: the facts folded, the plan made, the view afterwards. Must not change anything."""
