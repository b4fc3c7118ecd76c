"""The project's own source files, parsed once, for the checks beside this file."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("autohealer", "flaky_worker", "tests", "benchmarks")


@dataclass(frozen=True, slots=True)
class Source:
    """One module: where it is below the project's root, its text and its tree."""

    path: str
    text: str
    tree: ast.Module

    @property
    def parts(self) -> tuple[str, ...]:
        """Its path without the ending: `("autohealer", "core", "model")`."""
        return tuple(self.path.removesuffix(".py").split("/"))

    @property
    def length_lines(self) -> int:
        """How many lines it has."""
        return len(self.text.splitlines())


def source_of(path: str, text: str) -> Source:
    """A module from its text; what the checks of the checks use."""
    return Source(path, text, ast.parse(text))


@cache
def sources() -> tuple[Source, ...]:
    """Every module of the folders that exist."""
    found = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    return tuple(source_of(path.relative_to(ROOT).as_posix(), path.read_text()) for path in found)


def within(*folders: str) -> list[Source]:
    """The modules at or below some paths."""
    wanted = tuple(folders)
    return [
        source
        for source in sources()
        if any(source.path == f or source.path.startswith(f"{f}/") for f in wanted)
    ]


def functions_of(source: Source) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method, nested ones too."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def imports_of(source: Source) -> Iterator[str]:
    """The absolute name of everything imported anywhere: `a.b` for both `import a.b` and `from a import b`."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _base_of(source, node)
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _base_of(source: Source, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    above = source.parts[: -node.level]
    return ".".join((*above, node.module)) if node.module else ".".join(above)


def is_below(name: str, package: str) -> bool:
    """Whether a dotted name is a package or something in it."""
    return name == package or name.startswith(f"{package}.")
