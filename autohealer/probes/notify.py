"""What workers say of themselves by the notify protocol, and whether they say it in time.

Theory of operation. Only what a worker's own processes send counts; of a stranger's message one line is told. A worker
that is to say READY=1 has as long for it as a registration may take, one with a watchdog has to say WATCHDOG=1 that
often once it is ready, and one that was told to end has its grace; or each as long as it asks for
(EXTEND_TIMEOUT_USEC), counted from when it does, again and again. When a time is over, what waits at the socket is read
before anything is concluded: it may be this daemon that is late.

Who was ready when a daemon ended stays ready: that is noted in a file. An adopted worker that had not been may have
said so while nobody heard it; when its time is over it is taken for ready, and that is noted, too. Its watchdog counts
from its first ping, since a program may keep a connection to the socket of the daemon before, where nobody hears it.

Must never know: what will be decided. Limits: a sender that has ended before its message is read is a stranger.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue

from autohealer.core.events import HealthReported, MoreTimeAsked
from autohealer.core.health import Check, Verdict
from autohealer.core.model import Incarnation
from autohealer.daemon.ports import Post
from autohealer.probes.messages import Message, parse_message
from autohealer.probes.sockets import MESSAGES_AT_ONCE, NotifyFolder, letters_at

FLOOD_PAUSE_S = 0.05
"""For how long one is not heard that sends more than can be read at once."""


@dataclass(frozen=True, slots=True)
class NotifyRules:
    """Whether workers are to say READY=1, and for how long they have; how often WATCHDOG=1, None for never."""

    is_awaited: bool
    start_s: float
    watchdog_s: float | None


@dataclass(slots=True)
class _Speaker:
    """A worker that may speak; `start_by` and `ping_by` are when it has to have said READY=1, or a ping again."""

    name: Incarnation
    pid: int
    adopted: bool = False
    is_ready: bool = False
    is_doomed: bool = False
    """It asked to be ended."""
    is_leaving: bool = False
    """It was told to end."""
    watchdog_s: float | None = None
    start_by: float | None = None
    ping_by: float | None = None
    said: Verdict | None = None
    """Of its watchdog."""
    timer: asyncio.TimerHandle | None = None


class Listener:
    """Hears the workers of one group; used from the event loop's thread, but for `environment_for`."""

    def __init__(
        self,
        folder: NotifyFolder,
        rules: NotifyRules,
        is_of: Callable[[Incarnation, int], bool],
        post: Post,
        said: Callable[[str], None],
    ) -> None:
        """`is_of` tells whether a process is one of a worker's; `said` is called with a sentence for the operator."""
        self._folder = folder
        self.rules = rules
        self._is_of = is_of
        self._post = post
        self._said = said
        self._loop = asyncio.get_running_loop()
        self._bound: SimpleQueue[tuple[Incarnation, socket.socket]] = SimpleQueue()
        self._sockets: dict[Incarnation, socket.socket] = {}
        self._speakers: dict[Incarnation, _Speaker] = {}
        self._strange: set[Incarnation] = set()
        self.statuses: dict[Incarnation, str] = {}
        """What each said last with STATUS=, harmless to show."""

    def environment_for(self, name: Incarnation) -> Mapping[str, str]:
        """On the launching thread: bind a worker's socket; what it is told of it. Raises `OSError`."""
        self._folder.prepare()
        self._bound.put((name, self._folder.bind(name)))
        watchdog_s = self.rules.watchdog_s
        asked = {} if watchdog_s is None else {"WATCHDOG_USEC": str(round(watchdog_s * 1e6))}
        return {"NOTIFY_SOCKET": self._folder.address_of(name)} | asked

    # --- who is there -------------------------------------------------------------------------

    def launched(self, name: Incarnation, pid: int) -> None:
        """It runs, and its time begins."""
        self._take_bound()
        speaker = _Speaker(name, pid)
        self._begin(speaker)

    def adopted(self, name: Incarnation, pid: int, environment: Mapping[str, str]) -> None:
        """An earlier daemon launched it; `environment` is what it was given."""
        if "NOTIFY_SOCKET" not in environment:
            # It was never asked to say anything.
            self._speakers[name] = _Speaker(name, pid, adopted=True, is_ready=True)
            self._tell(name, Check.NOTIFY, Verdict.WELL)
            self._tell(name, Check.WATCHDOG, Verdict.WELL)
            return
        try:
            self._sockets[name] = self._folder.bind(name)
        except OSError as error:
            self._said(
                f"{name} cannot be heard any more ({error.strerror}): nothing is concluded from its silence"
            )
        self._begin(_Speaker(name, pid, adopted=True))

    def ended(self, name: Incarnation) -> None:
        """Nothing of it is left, or it was never launched."""
        self._take_bound()
        self.quiet(name)
        if (listening := self._sockets.pop(name, None)) is not None:
            self._loop.remove_reader(listening)
            listening.close()
        self._speakers.pop(name, None)
        self.statuses.pop(name, None)
        self._strange.discard(name)
        with suppress(OSError):  # it is swept away by the next daemon
            self._folder.forget(name)

    def quiet(self, name: Incarnation) -> None:
        """It was told to end: it is heard, and nothing more is asked of it."""
        if (speaker := self._speakers.get(name)) is not None:
            speaker.start_by = speaker.ping_by = None
            speaker.is_leaving = True
            self._set_timer(speaker)

    def sweep(self, living: set[Incarnation]) -> None:
        """Take away what those left that ended while no daemon ran."""
        with suppress(OSError):  # there is nothing, or it stays for the next time
            self._folder.sweep(living)

    def close(self) -> None:
        """Hear nobody any more; who lives may be heard by the next daemon."""
        self._take_bound()
        for speaker in self._speakers.values():
            if speaker.timer is not None:
                speaker.timer.cancel()
        for listening in self._sockets.values():
            self._loop.remove_reader(listening)
            listening.close()
        self._speakers.clear()
        self._sockets.clear()

    def _take_bound(self) -> None:
        while not self._bound.empty():
            name, listening = self._bound.get()
            self._sockets[name] = listening

    def _begin(self, speaker: _Speaker) -> None:
        name, now = speaker.name, self._loop.time()
        self._speakers[name] = speaker
        speaker.watchdog_s = self.rules.watchdog_s
        if self.rules.is_awaited and not (speaker.adopted and self._folder.was_ready(name)):
            speaker.start_by = now + self.rules.start_s
        else:
            self._became_ready(speaker)
        self._hear(name)
        self._set_timer(speaker)

    # --- hearing ------------------------------------------------------------------------------

    def _hear(self, name: Incarnation) -> None:
        if (listening := self._sockets.get(name)) is not None:
            self._loop.add_reader(listening, self._read, name)

    def _read(self, name: Incarnation) -> None:
        listening = self._sockets.get(name)
        if listening is None:
            return
        count = 0
        for count, letter in enumerate(letters_at(listening), 1):  # noqa: B007 - counted to its end
            if self._is_of(name, letter.sender):
                self._heard(name, parse_message(letter.text))
            elif name not in self._strange:
                self._strange.add(name)
                who = f"pid {letter.sender}" if letter.sender else "a process of elsewhere"
                self._said(
                    f"a message for {name} came from {who}, which is none of its processes, or is gone: ignored, "
                    "and so are others like it"
                )
        if count == MESSAGES_AT_ONCE:
            self._loop.remove_reader(listening)
            self._loop.call_later(FLOOD_PAUSE_S, self._hear, name)

    def _heard(self, name: Incarnation, message: Message) -> None:
        speaker = self._speakers.get(name)
        if speaker is None:
            return
        if message.status is not None:
            self.statuses[name] = message.status
        if message.watchdog_s is not None and self.rules.watchdog_s is not None:
            speaker.watchdog_s = message.watchdog_s
        if message.ready and self.rules.is_awaited:
            self._became_ready(speaker)
            self._note_ready(name)
        if message.ping:
            self._pinged(speaker)
        if message.trigger and self.rules.watchdog_s is not None:
            speaker.is_doomed = True
            self._watchdog_said(
                speaker, Verdict.UNHEALTHY, "it asked to be ended (WATCHDOG=trigger)"
            )
        if message.stopping and self.rules.is_awaited:
            self._tell(name, Check.NOTIFY, Verdict.UNREADY, "it said that it stops (STOPPING=1)")
        if message.extend_s is not None:
            self._asked_for_time(speaker, message.extend_s)
        self._set_timer(speaker)

    def _asked_for_time(self, speaker: _Speaker, more_s: float) -> None:
        """For whatever it is about."""
        if speaker.is_leaving:
            self._post(MoreTimeAsked(speaker.name, more_s))
        until = self._loop.time() + more_s
        speaker.start_by = None if speaker.start_by is None else max(speaker.start_by, until)
        speaker.ping_by = None if speaker.ping_by is None else max(speaker.ping_by, until)

    def _note_ready(self, name: Incarnation) -> None:
        """Aside, because a disk may hang; where it cannot be noted the next daemon waits for a while."""
        with suppress(RuntimeError):
            self._loop.run_in_executor(None, self._note, name)

    def _note(self, name: Incarnation) -> None:
        with suppress(OSError):
            self._folder.note_ready(name)

    # --- in time ------------------------------------------------------------------------------

    def _became_ready(self, speaker: _Speaker) -> None:
        speaker.start_by = None
        if self.rules.is_awaited:
            self._tell(speaker.name, Check.NOTIFY, Verdict.WELL)
        if not speaker.is_ready and not speaker.adopted and speaker.watchdog_s:
            speaker.ping_by = self._loop.time() + speaker.watchdog_s
        speaker.is_ready = True

    def _pinged(self, speaker: _Speaker) -> None:
        if self.rules.watchdog_s is None or speaker.is_doomed:
            return
        speaker.ping_by = self._loop.time() + speaker.watchdog_s if speaker.watchdog_s else None
        self._watchdog_said(speaker, Verdict.WELL)

    def _watchdog_said(self, speaker: _Speaker, verdict: Verdict, why: str = "") -> None:
        if speaker.said is not verdict:
            speaker.said = verdict
            self._tell(speaker.name, Check.WATCHDOG, verdict, why)

    def _set_timer(self, speaker: _Speaker) -> None:
        """A timer that goes off too early is set again then: a ping costs none."""
        due = min(
            (at for at in (speaker.start_by, speaker.ping_by) if at is not None), default=None
        )
        if speaker.timer is not None and (due is None or speaker.timer.when() > due):
            speaker.timer.cancel()
            speaker.timer = None
        if due is not None and speaker.timer is None:
            speaker.timer = self._loop.call_at(due, self._time_is_over, speaker)

    def _time_is_over(self, speaker: _Speaker) -> None:
        speaker.timer = None
        self._read(speaker.name)
        now = self._loop.time()
        if speaker.start_by is not None and speaker.start_by <= now:
            speaker.start_by = None
            self._start_is_over(speaker)
        if speaker.ping_by is not None and speaker.ping_by <= now:
            speaker.ping_by = None
            why = f"it has not said WATCHDOG=1 for {speaker.watchdog_s:g} s"
            self._watchdog_said(speaker, Verdict.UNHEALTHY, why)
        self._set_timer(speaker)

    def _start_is_over(self, speaker: _Speaker) -> None:
        if speaker.adopted:
            self._became_ready(speaker)
            self._note_ready(speaker.name)
            return
        why = f"it did not say READY=1 within {self.rules.start_s:g} s"
        self._tell(speaker.name, Check.NOTIFY, Verdict.UNHEALTHY, why)

    def _tell(self, name: Incarnation, check: Check, verdict: Verdict, why: str = "") -> None:
        self._post(HealthReported(name, check, verdict, why))
