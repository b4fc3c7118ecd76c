"""The note of a ZooKeeper session that the next daemon resumes: its id and password, readable for this user alone.

It appears whole or not at all. Whoever reads it can act as the session, so it is written and read as a secret is.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from autohealer.statedir.files import open_private, replace_private

NOTE_NAME = "agent-session"
_BYTES_MAX = 4096


@dataclass(frozen=True, slots=True)
class SessionNote:
    """A session of the ZooKeeper that `connection` names; what was registered in it ran in the boot `boot`."""

    connection: str
    boot: str
    number: int
    password: bytes


def read_note(folder: Path) -> SessionNote | None:
    """The note in a group's folder; None where there is none that can be used."""
    try:
        with os.fdopen(open_private(folder / NOTE_NAME, os.O_RDONLY), "rb") as file:
            match json.loads(file.read(_BYTES_MAX)):
                case {
                    "zookeeper": str() as told,
                    "boot": str() as boot,
                    "id": int() as number,
                    "password": str() as word,
                }:
                    return SessionNote(told, boot, number, bytes.fromhex(word))
    except (OSError, ValueError):
        return None  # a new session does, too: what the old one held vanishes and is made again
    return None


def write_note(folder: Path, note: SessionNote) -> None:
    """Write it in place of an older one. Raises `OSError`."""
    told = {
        "zookeeper": note.connection,
        "boot": note.boot,
        "id": note.number,
        "password": note.password.hex(),
    }
    replace_private(folder / NOTE_NAME, json.dumps(told).encode())


def remove_note(folder: Path) -> None:
    """Its session has ended. Raises `OSError`."""
    (folder / NOTE_NAME).unlink(missing_ok=True)
