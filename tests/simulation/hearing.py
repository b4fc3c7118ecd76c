"""How a simulated daemon hears its workers: the production listener, at the sockets of simulated workers.

Theory of operation. As `autohealer.assembly.health` does it: an observer of decisions that tells the listener who was
launched, adopted, told to end and has ended. Files are a set in memory, and a note is made at once.

Must never know: plans but for who is told to end, the oracle.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from autohealer.core.actions import Drain, Kill
from autohealer.core.events import (
    SpawnFailed,
    TreeEmptied,
    WorkerAdopted,
    WorkerExited,
    WorkerSpawned,
)
from autohealer.probes.notify import Listener
from autohealer.probes.sockets import NotifyFolder

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from autohealer.core.actions import Plan
    from autohealer.core.events import Event
    from autohealer.core.model import Incarnation, View
    from autohealer.daemon.ports import Post
    from tests.simulation.voices import Voices

ASKED_TO_SPEAK = {"NOTIFY_SOCKET": "told"}


class _Folder(NotifyFolder):
    """In memory, for one daemon after the other."""

    def __init__(self, voices: Voices) -> None:
        super().__init__(Path("nowhere"), for_others=False)
        self._voices = voices

    def prepare(self) -> None:
        """It is there."""

    def bind(self, name: Incarnation) -> socket.socket:
        """The daemon's end."""
        return self._voices.connect(name)

    def note_ready(self, name: Incarnation) -> None:
        """For the daemons that come after."""
        self._voices.noted.add(name)

    def was_ready(self, name: Incarnation) -> bool:
        """Whether it was noted."""
        return name in self._voices.noted

    def forget(self, name: Incarnation) -> None:
        """Nothing of a worker is needed any more."""
        self._voices.disconnect(name)

    def sweep(self, living: set[Incarnation]) -> None:
        """Nothing was left."""


class _Listener(Listener):
    def _note_ready(self, name: Incarnation) -> None:
        self._note(name)  # no thread, which would run in another time


class Hearing:
    """Hears for one daemon, until it is closed."""

    def __init__(self, voices: Voices, post: Post) -> None:
        self._voices = voices
        self._listener = _Listener(
            _Folder(voices), voices.rules, lambda name, _pid: voices.heard(name), post, _say_nothing
        )
        voices.begin()

    def about_to_launch(self, name: Incarnation) -> None:
        """Before a worker is launched."""
        self._listener.environment_for(name)

    def observe(self, facts: Sequence[Event], plan: Plan, _view: View) -> None:
        """After a round."""
        for fact in facts:
            match fact:
                case WorkerSpawned(name, pid):
                    self._voices.launched(name)
                    self._listener.launched(name, pid)
                case WorkerAdopted(name, pid):
                    self._voices.adopted(name)
                    self._listener.adopted(name, pid, ASKED_TO_SPEAK)
                case WorkerExited(name) | TreeEmptied(name) | SpawnFailed(name):
                    self._listener.ended(name)
                case _:
                    pass
        for action in plan.actions:
            if isinstance(action, Drain | Kill):
                self._listener.quiet(action.name)

    def close(self) -> None:
        """The daemon is gone."""
        self._listener.close()
        self._voices.leave()


def _say_nothing(_sentence: str) -> None:
    """There is no operator."""
