"""The note of which children of `/workers` are whose, for the next daemon: lines of text, this user's alone.

It appears whole or not at all. What is in the lines is for who writes them; a note of another ZooKeeper says nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from autohealer.statedir.files import open_private, read_private

NOTE_NAME = "bindings.json"


def has_bonds_note(folder: Path) -> bool:
    """Whether anything was ever noted."""
    return (folder / NOTE_NAME).exists()


def read_bonds(folder: Path, connection: str) -> list[dict[str, object]]:
    """What was noted last of a ZooKeeper; nothing where there is no note that can be used."""
    try:
        told = json.loads(read_private(folder / NOTE_NAME))
    except (OSError, ValueError, RecursionError):
        return []  # whose child is whose is found out anew, as far as it can be
    match told:
        case {"zookeeper": str() as noted, "bonds": list() as bonds} if noted == connection:
            return [bond for bond in bonds if isinstance(bond, dict)]
    return []


def write_bonds(folder: Path, connection: str, bonds: Sequence[dict[str, object]]) -> None:
    """Write it in place of an older one. Raises `OSError`."""
    draft = folder / f"{NOTE_NAME}.draft"
    draft.unlink(missing_ok=True)
    told = {"zookeeper": connection, "bonds": list(bonds)}
    with os.fdopen(open_private(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
        file.write(json.dumps(told, separators=(",", ":")).encode())
    draft.replace(folder / NOTE_NAME)
