"""Where workers serve, as their registrations say: read when somebody asks, and again only once that may have changed.

Theory of operation. A registration is read together with a watch, so what it said holds until the watch goes off,
which it does with the connection, too. A group that nobody asks about costs nothing, and one that is asked about every
second costs a read for each registration and change. Who asks waits for `PATIENCE_S` at most; what has not come by then
is known the next time.

Must never know: processes, what is decided. Limits: used from the event loop's thread only; a registration that may not
be read, or that is no record, says nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from kazoo.protocol.states import WatchedEvent

from autohealer.contract import RecordError, ZnodeName, decode_record
from autohealer.coordination.calls import call
from autohealer.coordination.registry import Registry
from autohealer.core.model import Incarnation

PATIENCE_S = 0.1


@dataclass(eq=False, slots=True)
class _Reading:
    """One read, and whether what it finds holds still."""

    answer: asyncio.Future[object] | None = None
    address: str = ""


class Addresses:
    """Those of one group's workers."""

    def __init__(self, registry: Registry, group: str) -> None:
        self._registry = registry
        self._client = registry.session.client
        self._group = group
        self._readings: dict[Incarnation, _Reading] = {}

    async def of(self, names: Iterable[Incarnation]) -> Mapping[Incarnation, str]:
        """What these are known to say; who says nothing is left out, and everybody without a connection."""
        if self._registry.connection is None:
            return {}
        readings = {name: self._readings.get(name) or self._read(name) for name in names}
        awaited = [it.answer for it in readings.values() if it.answer is not None]
        if awaited:
            await asyncio.wait(awaited, timeout=PATIENCE_S)
        return {name: reading.address for name, reading in readings.items() if reading.address}

    def _read(self, name: Incarnation) -> _Reading:
        reading = self._readings[name] = _Reading()
        loop = asyncio.get_running_loop()

        def changed(_event: WatchedEvent) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._forget, name, reading)

        path = ZnodeName(self._group, name.slot, name.generation).path
        reading.answer = call(self._client.get_async, path, watch=changed, read=_address_in)
        reading.answer.add_done_callback(partial(self._answered, name, reading))
        return reading

    def _answered(
        self, name: Incarnation, reading: _Reading, answer: asyncio.Future[object]
    ) -> None:
        reading.answer = None
        if answer.cancelled() or answer.exception() is not None:
            # It is gone, may not be read, or the connection broke: read it again when somebody asks.
            self._forget(name, reading)
        else:
            reading.address = str(answer.result())

    def _forget(self, name: Incarnation, reading: _Reading) -> None:
        if self._readings.get(name) is reading:
            del self._readings[name]


def _address_in(found: object) -> str:
    """What a registration says; "" where it is no record of ours."""
    match found:
        case (bytes() as raw, _):
            try:
                return decode_record(raw).address
            except RecordError:
                return ""
        case _:
            return ""
