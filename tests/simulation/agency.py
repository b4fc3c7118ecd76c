"""The session in which a simulated host's daemons register for programs that do not, and the port by which they do.

Theory of operation. The session outlives its daemon by `AGENT_SESSION_S`; the next one resumes it if it comes in time.
What it registers goes with it, and comes back when a daemon has a session again.

Must never know: the daemon's view, plans, the oracle.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from autohealer.contract import WorkerRecord, encode_record
from autohealer.core.model import Incarnation

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.world import World

AGENT_SESSION_S = 10.0
SOON_S = 0.002
RECONNECTS_S = 0.3


class AgentSession:
    """What the daemons of one host hold, one after the other."""

    def __init__(self, world: World) -> None:
        self.names: set[Incarnation] = set()
        self._world = world
        self._port: AgentPort | None = None
        self._left = 0

    def attach(self, port: AgentPort) -> None:
        """A daemon goes on with it."""
        self._port = port
        self._left += 1

    def leave(self) -> None:
        """The daemon is gone: the session ends in time, unless the next one comes."""
        self._port = None
        self._left += 1
        left = self._left
        self._world.later(AGENT_SESSION_S, lambda: self._expire(left))

    def end(self) -> None:
        """The store gives it up; a daemon soon has another."""
        for name in sorted(self.names):
            self._world.unregister(name)
        self.names.clear()
        self._world.later(RECONNECTS_S, self.reconnected)

    def reconnected(self) -> None:
        """There is a connection: what is held is made true."""
        if self._port is not None:
            self._port.make_all_true()

    def _expire(self, left: int) -> None:
        if left != self._left:
            return
        if self._world.store_up:
            self.end()
        else:
            self._world.later(AGENT_SESSION_S, lambda: self._expire(left))


class AgentPort:
    """The `Agent` port of one daemon; each order burns a step of its fuse."""

    def __init__(self, world: World, session: AgentSession, burn: Callable[[], None]) -> None:
        self._world = world
        self._session = session
        self._burn = burn
        self._due: dict[Incarnation, bytes | None] = {}
        self._is_open = True
        session.attach(self)

    def register(self, name: Incarnation, record: WorkerRecord) -> None:
        """Hold a registration, soon."""
        self._set(name, encode_record(record))

    def withdraw(self, name: Incarnation) -> None:
        """Delete it, soon."""
        self._set(name, None)

    def close(self) -> None:
        """The daemon is gone."""
        if self._is_open:
            self._is_open = False
            self._session.leave()

    def make_all_true(self) -> None:
        """Whatever became of sessions."""
        for name in sorted(self._due):
            self._make_true(name)

    def _set(self, name: Incarnation, data: bytes | None) -> None:
        self._burn()
        self._due[name] = data
        asyncio.get_running_loop().call_later(SOON_S, self._make_true, name)

    def _make_true(self, name: Incarnation) -> None:
        if not self._is_open or not self._world.store_up or name not in self._due:
            return
        data = self._due[name]
        if data is None:
            del self._due[name]
            self._session.names.discard(name)
            self._world.unregister(name)
        elif self._world.register_for(name, data):
            self._session.names.add(name)
