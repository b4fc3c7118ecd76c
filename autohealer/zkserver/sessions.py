"""Sessions: who is alive, and until when.

Theory of operation. Expiries are rounded up to the next tick (`ExpiryQueue.roundToNextInterval` of
Apache ZooKeeper), so that sessions share buckets and a packet seldom moves one. A heap knows the
earliest bucket: the shell sleeps until then and no tick runs when nothing can expire.

Unlike Apache, time the server itself lost (SIGSTOP, a frozen VM, a sleeping laptop) is not held
against the sessions. The shell names the moment it will wake; if it is seen alive only later than
that, all the time since it was last alive counts as lost and every expiry moves by it at once: the
clock that expiries are measured on is the monotonic clock minus the time lost.

Passwords are an HMAC over the session id: Apache's can be computed by whoever sees an
`ephemeralOwner`.

Must never know: what time it is, nodes, connections' sockets.
Limits: `sessions_max`; timeouts between the floor and `session_timeout_max_ms`.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from autohealer.zkserver.settings import ServerSettings

PASSWORD_BYTES = 16
_LATE_MS = 50
"""Waking later than this is a stall; a busy loop stays below it and loses little when it does not."""

_SERVER_ID = 1


@dataclass(slots=True)
class Session:
    """One client's session; `expires_ms` is on the clock that leaves out stalls."""

    id: int
    timeout_ms: int
    expires_ms: int = 0
    connection: int | None = None


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
        self._buckets: dict[int, set[int]] = {}
        self._bucket_heap: list[int] = []
        self._lost_ms = 0
        self._alive_ms = 0
        self._wake_ms: int | None = None

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[Session]:
        return iter(self._sessions.values())

    @property
    def is_full(self) -> bool:
        """Whether a further session is one too many."""
        return len(self._sessions) >= self._settings.sessions_max

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

    def add(self, session_id: int, timeout_ms: int, now_ms: int) -> Session:
        """Begin a session, or restore one with a full timeout ahead of it."""
        session = Session(session_id, timeout_ms)
        self._sessions[session_id] = session
        self.touch(session, now_ms)
        return session

    def get(self, session_id: int) -> Session | None:
        """A live session."""
        return self._sessions.get(session_id)

    def touch(self, session: Session, now_ms: int) -> None:
        """The client was heard: its time starts again."""
        tick_ms = self._settings.tick_ms
        clock_ms = now_ms - self._lost_ms
        expires_ms = ((clock_ms + session.timeout_ms) // tick_ms + 1) * tick_ms
        if expires_ms == session.expires_ms:
            return
        self._leave_bucket(session)
        session.expires_ms = expires_ms
        if expires_ms not in self._buckets:
            self._buckets[expires_ms] = set()
            heappush(self._bucket_heap, expires_ms)
        self._buckets[expires_ms].add(session.id)

    def remove(self, session_id: int) -> Session | None:
        """End a session."""
        session = self._sessions.pop(session_id, None)
        if session is not None:
            self._leave_bucket(session)
        return session

    def due(self, now_ms: int) -> list[int]:
        """Sessions whose time has run out, in order of their ids."""
        found: list[int] = []
        clock_ms = now_ms - self._lost_ms
        for expires_ms in sorted(self._buckets):
            if expires_ms > clock_ms:
                break
            found.extend(sorted(self._buckets[expires_ms]))
        return found

    def next_due_ms(self) -> int | None:
        """When the first session may expire; None when there is none."""
        while self._bucket_heap and not self._buckets.get(self._bucket_heap[0]):
            self._buckets.pop(heappop(self._bucket_heap), None)
        return self._bucket_heap[0] + self._lost_ms if self._bucket_heap else None

    def expect_wake(self, wake_ms: int | None) -> None:
        """The shell says when it will wake at the latest."""
        self._wake_ms = wake_ms

    def observe(self, now_ms: int) -> int:
        """The shell says that it is awake; returns the milliseconds it had lost, mostly 0."""
        late = self._wake_ms is not None and now_ms > self._wake_ms + _LATE_MS
        lost_ms = now_ms - self._alive_ms if late else 0
        if late:
            self._lost_ms += lost_ms
            self._wake_ms = None
        self._alive_ms = now_ms
        return lost_ms

    def _leave_bucket(self, session: Session) -> None:
        bucket = self._buckets.get(session.expires_ms)
        if bucket is not None:
            bucket.discard(session.id)
