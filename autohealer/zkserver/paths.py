"""Rules for node paths.

Source: `PathUtils.validatePath` and `DataTree.isSpecialPath` of Apache ZooKeeper.

Must never know: which nodes exist.
Limits: `PATH_BYTES_MAX` and `PATH_DEPTH_MAX`, refused with BAD_ARGUMENTS.
"""

from __future__ import annotations

import re

from autohealer.zkserver.limits import PATH_BYTES_MAX, PATH_DEPTH_MAX
from autohealer.zkserver.protocol import Code, RefusedError

ROOT = "/"
ZOOKEEPER = "/zookeeper"
QUOTA = "/zookeeper/quota"
CONFIG = "/zookeeper/config"

RESERVED = frozenset({ROOT, ZOOKEEPER, QUOTA, CONFIG})
"""Nodes that exist from the start and can not be deleted."""

_FORBIDDEN = re.compile(
    "[\u0000-\u001f\u007f-\u009f\ud800-\uf8ff\ufff0-\uffff\U00010000-\U0010ffff]"
)
"""Java looks at UTF-16 units, so whatever needs a surrogate pair is forbidden as well."""


def check_path(path: str) -> None:
    """Refuse what can not name a node.

    Raises:
        RefusedError: BAD_ARGUMENTS.
    """
    if path == ROOT:
        return
    check_size(path)
    if not path.startswith("/") or path.endswith("/") or _FORBIDDEN.search(path) is not None:
        raise RefusedError(Code.BAD_ARGUMENTS)
    if any(part in {"", ".", ".."} for part in path[1:].split("/")):
        raise RefusedError(Code.BAD_ARGUMENTS)


def check_size(path: str) -> None:
    """Refuse a path that is too long or too deep to make or watch.

    Raises:
        RefusedError: BAD_ARGUMENTS.
    """
    size_bytes = len(path) if path.isascii() else len(path.encode())
    if size_bytes > PATH_BYTES_MAX or path.count("/") > PATH_DEPTH_MAX:
        raise RefusedError(Code.BAD_ARGUMENTS)


def parent_of(path: str) -> str:
    """The path of the parent; the root's parent is the root.

    Raises:
        RefusedError: BAD_ARGUMENTS, there is no slash or there is a NUL.
    """
    head, slash, _ = path.rpartition("/")
    if not slash or "\0" in path:
        raise RefusedError(Code.BAD_ARGUMENTS)
    return head or ROOT


def name_of(path: str) -> str:
    """The last component."""
    return path[path.rfind("/") + 1 :]


def ancestors_or_self(path: str) -> list[str]:
    """`/a/b` gives `/a/b`, `/a`, `/`."""
    found = [path]
    while path != ROOT:
        path = path[: path.rfind("/")] or ROOT
        found.append(path)
    return found
