"""How long a client waits for a server that does not answer, and what it does when it gives up.

Theory of operation. A session outlives its connection by its timeout, so the first attempts are short: a server that is
just starting may swallow one, and another server may answer. But a server that is buried in handshakes answers each
later than that, and who gives up and comes again buries it deeper. So every attempt that was given up makes the next
ones longer, with jitter, until one is answered. Of several servers each is given the same.

When a server goes, all its clients come back at once, again and again until it is there, and its start has to share the
processors with them. So who has many neighbours waits a little before each attempt, by chance and the longer the more
they are; who has few does not.

A handshake that was given up may still be answered, by a session that nobody will ever use and that lasts for its whole
timeout. So the client leaves a goodbye behind: a server that gets to read the handshake reads that next.

Must never know: what the session is for. Limits: a server may look at the connection and not read what is left in it.
"""

from __future__ import annotations

import random
import time

from kazoo.exceptions import ConnectionDropped
from kazoo.protocol.serialization import CloseInstance

TYPE_CHECKING = False  # what `typing` says too, and importing it would cost 2 ms
if TYPE_CHECKING:
    from collections.abc import Callable

    from kazoo.client import KazooClient
    from kazoo.protocol.serialization import Connect

LEAST_S = 1.0
"""However short the session, a busy server gets this long to answer."""
CONNECTS_PER_SESSION = 10
HANDSHAKES_PER_SESSION = 3
GROWTH = 1.5
"""Two attempts fit into a session, three nearly do."""
MOST_S = 30.0
ROUNDS_MAX = 20
JITTER = 0.25
GOODBYE_WITHIN_S = 0.1
SPREAD_PER_NEIGHBOUR_S = 0.001
"""An attempt that is refused takes a client about as long of a processor: half of one is for them at most."""
SPREADS_PER_SESSION = 4


class Patience:
    """One client's; used on its connection thread."""

    def __init__(
        self, client: KazooClient, session_timeout_s: float, neighbours: Callable[[], int]
    ) -> None:
        """`neighbours` tells how many others will come back when this one does."""
        self._client = client
        self._neighbours = neighbours
        self._was_connected = False
        self._session_timeout_s = session_timeout_s
        self._given_up = 0

    def connect_s(self, at_most_s: float) -> float:
        """How long to wait for a host to take the connection; the first time no longer than `at_most_s`."""
        return self._grown(min(at_most_s, self._share_s(CONNECTS_PER_SESSION)))

    def handshake_s(self, at_most_s: float) -> float:
        """How long to wait for a server to answer; the first time no longer than `at_most_s`."""
        return self._grown(min(at_most_s, self._share_s(HANDSHAKES_PER_SESSION)))

    def make_way(self) -> None:
        """Before another attempt: let others go first, as many come back together."""
        if self._was_connected:
            time.sleep(random.uniform(0.0, self.spread_s()))

    def spread_s(self) -> float:
        """Over how long the first attempts of all of them are spread."""
        at_most_s = self._session_timeout_s / SPREADS_PER_SESSION
        return min(self._neighbours() * SPREAD_PER_NEIGHBOUR_S, at_most_s)

    def answered(self) -> None:
        """A server answered, whatever it said."""
        self._given_up = 0
        self._was_connected = True

    def session_lasts(self, granted_s: float) -> None:
        """A server has decided for how long; what was asked for may be more than fits into that."""
        self._session_timeout_s = granted_s

    def gave_up(self) -> None:
        """Nobody did in time."""
        self._given_up += 1

    def gave_up_handshake(self, request: Connect) -> None:
        """Nobody did in time, but somebody may yet."""
        self.gave_up()
        if request.session_id:
            return  # it would be the end of a session that is still to be taken up again
        connection = self._client._connection
        try:
            connection._submit(CloseInstance, GOODBYE_WITHIN_S, 1)
        except (ConnectionDropped, self._client.handler.timeout_exception):
            return  # then the session ends by itself

    def _share_s(self, parts: int) -> float:
        return max(LEAST_S, self._session_timeout_s / parts)

    def _grown(self, first_s: float) -> float:
        rounds = self._given_up // max(1, len(self._client.hosts))
        if not rounds:
            return first_s
        wait_s = min(first_s * GROWTH ** min(rounds, ROUNDS_MAX), max(MOST_S, first_s))
        return wait_s * random.uniform(1.0, 1.0 + JITTER)
