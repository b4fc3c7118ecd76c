"""The note of which children of `/workers` are whose, for the next daemon: lines of text, this user's alone.

It appears whole or not at all. A bond that says too little is passed over; a note of another ZooKeeper says nothing.
What tells a bond's process is text of whoever writes it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from autohealer.statedir.files import read_private, replace_private

NOTE_NAME = "bindings.json"


@dataclass(frozen=True, slots=True)
class NotedBond:
    """An incarnation, by slot and generation, and the child that is its registration: label, czxid and owner, or None.

    Of `born`, `floor` and `owner` tells `autohealer.core.children.Bond`; `process` tells which process it is, "" where
    that is not known.
    """

    slot: int
    generation: int
    born: int
    floor: int
    owner: int
    child: tuple[str, int, int] | None = None
    process: str = ""


def has_bonds_note(folder: Path) -> bool:
    """Whether anything was ever noted."""
    return (folder / NOTE_NAME).exists()


def read_bonds(folder: Path, connection: str) -> list[NotedBond]:
    """What was noted last of a ZooKeeper; nothing where there is no note that can be used."""
    try:
        told = json.loads(read_private(folder / NOTE_NAME))
    except (OSError, ValueError, RecursionError):
        return []  # whose child is whose is found out anew, as far as it can be
    match told:
        case {"zookeeper": str() as noted, "bonds": list() as bonds} if noted == connection:
            return [bond for one in bonds for bond in _bond_in(one)]
    return []


def write_bonds(folder: Path, connection: str, bonds: Sequence[NotedBond]) -> None:
    """Write it in place of an older one. Raises `OSError`."""
    told = {"zookeeper": connection, "bonds": list(map(asdict, bonds))}
    replace_private(folder / NOTE_NAME, json.dumps(told, separators=(",", ":")).encode())


def _bond_in(told: object) -> Iterator[NotedBond]:
    match told:
        case {
            "slot": int() as slot,
            "generation": int() as generation,
            "born": int() as born,
            "floor": int() as floor,
            "owner": int() as owner,
            **rest,
        }:
            child = next(_child_in(rest.get("child")), None)
            process = rest.get("process")
            told_of = process if isinstance(process, str) else ""
            yield NotedBond(slot, generation, born, floor, owner, child, told_of)


def _child_in(told: object) -> Iterator[tuple[str, int, int]]:
    match told:
        case [str() as label, int() as czxid, int() as owner]:
            yield label, czxid, owner
