"""Sessions: who is alive, and until when.

Theory of operation. Expiries are rounded up to the next tick (`ExpiryQueue.roundToNextInterval` of
Apache ZooKeeper), so that sessions share buckets and a packet seldom moves one. A heap knows the
earliest bucket: the shell sleeps until then and no tick runs when nothing can expire.

Unlike Apache, time the server itself lost (SIGSTOP, a frozen VM) is not held against the sessions:
the clock that expiries are measured on is the monotonic clock minus the time lost. (A suspended
machine costs nothing to begin with, the monotonic clock stands still meanwhile.)

How much is lost? A late wake-up alone does not say: the kernel lets a sleep overrun by 0.1 % of it
(0.5 % when niced, 0.1 s at most), and when the server stopped during a long sleep nobody can tell.
So as long as there are sessions the server promises a pulse, a quarter of the shortest timeout or
a second ahead, and no sleep is longer. What it is late for the pulse is the least that it lost, and
that, no more, moves every expiry; the dead live longer by the stop at most. Of the living, who may
have been stopped as well, it takes less than a pulse: they ping every third of their timeout and
have a sixth left at least. Up to `_LATE_MS` late is no stall: so long as the processor was busy, or the kernel took its
time, pings wait in the sockets, and the event loop reads those before it runs a timer that is due.

Passwords are an HMAC over the session id: Apache's can be computed by whoever sees an
`ephemeralOwner`.

Must never know: what time it is, nodes, connections' sockets.
Limits: `sessions_max`, a stranger's share of it; timeouts between the floor and `session_timeout_max_ms`.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import chain, islice
from typing import TYPE_CHECKING

from autohealer.zkserver.shares import Share

if TYPE_CHECKING:
    from collections.abc import Iterator

    from autohealer.zkserver.settings import ServerSettings

PASSWORD_BYTES = 16

_PULSE_MS_MAX = 1000
"""The kernel wakes who sleeps this long within 5 ms; costs 0.02 % of a core."""

_PULSE_MS_MIN = 50
"""Sessions shorter than a second are for tests; they must not make it busy."""

_LATE_MS = 250
"""Later than this for a pulse is a stall: a quarter of the shortest timeout by default, above what load does."""

SLICE_SESSIONS = 256
"""Ended in a row: within some ten milliseconds, if they own few nodes."""

_SERVER_ID = 1


@dataclass(slots=True)
class Session:
    """One client's session; `expires_ms` is on the clock that leaves out stalls."""

    id: int
    timeout_ms: int
    expires_ms: int = 0
    connection: int | None = None
    stranger: int | None = None


def first_session_id(wall_ms: int, least: int) -> int:
    """Where to start numbering: server id, 40 bits of time, 16 bits of counter, and never below `least`.

    Source: `SessionTrackerImpl.initializeNextSessionId`.
    """
    return max(_SERVER_ID << 56 | (wall_ms & 0xFF_FFFF_FFFF) << 16, least)


