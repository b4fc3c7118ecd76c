"""Write a status as JSON, slice by slice: ten thousand slots at once would hold up the daemon's loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from types import ModuleType

from autohealer.control.records import SlotRecord, StatusRecord

SLOTS_PER_SLICE = 250
_EMPTY, _FULL = b'"slots":[]', b'"slots":[%s]'


def encoder(pydantic: ModuleType) -> Callable[[StatusRecord], Awaitable[bytes]]:
    """What turns a record into JSON, made once; the library is handed in because it takes long to import."""
    of_whole: Callable[[StatusRecord], bytes] = pydantic.TypeAdapter(StatusRecord).dump_json
    of_slots: Callable[[Sequence[SlotRecord]], bytes] = pydantic.TypeAdapter(
        tuple[SlotRecord, ...]
    ).dump_json

    async def encode(record: StatusRecord) -> bytes:
        pieces: list[bytes] = []
        for start in range(0, len(record.slots), SLOTS_PER_SLICE):
            pieces.append(of_slots(record.slots[start : start + SLOTS_PER_SLICE])[1:-1])
            await asyncio.sleep(0)
        # Quotes are escaped inside of strings, so these bytes are the field and nothing else.
        return of_whole(replace(record, slots=())).replace(_EMPTY, _FULL % b",".join(pieces), 1)

    return encode
