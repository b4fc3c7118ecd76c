"""What is wanted of one group: its own table over `[defaults]`, and where each key of it stands.

Theory of operation. Tables in a group (limits, restart, output) are put over those of the defaults key by key, and so
is the environment; of everything else the group's own value counts. A probe is one value, not many: half a question of
the defaults and half of one's own would be neither. A mistake in what came from the defaults is told
where it stands there, once for all groups.

Must never know: what the keys mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard, TypeVar

from autohealer.config.document import Document
from autohealer.config.mistakes import KeyPath, Mistakes, Place
from autohealer.config.unsaid import UnsaidGroup

if TYPE_CHECKING:
    from autohealer.config.form import Common, Form, Group

F = TypeVar("F", bound="Form")
_PROBES = frozenset({"startup", "readiness", "liveness"})
_ALIASES = {"register": "register_"}


@dataclass(frozen=True, slots=True)
class Layer:
    """A table of a file: the defaults, or a group."""

    document: Document
    at: KeyPath
    form: Common | UnsaidGroup

    @property
    def folder(self) -> Path:
        """Where relative paths in it begin."""
        return self.document.folder

    def says(self, keys: KeyPath) -> bool:
        """Whether a key, perhaps in a table of its own, stands in it."""
        here: object = self.form
        for key in keys:
            if is_table(here):
                name = _ALIASES.get(str(key), str(key))
                if name not in here.model_fields_set:
                    return False
                here = getattr(here, name)
            elif isinstance(here, dict):
                return key in here
        return True

    def place_of(self, keys: KeyPath) -> Place:
        """Where a key stands, or else this table."""
        return self.document.text.place_of((*self.at, *keys))


@dataclass(frozen=True, slots=True)
class Wish:
    """A group, merged; `layers` are the tables it was made from, what counts more last."""

    name: str
    form: Group | UnsaidGroup
    layers: tuple[Layer, ...]
    mistakes: Mistakes

    def source_of(self, *keys: str | int) -> Layer:
        """The table that says a key; the group's own where none does."""
        return next((it for it in reversed(self.layers) if it.says(keys)), self.layers[-1])

    def note(self, sentence: str, *keys: str | int) -> None:
        """A mistake about a key, wherever that came from."""
        layer = self.source_of(*keys)
        self.mistakes.note(layer.place_of(keys), (*layer.at, *keys), sentence)

    def is_taken_away(self, table: str) -> bool:
        """Whether the group says a table of the defaults without anything in it."""
        *under, own = self.layers
        form = getattr(own.form, table)
        is_empty = is_table(form) and not form.model_fields_set
        return is_empty and any(layer.says((table,)) for layer in under)

    def place_of(self, *keys: str | int) -> Place:
        """Where a key stands."""
        return self.source_of(*keys).place_of(keys)


def is_table(value: object) -> TypeGuard[Form]:
    """Whether it is a form, or stands for one."""
    return hasattr(value, "model_fields_set")


def unsaid(name: str, own: Layer, form: UnsaidGroup, mistakes: Mistakes) -> Wish:
    """The wish of a group that says nothing but its command."""
    return Wish(name, form, (own,), mistakes)


def merged(name: str, defaults: Layer | None, own: Layer, form: Group, mistakes: Mistakes) -> Wish:
    """A group's wish; `form` is what its own table says."""
    if defaults is None:
        return Wish(name, form, (own,), mistakes)
    return Wish(name, _over(form, defaults.form), (defaults, own), mistakes)


def _over(form: F, under: Form | UnsaidGroup) -> F:
    """A form with what it does not say taken from another one."""
    return form.model_copy(update=dict(_taken(form, under)))


def _taken(form: Form, under: Form | UnsaidGroup) -> Iterator[tuple[str, object]]:
    for name in under.model_fields_set:
        theirs, ours = getattr(under, name), getattr(form, name)
        if name not in form.model_fields_set:
            yield name, theirs
        elif name in _PROBES:
            continue
        elif is_table(ours) and is_table(theirs):
            yield name, _over(ours, theirs)
