"""Random runs, drawn from a seed.

Theory of operation. Few paths, so that sessions meet; mostly requests that may succeed, some that
must not. Every slot watches a path in one way only, drawn once per slot and path: Apache 3.8 keeps
one mode per client and path and so forgets a persistent watch when the same client sets a one-shot
one there (ZOOKEEPER-4466, mended in 3.9). Other known faults of Apache that are not drawn are listed
in `docs/conformance.md`.

Must never know: servers, sockets, answers.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from autohealer.zkserver.protocol import Op
from tests.conformance.operations import ACLS, Act, Action, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

SLOTS = 4
_LISTENER = SLOTS - 1
"""Begins with watches on a node and on all below it, so that it can tell in which order news comes."""

_NODES = ("/a", "/b", "/a/x", "/a/y", "/a/x/q", "/c")
_NUMBERED = ("/s-", "/a/s-")
_NAMED = ("/s-0000000000", "/s-0000000001", "/a/s-0000000000", "/a/s-0000000001")
_BUSY = ("/a", "/b", "/a/x") * 3
_READABLE = ("", *_BUSY, *_NODES, *_NAMED)
_ODD = ("!", "!d", "!//", "!/zookeeper", "!/zookeeper/config", "!/zookeeper/quota", "!/")
_ODD_BELOW = ("/", "/./a", "/../a", "/a//x", "/\x01", "/a/", "/no/no", "/\u00e9", "/\ufff5")
_READS = (Op.EXISTS, Op.GET_DATA, Op.GET_CHILDREN, Op.GET_CHILDREN2)
_ONE_SHOT, _PERSISTENT, _RECURSIVE = "one-shot", "persistent", "recursive"
_CREDENTIALS = (b"u:p", b"v:q")
_NEVER_PIPELINED = {Op.AUTH, Op.SET_ACL}
"""Apache checks a request that follows a setACL at once against the old list, or not: it is a race."""


class Generator:
    """Draws actions from a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._slot = 0
        self._asked: dict[int, list[str]] = {}
        self._watching = {(_LISTENER, ""): _RECURSIVE, (_LISTENER, "/a"): _PERSISTENT}

    def run(self, steps: int) -> list[Action]:
        """A whole run."""
        return [*self._prelude(), *(self.action() for _ in range(steps))]

    def action(self) -> Action:
        """One step."""
        slot = self._slot = self._random.randrange(SLOTS)
        luck = self._random.random()
        if luck < 0.06:
            return Action(slot, self._one_of(_ACTS))
        request = self._one_of(_REQUESTS)(self)
        if self._random.random() < 0.02 and request.op is not Op.AUTH:
            request = replace(request, cut_bytes=self._one_of((1, 4, 5, 9, 20)))
        waits = request.op in _NEVER_PIPELINED or self._random.random() < 0.7
        return Action(slot, Act.REQUEST, request, is_pipelined=not waits)

    def _prelude(self) -> list[Action]:
        """Some nodes, and somebody who listens, so that the first steps meet something."""
        actions = [
            Action(0, request=Request(Op.CREATE, path, b"", number=0))
            for path in ("/a", "/a/x", "/b")
        ]
        for path, mode in (("", 1), ("/a", 0)):
            watch = Request(Op.ADD_WATCH, path, number=mode)
            actions.append(Action(_LISTENER, request=watch))
        return actions

    def _one_of(self, things: Sequence[T]) -> T:
        return self._random.choice(things)

    def _path(self) -> str:
        luck = self._random.random()
        if luck < 0.94:
            return self._one_of(_READABLE)
        return self._one_of(_ODD if luck < 0.97 else _ODD_BELOW)

    def _writable(self) -> str:
        """A path that may be created, changed or deleted: never one all runs share."""
        luck = self._random.random()
        if luck < 0.94:
            return self._one_of((*_BUSY, *_NODES, *_NAMED))
        return (
            self._one_of(("!/zookeeper", "!d", "!", ""))
            if luck < 0.96
            else (self._one_of(_ODD_BELOW))
        )

    def _version(self) -> int:
        return self._one_of((*[-1] * 8, 0, 0, 1, -2))

    def _data(self) -> bytes | None:
        return self._one_of((None, b"", b"data", b"\xff" * 9))

    def _acl(self) -> str:
        return self._one_of(tuple(ACLS)) if self._random.random() < 0.25 else "open"

    def _create(self) -> Request:
        mode = self._one_of((0, 0, 0, 0, 0, 1, 1, 1, 4, 5, 6, 9, -1))
        return self._create_of(mode)

    def _create_of(self, mode: int) -> Request:
        op = self._one_of((Op.CREATE, Op.CREATE2))
        return Request(op, self._writable(), self._data(), self._acl(), mode)

    def _create_numbered(self) -> Request:
        path = self._one_of(_NUMBERED) if self._random.random() < 0.9 else self._writable()
        op, mode = self._one_of((Op.CREATE, Op.CREATE2)), self._one_of((2, 3))
        return Request(op, path, self._data(), self._acl(), mode)

    def _create_other(self) -> Request:
        op, mode = self._one_of(((Op.CREATE_CONTAINER, 4), (Op.CREATE_TTL, 5), (Op.CREATE_TTL, 6)))
        return Request(op, self._writable(), self._data(), self._acl(), mode)

    def _delete(self) -> Request:
        return Request(Op.DELETE, self._writable(), number=self._version())

    def _set_data(self) -> Request:
        return Request(Op.SET_DATA, self._writable(), self._data(), number=self._version())

    def _check(self) -> Request:
        return Request(Op.CHECK, self._path(), number=self._version())

    def _set_acl(self) -> Request:
        acl = self._one_of(tuple(ACLS))
        return Request(Op.SET_ACL, self._one_of((*_BUSY, *_NODES)), acl=acl, number=self._version())

    def _read(self) -> Request:
        path = self._path()
        if path == "!/":  # all runs share it, and its children are all runs
            return Request(self._one_of((Op.EXISTS, Op.GET_DATA)), path)
        may_watch = self._way(path) == _ONE_SHOT
        watch = may_watch and self._random.random() < 0.6
        if watch:
            self._asked.setdefault(self._slot, []).append(path)
        return Request(self._one_of(_READS), path, watch=watch)

    def _question(self) -> Request:
        op = self._one_of((Op.GET_ACL, Op.SYNC, Op.GET_EPHEMERALS, Op.COUNT_DESCENDANTS))
        path = self._path()
        return Request(op, "" if path in {"!/", "!"} and op is Op.COUNT_DESCENDANTS else path)

    def _who_am_i(self) -> Request:
        return Request(Op.WHO_AM_I)

    def _multi(self) -> Request:
        kinds = [self._create_step, self._delete, self._set_data, self._check]
        if self._random.random() < 0.1:
            kinds.append(self._set_acl)  # it can not be in a multi: Apache's answer is -5
        steps = [self._one_of(kinds)() for _ in range(self._one_of((0, 1, 1, 2, 2, 3, 4)))]
        return Request(Op.MULTI, steps=tuple(steps))

    def _create_step(self) -> Request:
        """A create inside a multi; Apache can not even read the other flags there."""
        mode = self._one_of((0, 0, 0, 1, 1, 2, 3, 4))
        return self._create_numbered() if mode in {2, 3} else self._create_of(mode)

    def _multi_read(self) -> Request:
        steps = [
            Request(self._one_of((Op.GET_DATA, Op.GET_CHILDREN)), self._one_of(_READABLE))
            for _ in range(self._random.randrange(4))
        ]
        return Request(Op.MULTI_READ, steps=tuple(steps))

    def _authenticate(self) -> Request:
        if self._random.random() < 0.15:
            return Request(Op.AUTH, data=b"x", scheme=self._one_of(("nonsense", "world")))
        if self._random.random() < 0.05:
            return Request(Op.AUTH, data=None)
        scheme = "ip" if self._random.random() < 0.1 else "digest"
        return Request(Op.AUTH, data=self._one_of(_CREDENTIALS), scheme=scheme)

    def _add_watch(self) -> Request:
        if self._random.random() < 0.03:
            return Request(Op.ADD_WATCH, "/c", number=9)
        for _ in range(20):
            path = self._one_of((*_READABLE, *_ODD_BELOW))
            if (way := self._way(path)) != _ONE_SHOT:
                self._asked.setdefault(self._slot, []).append(path)
                return Request(Op.ADD_WATCH, path, number=int(way == _RECURSIVE))
        return Request(Op.PING)

    def _remove_watches(self) -> Request:
        kind = 4 if self._random.random() < 0.05 else self._one_of((1, 2, 3, 3))
        asked = self._asked.get(self._slot, [])
        path = self._one_of(asked) if asked and self._random.random() < 0.8 else self._path()
        return Request(Op.REMOVE_WATCHES, path, number=kind)

    def _set_watches(self) -> Request:
        mine = {way: self._ways(way) for way in (_ONE_SHOT, _PERSISTENT, _RECURSIVE)}
        one_shot = [self._some(mine[_ONE_SHOT]) for _ in range(3)]
        since = self._one_of((0, 0, 1, 2, 5, 20))
        if self._random.random() < 0.5:
            return Request(Op.SET_WATCHES, lists=tuple(one_shot), since=since)
        staying = [self._some(mine[_PERSISTENT]), self._some(mine[_RECURSIVE])]
        return Request(Op.SET_WATCHES2, lists=(*one_shot, *staying), since=since)

    def _some(self, paths: list[str]) -> tuple[str, ...]:
        return tuple(self._random.sample(paths, min(len(paths), self._random.randrange(3))))

    def _ways(self, way: str) -> list[str]:
        return [path for path in dict.fromkeys(_READABLE) if self._way(path) == way]

    def _way(self, path: str) -> str:
        """The one way in which the acting slot watches a path."""
        slot = self._slot
        if (slot, path) not in self._watching:
            ways = (_ONE_SHOT, _ONE_SHOT, _ONE_SHOT, _PERSISTENT, _RECURSIVE)
            self._watching[slot, path] = self._one_of(ways)
        return self._watching[slot, path]


_ACTS = (
    *[Act.HANG_UP, Act.REATTACH, Act.CLOSE] * 3,
    Act.REATTACH_WRONG_PASSWORD,
    Act.REATTACH_AHEAD,
)
_REQUESTS: tuple[Callable[[Generator], Request], ...] = (
    *[Generator._create] * 9,
    *[Generator._create_numbered] * 3,
    *[Generator._delete] * 6,
    *[Generator._set_data] * 4,
    *[Generator._read] * 12,
    *[Generator._multi] * 5,
    *[Generator._set_acl] * 2,
    *[Generator._question] * 4,
    *[Generator._add_watch] * 3,
    *[Generator._remove_watches] * 3,
    *[Generator._set_watches] * 2,
    *[Generator._authenticate] * 2,
    Generator._create_other,
    Generator._multi_read,
    Generator._who_am_i,
)
