"""A group's agent: the session in which the daemon registers for its programs, handed on from daemon to daemon.

Theory of operation. It is resumed from the note that the daemon before left, if its ZooKeeper is still the same, and
noted anew whenever it becomes another. It ends with the group; where workers are left running, it is left as it is, and
lasts for `AGENT_SESSION_S` without a daemon.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path

from autohealer.coordination.agent import GroupAgent
from autohealer.coordination.session import Session, SessionId, ZooKeeperUnreachable
from autohealer.core.model import Store
from autohealer.processes.identity import boot_id
from autohealer.settings import CONNECT_TIMEOUT_S
from autohealer.statedir.session_note import SessionNote, read_note, remove_note, write_note

AGENT_SESSION_S = 30.0
"""An upgrade or a restart by systemd takes less; a host that is lost keeps its names for as long."""

FLUSH_S = 2.0
"""How long the end waits for the registrations of ended workers to be deleted."""


class Agency:
    """Used from the event loop's thread only; `said` is called with a sentence about what is in the way."""

    def __init__(
        self,
        open_session: Callable[[SessionId | None, Callable[[str], None]], Session],
        connection: str,
        folder: Path,
        group: str,
        said: Callable[[str], None],
        start: Callable[[Coroutine[object, object, None]], asyncio.Task[None]],
    ) -> None:
        session = self._session = open_session(_resumable(folder, connection), said)
        self._folder = folder
        self._said = said
        self._noted: SessionId | None = None
        self._changed = asyncio.Event()
        session.subscribe(self._store_changed)
        self.agent = GroupAgent(session, group, said, start)

    async def run(self) -> None:
        """Connect and keep the note right, until cancelled."""
        with suppress(ZooKeeperUnreachable):  # the daemon's own session says so
            await self._session.start(CONNECT_TIMEOUT_S)
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self._note()

    async def end(self, *, leave: bool) -> None:
        """End the session and what is registered in it, or leave both to the next daemon."""
        if leave:
            self.agent.close()
            self._session.leave()
            return
        await self.agent.flush(FLUSH_S)
        self.agent.close()
        await self._session.stop()
        with suppress(OSError):  # the session it names is over
            remove_note(self._folder)

    def _store_changed(self, store: Store) -> None:
        if store is Store.CONNECTED:
            self._changed.set()

    async def _note(self) -> None:
        current = self._session.id
        if current is None or current == self._noted:
            return
        note = SessionNote(self._session.connection, boot_id(), current.number, current.password)
        try:
            await asyncio.to_thread(write_note, self._folder, note)
        except (OSError, RuntimeError) as error:
            self._said(
                f"the session in which programs are registered cannot be noted ({error}): "
                "while no daemon runs they would vanish from ZooKeeper, though not end"
            )
            return
        self._noted = current


def _resumable(folder: Path, connection: str) -> SessionId | None:
    """The session of the daemon before, if it was one of this ZooKeeper's and what it holds may live."""
    note = read_note(folder)
    if note is None or (note.connection, note.boot) != (connection, boot_id()):
        return None
    return SessionId(note.number, note.password)
