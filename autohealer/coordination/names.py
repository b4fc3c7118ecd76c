"""What the names below `/workers` say: whose incarnations they are, and a harmless label for what no daemon gave out.

Theory of operation. Each name is looked at once, when it appears; a list costs set differences besides, and a group of
which nothing changed keeps the very same set. Anybody may create names, in any number and of a megabyte each: such a
name is known by its hash, and shown by a label that is short and printable and ends in a digest, so that two of them
are told apart. The label leads back to the name as long as that is short enough to be asked for.

Must never know: kazoo, the loop. Limits: one thread at a time; `STRANGE_MAX` strange names are kept, the first come.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from autohealer.contract import ZnodeName, parse_znode_name
from autohealer.core.model import Incarnation
from autohealer.printable import printable

GIVEN_OUT_CHARS_MAX = 100
"""No daemon gives out a longer name: 64 for the group, 6 for the slot, 19 for the generation."""

LABEL_CHARS = 120
ASKED_FOR_CHARS_MAX = 1000
"""What has a longer name is never read: its name alone would fill a request."""

STRANGE_MAX = 1000

_NOBODY: frozenset[Incarnation] = frozenset()


@dataclass(frozen=True, slots=True)
class Listing:
    """One list of `/workers`. `strange` maps each label to the name it stands for; None: too long to be asked for."""

    groups: Mapping[str, frozenset[Incarnation]]
    strange: Mapping[str, str | None]

    def of(self, group: str) -> frozenset[Incarnation]:
        """Return the registered incarnations of a group."""
        return self.groups.get(group, _NOBODY)


class Names:
    """What is known of the names of the last list."""

    def __init__(self) -> None:
        self._known: dict[str | int, ZnodeName | str] = {}
        self._last = Listing({}, {})

    def read(self, names: list[str]) -> Listing:
        """Take note of a complete list."""
        # What is too long to be kept is known by its hash.
        present = {n if len(n) <= ASKED_FOR_CHARS_MAX else hash(n): n for n in names}
        groups: dict[str, set[Incarnation]] = {}
        strange = dict(self._last.strange)
        for key in self._known.keys() - present.keys():
            match self._known.pop(key):
                case ZnodeName() as name:
                    self._members(groups, name.group).discard(_incarnation(name))
                case label:
                    del strange[label]
        for key in present.keys() - self._known.keys():
            self._meet(key, present[key], groups, strange)
        self._last = self._next(groups, strange)
        return self._last

    def _members(self, groups: dict[str, set[Incarnation]], group: str) -> set[Incarnation]:
        """Find the set of a group's incarnations that is being changed."""
        if group not in groups:
            groups[group] = set(self._last.of(group))
        return groups[group]

    def _meet(
        self,
        key: str | int,
        name: str,
        groups: dict[str, set[Incarnation]],
        strange: dict[str, str | None],
    ) -> None:
        given_out = parse_znode_name(name) if len(name) <= GIVEN_OUT_CHARS_MAX else None
        if given_out is not None:
            self._known[key] = given_out
            self._members(groups, given_out.group).add(_incarnation(given_out))
        elif len(strange) < STRANGE_MAX and (label := label_of(name)) not in strange:
            self._known[key] = label
            strange[label] = name if len(name) <= ASKED_FOR_CHARS_MAX else None

    def _next(
        self, changed: Mapping[str, set[Incarnation]], strange: dict[str, str | None]
    ) -> Listing:
        groups = self._last.groups
        if changed:
            updated = {**groups, **{group: frozenset(names) for group, names in changed.items()}}
            groups = {group: names for group, names in updated.items() if names}
        return Listing(groups, self._last.strange if strange == self._last.strange else strange)


def label_of(name: str) -> str:
    """Return a name itself where it is short and printable, else what can be shown of it and a digest."""
    if len(name) <= LABEL_CHARS and name.isprintable():
        return name
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:12]
    return f"{printable(name, LABEL_CHARS)}#{digest}"


def _incarnation(name: ZnodeName) -> Incarnation:
    return Incarnation(name.slot, name.generation)
