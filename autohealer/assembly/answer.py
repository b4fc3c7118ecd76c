"""What a group's daemon answers when it is asked how things stand: the view, and where each worker serves."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version

from autohealer.control.records import StatusRecord
from autohealer.control.status import About, Health, Remarks, gather_status
from autohealer.coordination.addresses import Addresses
from autohealer.core.membership import presence_of
from autohealer.core.model import Incarnation, Presence, Slot, View
from autohealer.processes import vitals
from autohealer.settings import GroupSettings


async def answer(
    settings: GroupSettings,
    connection: str,
    view: View,
    remarks: Remarks,
    addresses: Addresses,
    began_at: float,
) -> StatusRecord:
    """The status of a group now; `connection` is its ZooKeeper, `began_at` since when it is kept (monotonic)."""
    published = await addresses.of(_registered(view))

    def address(slot: Slot) -> str:
        return address_of(
            slot, published, None if slot.key in view.outdated else settings.launch.port
        )

    about = About(settings.name, os.getpid(), version("autohealer"), connection, began_at)
    remarks = replace(remarks, address=address)
    record = await gather_status(about, view, time.monotonic, remarks, _examine)
    return replace(record, at=datetime.now(UTC).isoformat(timespec="milliseconds"))


def _registered(view: View) -> list[Incarnation]:
    occupants = [slot.occupant for slot in view.slots.values() if slot.occupant is not None]
    return [it.name for it in occupants if presence_of(it, view) is Presence.PRESENT]


def address_of(slot: Slot, published: Mapping[Incarnation, str], first_port: int | None) -> str:
    """Where what fills a slot serves: as it says, else the port that it was given, if it was and that is known."""
    if slot.occupant is None:
        return ""
    given = "" if first_port is None or slot.key < 0 else f":{first_port + slot.key}"
    return published.get(slot.occupant.name, given)


def _examine(pid: int) -> Health | None:
    """How a process is, for status."""
    found = vitals.sample(pid)
    return None if found is None else Health(found.state, found.rss_bytes, found.cpu_s)
