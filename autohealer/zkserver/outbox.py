"""What the machine puts out, in order, and what has to wait behind a reply.

Theory of operation. A reply that is made in several turns is one frame on the wire, and a client learns of its watch
only from the reply. So events for who has such a request under way are held until that has been answered.

Must never know: what a body says, who asks, why.
Limits: `held_bytes_max` of events held for one connection; beyond it the caller is told to drop it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from autohealer.zkserver.effects import Drop, Part, Send, Tell
from autohealer.zkserver.wire import pack_int

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autohealer.zkserver.connections import Connection, Totals
    from autohealer.zkserver.effects import Effect


class Outbox:
    """Effects until they are taken."""

    def __init__(self, totals: Totals, held_bytes_max: int) -> None:
        self._totals = totals
        self._held_bytes_max = held_bytes_max
        self._effects: list[Effect] = []
        self.unsent_bytes = 0
        """Replies and events among the effects not yet taken."""

    def take(self) -> list[Effect]:
        """What is to be done now, in order; each effect is handed out once."""
        effects, self._effects, self.unsent_bytes = self._effects, [], 0
        return effects

    def send(self, connection: Connection, body: bytes) -> None:
        """One reply, or an event that belongs to it."""
        self._count(connection)
        self.unsent_bytes += len(body)
        self._effects.append(Send(connection.id, body))

    def begin(self, connection: Connection, size_bytes: int) -> None:
        """A body of that size follows in parts, and nothing else for this connection before it is complete."""
        self._count(connection)
        connection.owed_bytes = size_bytes
        self._effects.append(Part(connection.id, pack_int(size_bytes)))

    def part(self, connection: Connection, data: bytes) -> None:
        """More of what was begun."""
        assert len(data) <= connection.owed_bytes, (len(data), connection.owed_bytes)
        connection.owed_bytes -= len(data)
        self.unsent_bytes += len(data)
        self._effects.append(Part(connection.id, data))

    def tell(self, connections: Sequence[Connection], body: bytes) -> list[Connection]:
        """An event for several, held where a request is under way; returns for whom too much is held."""
        told: list[int] = []
        beyond: list[Connection] = []
        for connection in connections:
            if connection.job is None:
                self._count(connection)
                told.append(connection.id)
            elif connection.held_bytes + len(body) > self._held_bytes_max:
                beyond.append(connection)
            else:
                connection.held.append(body)
                connection.held_bytes += len(body)
        self.unsent_bytes += len(told) * len(body)
        self._effects.append(Tell(told, body))
        return beyond

    def release(self, connection: Connection) -> None:
        """Its request has been answered: what was held goes out."""
        held, connection.held, connection.held_bytes = connection.held, [], 0
        for body in held:
            self.send(connection, body)

    def drop(self, connection: Connection, reason: str | None) -> None:
        """Close it after what was sent."""
        self._effects.append(Drop(connection.id, reason))

    def _count(self, connection: Connection) -> None:
        connection.sent_count += 1
        self._totals.sent_count += 1
