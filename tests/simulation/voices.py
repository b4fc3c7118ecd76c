"""What simulated workers say by the notify protocol, when, and whether a daemon is there to hear it.

Theory of operation. Each worker has a real datagram socket, of which the daemon of the moment holds the other end: what
is said while none does is lost. The kernel would tell who sent a message; here all come from one process, so a queue
beside the socket tells it. A worker says READY=1 some time after its birth and, where there is a watchdog, WATCHDOG=1
again and again, unless it stands still or fell silent. From what a daemon heard, and from when on it was there to hear,
follows who is to be ended: that is written into the history.

Must never know: the daemon's view, plans, the oracle.
"""

from __future__ import annotations

import socket
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.support.ailments import UNSAID
from tests.support.history import Fault, Harm, Relief

if TYPE_CHECKING:
    from collections.abc import Callable

    from autohealer.core.model import Incarnation
    from autohealer.probes.notify import NotifyRules
    from tests.simulation.world import World
    from tests.support.fakehost import FakeProcess

READY, PING = b"READY=1", b"WATCHDOG=1"
READY_WITHIN_S = (0.02, 0.4)
LOOKS_AGAIN_S = 0.5
"""One that stands still when it would speak does so within this after it goes on."""


@dataclass(slots=True)
class Voice:
    """One worker's; `late` is what it has to say and has not said in time."""

    process: FakeProcess
    is_unsaid: bool = False
    is_silent: bool = False
    is_adopted: bool = False
    late: set[bytes] = field(default_factory=set)
    ping: int = 0
    """Counts what its watchdog was set by; the last one counts."""


@dataclass(slots=True)
class _Line:
    """From a worker to a daemon; `own` tells of each message under way whether the worker sent it."""

    mouth: socket.socket
    own: deque[bool] = field(default_factory=deque)
    texts: deque[bytes] = field(default_factory=deque)


