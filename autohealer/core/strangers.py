"""Registrations that are not those of our live incarnations, and what became of them.

Must never know: slots, what will be decided.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Standing(Enum):
    """What became of a registration that is not one of our live incarnations."""

    UNREAD = "unread"
    DEAD = "dead"
    MANUAL = "manual"
    ORPHAN = "orphan"
    ELSEWHERE = "elsewhere"
    UNPROVABLE = "unprovable"
    GARBAGE = "garbage"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Stranger:
    """A registration nobody here launched: reported, never touched."""

    label: str
    standing: Standing
    pid: int | None = None
    host: str = ""
