"""Check a table of a configuration against its form, and say in words what is wrong with each key.

Theory of operation. What is wrong is noted and left out, and what remains is formed all the same: so the rest of a
group is looked at although one of its keys is wrong. A key that has to be there is stood in for.

Must never know: files, the machine.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from autohealer.config.form import Common, Configuration, Form, Group
from autohealer.config.mistakes import KeyPath, dotted
from autohealer.config.units import nearest

F = TypeVar("F", bound=Form)
Note = Callable[[KeyPath, str], None]
Table = dict[str, object]

_ROUNDS_MAX = 3
"""Once with everything, once without what is wrong, once with what was missing then."""


def formed(
    model: type[F], table: object, at: KeyPath, note: Note, stand_in: Mapping[str, object]
) -> F | None:
    """A table's form; `at` is where it stands. None where there is nothing of use in it."""
    left = table
    for number in range(_ROUNDS_MAX):
        try:
            return model.model_validate(left)
        except ValidationError as error:
            if not isinstance(left, dict):
                note(at, _no_table(left, at))
                return None
            whole = left
            for details in error.errors(include_url=False):
                path = _path_of(details, whole)
                if not number:
                    _note(details, model, path, whole, at, note)
                left = _without(left, path, stand_in)
    return None


def _path_of(details: ErrorDetails, table: object) -> KeyPath:
    """Where in the table it is: pydantic also names the forms that were tried on the way."""
    path: KeyPath = ()
    here = table
    for step in details["loc"]:
        if isinstance(here, dict):
            path, here = (*path, step), here.get(step)
        elif isinstance(here, list) and isinstance(step, int):
            path, here = (*path, step), here[step]
    return path


def _without(table: dict[str, object], path: KeyPath, stand_in: Mapping[str, object]) -> Table:
    """The table without the key that is wrong, or with what stands in for one that is missing."""
    key = str(path[0])
    inner = table.get(key)
    rest = {name: value for name, value in table.items() if name != key}
    if isinstance(inner, dict) and len(path) > 1:
        return rest | {key: _without(inner, path[1:], {})}
    return rest | ({key: stand_in[key]} if key in stand_in else {})


def _note(
    details: ErrorDetails, model: type[Form], path: KeyPath, table: Table, at: KeyPath, note: Note
) -> None:
    if details["type"] == "missing":
        if not any(nearest(key, [str(path[-1])]) for key in table.keys() - _keys_of(model)):
            note((*at, *path[:-1]), f"`{path[-1]}` is missing")
    elif details["type"] == "extra_forbidden":
        note((*at, *path), f"unknown key{_instead(model, path, details['input'], at)}")
    else:
        note((*at, *path), _how_to_write(details, (*at, *path)))


# --- what is written wrongly ------------------------------------------------------------------


_HOW = {
    "bool_type": "write true or false, without quotes",
    "list_type": 'write a list, such as ["one", "two"]',
    "union_tag_not_found": "write text in quotes, or a list of texts",
}
"""Said of a kind of mistake, whatever stands there."""


def _how_to_write(details: ErrorDetails, path: KeyPath) -> str:
    value, context = details["input"], details.get("ctx", {})
    match details["type"]:
        case "value_error":
            said = str(context["error"])
        case "string_type":
            said = _in_quotes(value)
        case "int_type":
            is_text = isinstance(value, str) and value.isdecimal()
            said = "write a whole number" + (", without quotes" if is_text else "")
        case "literal_error":
            known = re.findall(r"'([\w-]+)'", str(context["expected"]))
            close = nearest(value, known) if isinstance(value, str) else ""
            said = "write one of " + ", ".join(f'"{word}"' for word in known) + close
        case "greater_than":
            said = f"{value} is too small: more than {context['gt']}"
        case "greater_than_equal":
            said = f"{value} is too small: at least {context['ge']}"
        case "less_than_equal":
            said = f"{value} is too large: at most {context['le']}"
        case "model_type" | "dict_type":
            said = _no_table(value, path)
        case other:
            said = _HOW.get(other, details["msg"])
    return said


def _in_quotes(value: object) -> str:
    match value:
        case bool():
            return f'write it in quotes: "{str(value).lower()}"'
        case int() | float():
            return f'write it in quotes: "{value}"'
        case _:
            return "write text in quotes"


def _no_table(value: object, path: KeyPath) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return f"write it once, in single brackets: [{dotted(path)}]"
    return f"this is a table: write [{dotted(path)}] and its keys below"


# --- unknown keys -----------------------------------------------------------------------------


def _instead(model: type[Form], path: KeyPath, value: object, at: KeyPath) -> str:
    """The end of a sentence about an unknown key: what was meant, as far as that can be guessed."""
    key = str(path[-1])
    chain = list(_forms_on_the_way(model, path[:-1]))
    here = chain[-1]
    if here is Common and key in _keys_of(Group):
        return f": each group says its own `{key}`"
    for depth, form in enumerate(chain[:-1]):
        if key in _keys_of(form):
            return f": it belongs to [{dotted((*at, *path[:depth]))}]"
    for name, form in _inner_forms(here):
        if key in _keys_of(form):
            return f": it belongs to [{dotted((*at, *path[:-1], name))}]"
    if here is Configuration and isinstance(value, dict) and "command" in value:
        return f", did you mean [group.{dotted((key,))}]?"
    known = _keys_of(here)
    return nearest(key, known) or f"; known here: {', '.join(known)}"


def _forms_on_the_way(model: type[Form], path: KeyPath) -> Iterator[type[Form]]:
    """The form of a table, and of those in it that lead to a path."""
    form = model
    yield form
    for step in path:
        form = dict(_inner_forms(form))[str(step)]
        yield form


def _inner_forms(model: type[Form]) -> Iterator[tuple[str, type[Form]]]:
    for name, info in model.model_fields.items():
        for kind in get_args(info.annotation):
            if isinstance(kind, type) and issubclass(kind, Form):
                yield info.alias or name, kind


def _keys_of(model: type[Form]) -> list[str]:
    return sorted(info.alias or name for name, info in model.model_fields.items())