class Sessions:
    """The table of live sessions; all times in milliseconds of the monotonic clock."""

    def __init__(self, settings: ServerSettings, secret: bytes) -> None:
        self._settings = settings
        self._secret = secret
        self._sessions: dict[int, Session] = {}
        self._share = Share(settings.sessions_max)
        self._buckets: dict[int, dict[int, None]] = {}
        self._bucket_heap: list[int] = []
        self._lost_ms = 0
        self._pulse_ms = 0

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[Session]:
        return iter(self._sessions.values())

    def has_room(self, stranger: int | None) -> bool:
        """Whether a user may open a further session; `stranger` as in `shares`."""
        return self._share.room(stranger) > 0

    def clamp(self, timeout_ms: int) -> int:
        """The timeout granted to who asks for `timeout_ms` (`ZooKeeperServer.processConnectRequest`)."""
        floor = self._settings.session_timeout_floor_ms
        return max(floor, min(timeout_ms, self._settings.session_timeout_max_ms))

    def password(self, session_id: int) -> bytes:
        """What proves that a client owns a session."""
        raw = session_id.to_bytes(8, "big", signed=True)
        return hmac.new(self._secret, raw, hashlib.sha256).digest()[:PASSWORD_BYTES]

    def is_password(self, session_id: int, password: bytes) -> bool:
        """Compare in constant time."""
        return hmac.compare_digest(self.password(session_id), password)

    def add(
        self, session_id: int, timeout_ms: int, now_ms: int, stranger: int | None = None
    ) -> Session:
        """Begin a session, or restore one with a full timeout ahead of it; whose that is, is not known any more."""
        session = Session(session_id, timeout_ms, stranger=stranger)
        self._share.take(stranger, 1)
        if not self._sessions:
            self._pulse_ms = now_ms + _PULSE_MS_MAX
        self._sessions[session_id] = session
        self.touch(session, now_ms)
        return session

    def get(self, session_id: int) -> Session | None:
        """A live session."""
        return self._sessions.get(session_id)

    def touch(self, session: Session, now_ms: int) -> None:
        """The client was heard: its time starts again."""
        self._pulse_ms = min(self._pulse_ms, now_ms + _pulse_after_ms(session.timeout_ms))
        tick_ms = self._settings.tick_ms
        clock_ms = now_ms - self._lost_ms
        expires_ms = ((clock_ms + session.timeout_ms) // tick_ms + 1) * tick_ms
        if expires_ms == session.expires_ms:
            return
        self._leave_bucket(session)
        session.expires_ms = expires_ms
        if expires_ms not in self._buckets:
            self._buckets[expires_ms] = {}
            heappush(self._bucket_heap, expires_ms)
        self._buckets[expires_ms][session.id] = None

    def remove(self, session_id: int) -> Session | None:
        """End a session."""
        session = self._sessions.pop(session_id, None)
        if session is not None:
            self._share.take(session.stranger, -1)
            self._leave_bucket(session)
        return session

    def due(self, now_ms: int) -> list[int]:
        """Sessions whose time has run out, the longest silent first; `SLICE_SESSIONS` at most."""
        clock_ms = now_ms - self._lost_ms
        buckets = (self._buckets[each] for each in sorted(self._buckets) if each <= clock_ms)
        return list(islice(chain.from_iterable(buckets), SLICE_SESSIONS))

    def expiries(self) -> dict[int, list[int]]:
        """All sessions by the moment each expires at, earliest first."""
        return {
            expires_ms + self._lost_ms: sorted(self._buckets[expires_ms])
            for expires_ms in sorted(self._buckets)
            if self._buckets[expires_ms]
        }

    def next_due_ms(self) -> int | None:
        """When the first session may expire; None when there is none."""
        while self._bucket_heap and not self._buckets.get(self._bucket_heap[0]):
            self._buckets.pop(heappop(self._bucket_heap), None)
        return self._bucket_heap[0] + self._lost_ms if self._bucket_heap else None

    def wake_at_ms(self) -> int | None:
        """When the server must be awake again: for the first expiry or its pulse; None without sessions."""
        due_ms = self.next_due_ms()
        return None if due_ms is None else min(due_ms, self._pulse_ms)

    def observe(self, now_ms: int) -> int:
        """The server is awake; returns the milliseconds it had lost, mostly 0."""
        if not self._sessions or now_ms < self._pulse_ms:
            return 0
        late_ms = now_ms - self._pulse_ms
        shortest_ms = min(session.timeout_ms for session in self._sessions.values())
        self._pulse_ms = now_ms + _pulse_after_ms(shortest_ms)
        if late_ms <= _LATE_MS:
            return 0
        self._lost_ms += late_ms
        return late_ms

    def _leave_bucket(self, session: Session) -> None:
        bucket = self._buckets.get(session.expires_ms)
        if bucket is not None:
            bucket.pop(session.id, None)


def _pulse_after_ms(timeout_ms: int) -> int:
    return max(_PULSE_MS_MIN, min(timeout_ms // 4, _PULSE_MS_MAX))
