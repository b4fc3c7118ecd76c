"""Find where each key and item of a TOML text stands; what the parser of the standard library does not tell.

Theory of operation. A second parser, tree-sitter's, gives the shape of the text with rows and columns; the shape is
walked once. It is asked only where there is something to point at, so that who makes no mistake does not pay for it.

Must never know: what the keys mean. Limits: rows and columns count from 0 and columns are characters.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import tree_sitter_toml
from tree_sitter import Language, Node, Parser

from autohealer.config.mistakes import KeyPath


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of one row."""

    row: int
    column: int
    width: int


@dataclass(slots=True)
class Positions:
    """Where each path is, and which stand twice: the path, and both its places."""

    spans: dict[KeyPath, Span] = field(default_factory=dict)
    repeated: list[tuple[KeyPath, Span, Span]] = field(default_factory=list)


def positions_of(text: str) -> Positions:
    """Walk the shape of a text, as far as it has one."""
    raw = text.encode()
    walk = _Walk(raw.split(b"\n"))
    walk.whole(Parser(Language(tree_sitter_toml.language())).parse(raw).root_node)
    return walk.found


@dataclass(slots=True)
class _Walk:
    lines: Sequence[bytes]
    found: Positions = field(default_factory=Positions)
    _said: dict[KeyPath, Span] = field(default_factory=dict)
    """What may be said only once: tables by their heads, and keys with a value."""
    _counts: dict[KeyPath, int] = field(default_factory=dict)
    """How many tables each array of tables has so far."""

    def whole(self, root: Node) -> None:
        for node in root.named_children:
            if node.type == "pair":
                self._pair(node, ())
            elif node.type in {"table", "table_array_element"}:
                self._table(node)

    def _table(self, node: Node) -> None:
        head, *rest = [child for child in node.named_children if child.type != "comment"]
        keys = list(_keys(head))
        path: KeyPath = ()
        for key, place in keys:
            path = self._into_last((*path, key))
            self.found.spans.setdefault(path, self._span(place))
        if node.type == "table_array_element":
            bare = (*self._into_last(_names(keys[:-1])), keys[-1][0])
            self._counts[bare] = self._counts.get(bare, 0) + 1
            path = self._into_last(bare)
        else:
            self._say(path, self._span(head))
        self.found.spans[path] = self._span(head)
        for pair in rest:
            if pair.type == "pair":
                self._pair(pair, path)

    def _into_last(self, path: KeyPath) -> KeyPath:
        """A path that goes on in the last table of an array of tables, wherever it comes through one."""
        whole: KeyPath = ()
        for key in path:
            whole = (*whole, key)
            if count := self._counts.get(whole):
                whole = (*whole, count - 1)
        return whole

    def _pair(self, node: Node, table: KeyPath) -> None:
        named = [child for child in node.named_children if child.type != "comment"]
        path, span = table, Span(0, 0, 0)
        for key, place in _keys(named[0]):
            path, span = (*path, key), self._span(place)
            self.found.spans.setdefault(path, span)
        self._say(path, span)
        if len(named) > 1:
            self._value(named[1], path)

    def _value(self, node: Node, path: KeyPath) -> None:
        if node.type == "inline_table":
            for pair in node.named_children:
                if pair.type == "pair":
                    self._pair(pair, path)
        elif node.type == "array":
            items = [child for child in node.named_children if child.type != "comment"]
            for number, item in enumerate(items):
                self.found.spans[*path, number] = self._span(item)
                self._value(item, (*path, number))

    def _say(self, path: KeyPath, span: Span) -> None:
        first = self._said.setdefault(path, span)
        if first is not span:
            self.found.repeated.append((path, first, span))

    def _span(self, node: Node) -> Span:
        line = self.lines[node.start_point.row]
        is_short = node.end_point.row == node.start_point.row
        end = node.end_point.column if is_short else len(line)
        before = len(line[: node.start_point.column].decode())
        return Span(node.start_point.row, before, len(line[:end].decode()) - before)


def _names(keys: Sequence[tuple[str, Node]]) -> KeyPath:
    return tuple(key for key, _ in keys)


def _keys(node: Node) -> Iterator[tuple[str, Node]]:
    """The parts of a key, each with its place."""
    if node.type == "dotted_key":
        for part in node.named_children:
            yield from _keys(part)
    else:
        written = (node.text or b"").decode()
        if node.type == "quoted_key":
            (written,) = tomllib.loads(f"{written} = 0")
        yield written, node
