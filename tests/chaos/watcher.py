"""Somebody who watches in a thread of their own for as long as a block lasts."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import Self


class Watcher(ABC):
    """A context manager; `_watch` runs beside the block and returns soon after `_over` is set."""

    def __init__(self, name: str) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name=name)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._thread.join()

    @abstractmethod
    def _watch(self) -> None:
        """What the thread does."""