class Voices:
    """Those of all workers of a host, whichever daemon hears them, and the notes that daemons make."""

    def __init__(self, world: World, rules: NotifyRules) -> None:
        self.rules = rules
        self.ready_after_s: deque[float | None] = deque()
        """After what time the next ones say READY=1; None: never."""
        self.noted: set[Incarnation] = set()
        self._world = world
        self._voices: dict[Incarnation, Voice] = {}
        self._lines: dict[Incarnation, _Line] = {}
        self._daemons = 0

    # --- workers --------------------------------------------------------------------------------

    def born(self, process: FakeProcess) -> None:
        """It is going to speak."""
        name, luck = process.name, self._world.luck
        voice = self._voices[name] = Voice(process, is_unsaid=self.rules.is_awaited)
        if not self.rules.is_awaited:
            self._ping(voice, 0)
            return
        is_agents = self._world.agent is not None
        harm = Harm.UNREGISTERS if is_agents else Harm.WITHHOLDS
        self._world.tell(Fault(self._world.now, UNSAID, harm, name))
        after_s = (
            self.ready_after_s.popleft()
            if self.ready_after_s
            else luck.between(*READY_WITHIN_S, "says that it is ready", name)
        )
        if after_s is not None:
            self._world.later(after_s, lambda: self._say_ready(voice))

    def fall_silent(self, process: FakeProcess) -> bool:
        """It pings no more; false where nobody waits for that, or it did before."""
        voice = self._voices[process.name]
        if self.rules.watchdog_s is None or voice.is_silent or not process.alive:
            return False
        voice.is_silent = True
        return True

    def speak_again(self, process: FakeProcess) -> None:
        """It pings."""
        self._voices[process.name].is_silent = False

    def is_late(self, name: Incarnation) -> bool:
        """Whether a worker has not said in time what it has to say."""
        return name in self._voices and bool(self._voices[name].late)

    def send(self, name: Incarnation, text: bytes, *, own: bool) -> None:
        """A worker says something, or somebody else does in its place."""
        if (line := self._lines.get(name)) is None:
            return
        with suppress(OSError):  # no daemon hears it
            line.mouth.send(text)
            line.own.append(own)
            line.texts.append(text)

    def _say_ready(self, voice: Voice) -> None:
        if voice.process.frozen:
            self._world.later(LOOKS_AGAIN_S, lambda: self._say_ready(voice))
        elif voice.process.alive:
            self.send(voice.process.name, READY, own=True)
            self._ping(voice, 0)

    def _ping(self, voice: Voice, number: int) -> None:
        name, watchdog_s = voice.process.name, self.rules.watchdog_s
        if watchdog_s is None or not voice.process.alive:
            return
        if not (voice.is_silent or voice.process.frozen):
            self.send(name, PING, own=True)
        pause_s = watchdog_s / 2 * self._world.luck.between(0.8, 0.99, "pings", name, number)
        self._world.later(pause_s, lambda: self._ping(voice, number + 1))

    # --- the daemon of the moment ---------------------------------------------------------------

    def begin(self) -> None:
        """Another daemon is there: what was late for the one before is not for this one."""
        self._daemons += 1
        for voice in self._voices.values():
            voice.is_adopted = True
            if voice.process.alive and voice.late:
                voice.late.clear()
                self._world.well_again(voice.process)

    def leave(self) -> None:
        """The daemon is gone: nobody waits for anything."""
        self._daemons += 1

    def connect(self, name: Incarnation) -> socket.socket:
        """The end at which a daemon hears a worker, in place of an earlier one."""
        self.disconnect(name)
        listening, mouth = socket.socketpair(
            socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK
        )
        self._lines[name] = _Line(mouth)
        return listening

    def disconnect(self, name: Incarnation) -> None:
        """Nobody speaks there any more."""
        if (line := self._lines.pop(name, None)) is not None:
            line.mouth.close()

    def close(self) -> None:
        """The story is over."""
        for name in list(self._lines):
            self.disconnect(name)

    def launched(self, name: Incarnation) -> None:
        """The daemon knows that it runs: from now on its times count."""
        voice = self._voices[name]
        if self.rules.is_awaited:
            self._in(self.rules.start_s, lambda: self._start_is_over(voice))
        else:
            self._await_ping(voice)

    def adopted(self, name: Incarnation) -> None:
        """The daemon found it: if it says nothing it is taken for ready, since nobody may have heard it."""
        voice = self._voices[name]
        if voice.is_unsaid:
            self._in(self.rules.start_s, lambda: self._became_ready(voice))

    def heard(self, name: Incarnation) -> bool:
        """The daemon reads the next message at a socket; whether the worker itself sent it."""
        line, voice = self._lines[name], self._voices[name]
        is_own, text = line.own.popleft(), line.texts.popleft()
        if not is_own:
            return False
        if text == READY:
            if voice.is_unsaid and not voice.is_adopted:
                self._await_ping(voice)
            self._became_ready(voice)
        else:
            self._await_ping(voice)
        if text in voice.late:
            voice.late.discard(text)
            self._world.well_again(voice.process)
        return True

    def _in(self, delay_s: float, act: Callable[[], None]) -> None:
        """In a while, if the same daemon is there."""
        number = self._daemons
        self._world.later(delay_s, lambda: act() if number == self._daemons else None)

    def _start_is_over(self, voice: Voice) -> None:
        if voice.is_unsaid:
            self._is_late(voice, READY)

    def _await_ping(self, voice: Voice) -> None:
        if (watchdog_s := self.rules.watchdog_s) is None:
            return
        voice.ping += 1
        number = voice.ping
        self._in(watchdog_s, lambda: self._ping_is_over(voice, number))

    def _ping_is_over(self, voice: Voice, number: int) -> None:
        if number == voice.ping:
            self._is_late(voice, PING)

    def _is_late(self, voice: Voice, text: bytes) -> None:
        if voice.process.alive:
            voice.late.add(text)
            self._world.ails(voice.process)

    def _became_ready(self, voice: Voice) -> None:
        if voice.is_unsaid and voice.process.alive:
            voice.is_unsaid = False
            self._world.tell(Relief(self._world.now, UNSAID, voice.process.name))
