"""Tables of which nothing is said, without the library that checks what is.

Theory of operation. Reading a form costs the import of that library, a quarter of a second before the first launch of a
one-liner that has no option which it could check. So where nothing is said, one of these stands in the place of a form;
what is not said is None there as well, so whoever asks it finds the same defaults.

Must never know: which keys there are.
"""

from __future__ import annotations

from collections.abc import Collection


class Unsaid:
    """Whatever it is asked for is None."""

    model_fields_set: Collection[str] = frozenset()

    def __getattr__(self, _key: str) -> None:
        return None


class UnsaidGroup(Unsaid):
    """A group that says its command and how many there are to be."""

    def __init__(self, command: list[str], replicas: int) -> None:
        self.command = command
        self.replicas = replicas
        self.model_fields_set = {"command", "replicas"}


NOTHING = Unsaid()
