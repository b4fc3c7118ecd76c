"""What the options of a command line say of the one group that it keeps: the keys of a file, with the same checks.

Theory of operation. The options are put together to the table that a file would have, and go the way of that; a mistake
is told with the option it came from. Where no option says anything of the group there is nothing to check, and none of
what checks is imported. `--set KEY=VALUE` reaches every key that has no option of its own.

Must never know: how options are parsed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from autohealer.config.document import Document, Text
from autohealer.config.interpolation import Interpolated
from autohealer.config.mistakes import ConfigError, KeyPath, Mistakes, Place
from autohealer.config.relations import check_relations
from autohealer.config.resolving import group_settings
from autohealer.config.unsaid import UnsaidGroup
from autohealer.config.wishes import Layer, Wish, merged, unsaid
from autohealer.settings import GroupSettings, SettingsError

Said = Mapping[str, str | Sequence[str] | None]
"""By the name of a key, what its option says, if it was given."""

_NOT_SET = {
    "command": "it is what follows N on the command line",
    "replicas": "it is the N of the command line",
    "after": "there is one group here; several are for a configuration file",
}


@dataclass(frozen=True)
class _Options(Text):
    """In place of a file's text: a key stands in an option."""

    labels: Mapping[KeyPath, str]

    def place_of(self, path: KeyPath) -> Place:
        lengths = range(len(path), 0, -1)
        return Place(next((self.labels[path[:n]] for n in lengths if path[:n] in self.labels), ""))


def group_of_options(
    name: str, replicas: int, command: Sequence[str], said: Said, sets: Sequence[str]
) -> GroupSettings:
    """The settings of a group; `sets` are the values of `--set`.

    Raises:
        SettingsError: they will not do; the message is about the first mistake.
    """
    table, labels = _table(said, sets)
    document = Document(_Options("", "", labels), _here(), {})
    mistakes = Mistakes()
    try:
        if table:
            wish = _formed(
                name, table | {"command": list(command), "replicas": replicas}, document, mistakes
            )
        else:
            form = UnsaidGroup(list(command), replicas)
            wish = unsaid(name, Layer(document, (), form), form, mistakes)
        check_relations([wish], [name])
        settings = group_settings(wish)
        mistakes.raise_any()
    except ConfigError as error:
        raise SettingsError(_told(error)) from None
    return settings


def _formed(name: str, whole: dict[str, object], document: Document, mistakes: Mistakes) -> Wish:
    """What options say, checked as a file's table is. Raises `ConfigError`."""
    from autohealer.config.form import Group  # who gives no option does not pay for their checks
    from autohealer.config.forming import formed

    def note(path: KeyPath, sentence: str) -> None:
        mistakes.note(document.text.place_of(path), path, sentence)

    form = formed(Group, whole, (), note, {"command": whole["command"]})
    mistakes.raise_any()
    assert form is not None, "a table without mistakes has no form"
    return merged(name, None, Layer(document, (), form), form, mistakes)


def _told(error: ConfigError) -> str:
    first = error.mistakes[0]
    sentence = first.sentence.replace(" and in quotes", "").replace(" in quotes", "")
    return f"{first.place.file}: {sentence}" if first.place.file else sentence


def _here() -> Path:
    """Where relative paths begin; a folder that was deleted has none."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        return Path()


def _table(said: Said, sets: Sequence[str]) -> tuple[dict[str, object], dict[KeyPath, str]]:
    """The table, and which option says each of its keys. Raises `SettingsError`."""
    table: dict[str, object] = {}
    labels: dict[KeyPath, str] = {}
    for key, value in said.items():
        if value is None or value == []:
            continue
        path = tuple(key.split("."))
        labels[path] = f"--{_OPTIONS.get(key, key).replace('_', '-')}"
        told = Interpolated(value) if isinstance(value, str) else list(value)
        _put(table, path, _variables(told) if key == "env" else told)
    for text in sets:
        key, equals, value = text.partition("=")
        if not equals:
            raise SettingsError(f"--set {text}: write KEY=VALUE, such as limits.nofile=65536")
        if key in _NOT_SET:
            raise SettingsError(f"--set {key}: {_NOT_SET[key]}")
        path = tuple(key.split("."))
        labels[path] = f"--set {key}"
        _put(table, path, Interpolated(value))
    return table, labels


_OPTIONS = {
    "output.to": "output",
    "limits.memory_restart": "memory_restart",
    "restart.policy": "restart",
    **{
        f"{table}.{kind}": table
        for table in ("startup", "readiness", "liveness")
        for kind in ("http", "tcp", "exec")
    },
}
"""Keys whose options have other names."""


def _put(table: dict[str, object], path: KeyPath, value: object) -> None:
    *outer, last = map(str, path)
    for key in outer:
        inner = table.setdefault(key, {})
        if not isinstance(inner, dict):
            raise SettingsError(f"--set {'.'.join(map(str, path))}: {key} is no table")
        table = inner
    table[last] = value


def _variables(texts: Sequence[str]) -> dict[str, str]:
    """What `--env` says. Raises `SettingsError`."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise SettingsError(
                f"--env {text}: write NAME=VALUE; what the daemon has in its own environment, workers have too"
            )
        found[name] = value
    return found
