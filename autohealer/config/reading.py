"""Read a configuration: a file and what it includes become one daemon's settings, or all their mistakes at once.

Theory of operation. Files are read and filled in from the environment, each table is checked against its form, groups
are put over the defaults, and then it is asked what only the whole and the machine can tell. Nothing is started, and
nothing but files is looked at. What is read twice comes out alike if nothing changed.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from autohealer.config.command import in_words_of_file
from autohealer.config.daemon import shared_settings
from autohealer.config.document import Document, read_document
from autohealer.config.form import Common, Configuration, Daemon, Group
from autohealer.config.forming import formed
from autohealer.config.including import included_files
from autohealer.config.interpolation import interpolated
from autohealer.config.mistakes import ConfigError, KeyPath, Mistakes, Place
from autohealer.config.probing import check_kinds
from autohealer.config.relations import check_relations
from autohealer.config.resolving import group_settings
from autohealer.config.wishes import Layer, Wish, merged
from autohealer.contract import is_group_name
from autohealer.settings import DaemonSettings, GroupSettings

_STANDS_IN = {"command": [sys.executable]}
"""For a command that is missing or wrong, so that the rest of the group is looked at."""

_NO_NAME = (
    "this cannot name a group: use up to 64 letters, digits and ._-, starting with a letter or digit, "
    "and not `manual`"
)


def read(path: Path, environ: Mapping[str, str], state_dir: Path | None) -> DaemonSettings:
    """One daemon's settings from a file; `state_dir` counts more than what the file says.

    Raises:
        ConfigError: it will not do; the message names every mistake.
    """
    return _Reading(path, environ).settings(state_dir)


def _settings_of(wish: Wish) -> GroupSettings:
    settings = group_settings(wish)
    return replace(settings, registrar_why=in_words_of_file(settings.registrar_why))


@dataclass(slots=True)
class _Reading:
    path: Path
    environ: Mapping[str, str]
    mistakes: Mistakes = field(default_factory=Mistakes)
    groups: dict[str, Document] = field(default_factory=dict)
    """Where each group was first seen."""
    wishes: list[Wish] = field(default_factory=list)

    def settings(self, state_dir: Path | None) -> DaemonSettings:
        main = self._filled(read_document(self.path))
        patterns = self._patterns(main)
        files = included_files(patterns, self.path, partial(self._note, main, "include"))
        included = [it for it in map(self._included, files) if it is not None]
        self._add_groups(main, included)
        check_relations(self.wishes, self.groups)
        groups = tuple(map(_settings_of, self.wishes))
        shared = shared_settings(
            *(self._daemon(main), main.folder, self.environ, state_dir),
            partial(self._note, main, "daemon"),
        )
        self.mistakes.raise_any()
        return DaemonSettings(
            state_dir=shared.state_dir,
            target=shared.target,
            groups=groups,
            credentials=shared.credentials,
            zookeeper_open=shared.zookeeper_open,
            config=self.path.absolute(),
        )

    def _filled(self, document: Document) -> Document:
        """A document with its texts filled in from the environment."""
        self.mistakes.reading(document.file)
        note = partial(self._note, document)
        tables = {
            key: interpolated(value, self.environ, partial(note, key))
            for key, value in document.tables.items()
        }
        return replace(document, tables=tables)

    def _included(self, path: Path) -> Document | None:
        try:
            document = self._filled(read_document(path))
        except ConfigError as error:
            self.mistakes.reading(str(path))
            self.mistakes.take(error.mistakes)
            return None
        for key in document.tables.keys() - {"group"}:
            self._note(document, key, (), "only [group.*] tables may stand in an included file")
        return document

    def _patterns(self, main: Document) -> Sequence[str]:
        """What is to be included; notes keys that no file has."""
        apart = {"daemon", "defaults", "group"}
        rest = {key: value for key, value in main.tables.items() if key not in apart}
        form = formed(Configuration, rest, (), partial(self._note_at, main), {})
        return (form.include if form is not None else None) or ()

    def _daemon(self, main: Document) -> Daemon:
        table = main.tables.get("daemon", {})
        return formed(Daemon, table, ("daemon",), partial(self._note_at, main), {}) or Daemon()

    def _defaults(self, main: Document) -> Layer | None:
        at = ("defaults",)
        table = main.tables.get("defaults", {})
        form = formed(Common, table, at, partial(self._note_at, main), {})
        if form is None:
            return None
        layer = Layer(main, at, form)
        check_kinds(layer, self.mistakes)
        return layer

    def _add_groups(self, main: Document, included: Sequence[Document]) -> None:
        defaults = self._defaults(main)
        for document in (main, *included):
            tables = document.tables.get("group", {})
            if isinstance(tables, dict):
                for name, table in tables.items():
                    self._add_group(document, name, table, defaults)
            else:
                self._note(document, "group", (), "this is a table: write [group.NAME]")
        if not self.groups and not self.mistakes:
            sentence = "no group is in it: write [group.NAME], and its command below"
            self.mistakes.note(Place(main.file), (), sentence)

    def _add_group(
        self, document: Document, name: str, table: object, defaults: Layer | None
    ) -> None:
        at: KeyPath = ("group", name)
        if not is_group_name(name):
            self._note_at(document, at, _NO_NAME)
        if (first := self.groups.get(name)) is not None:
            place = first.text.place_of(at)
            self._note_at(document, at, f"a second time; the first is at {place}")
            return
        self.groups[name] = document
        form = formed(Group, table, at, partial(self._note_at, document), _STANDS_IN)
        if form is not None:
            own = Layer(document, at, form)
            self.wishes.append(merged(name, defaults, own, form, self.mistakes))

    def _note(self, document: Document, key: str, path: KeyPath | str | int, sentence: str) -> None:
        """A mistake below a key of the whole file."""
        below = path if isinstance(path, tuple) else (path,)
        self._note_at(document, (key, *below), sentence)

    def _note_at(self, document: Document, path: KeyPath, sentence: str) -> None:
        self.mistakes.note(document.text.place_of(path), path, sentence)
