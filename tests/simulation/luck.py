"""Chance by name: the same question has the same answer in one story, whatever else happens in it.

Theory of operation. What a story leaves open (when a newborn registers, how late a fact comes) is decided by a hash of
the story's number and of the question. So a fault that is taken out of a story changes nothing but what follows from
it, which is what lets a failing story be cut down.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeVar

T = TypeVar("T")


class Luck:
    """What is decided by chance in one story."""

    def __init__(self, number: int) -> None:
        self._number = number

    def of(self, part: str) -> Luck:
        """The luck of a part of the story, which has nothing to do with that of others."""
        return Luck(int(self.share("luck of", part) * 2**32))

    def share(self, *question: object) -> float:
        """A number from 0 up to 1."""
        told = f"{self._number} {question}".encode()
        return int.from_bytes(blake2b(told, digest_size=6).digest(), "big") / 2**48

    def between(self, low: float, high: float, *question: object) -> float:
        """A number between two."""
        return low + (high - low) * self.share(*question)

    def one_of(self, options: Sequence[T], *question: object) -> T:
        """One of several."""
        return options[int(self.share(*question) * len(options))]
