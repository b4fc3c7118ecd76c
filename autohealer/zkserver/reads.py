"""Answers to requests that change no node: reads, and the setting of watches.

Source: `FinalRequestProcessor` and `DataTree.setWatches` of Apache ZooKeeper.

Must never know: time, the journal, how replies are framed.
Limits: `reply_bytes_max`, in which a name counts `CHILD_BYTES_MIN`; refused with MARSHALLING_ERROR before
the reply is built.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

from autohealer.zkserver import acl as access
from autohealer.zkserver.limits import CHILD_BYTES_MIN
from autohealer.zkserver.paths import ROOT
from autohealer.zkserver.protocol import (
    AddWatchMode,
    Code,
    EventType,
    Op,
    Perm,
    RefusedError,
)
from autohealer.zkserver.replies import MULTI_END, pack_step, pack_step_error
from autohealer.zkserver.requests import (
    AddWatch,
    ChangeWatches,
    CountDescendants,
    Exists,
    GetAcl,
    GetChildren,
    GetData,
    GetEphemerals,
    MultiRead,
    SetWatches,
    Sync,
    WhoAmI,
)
from autohealer.zkserver.watches import Table
from autohealer.zkserver.wire import (
    pack_acl,
    pack_buffer,
    pack_int,
    pack_stat,
    pack_text,
    pack_texts,
    pack_vector,
)

if TYPE_CHECKING:
    from autohealer.zkserver.acl import Identities
    from autohealer.zkserver.protocol import Identity
    from autohealer.zkserver.requests import Read
    from autohealer.zkserver.tree import Tree, Znode
    from autohealer.zkserver.watches import Watches


@dataclass(frozen=True, slots=True)
class Desk:
    """Where one connection's reads are answered."""

    tree: Tree
    watches: Watches
    connection: int
    session_id: int
    identities: Identities
    reply_bytes_max: int

    def answer(self, request: Read) -> bytes:  # noqa: PLR0911 - one return per kind of request
        """The body of the reply.

        Raises:
            RefusedError: no such node, no permission, too many watches, or too large a reply.
        """
        match request:
            case Exists():
                return self._exists(request)
            case GetData():
                return self._data(request)
            case GetChildren():
                return self._children(request)
            case GetAcl():
                return self._acl(request.path)
            case Sync():
                return pack_text(request.path)
            case GetEphemerals():
                return self._ephemerals(request.prefix)
            case CountDescendants():
                self._readable(request.path)
                return pack_int(self.tree.count_descendants(request.path))
            case MultiRead():
                return self._multi(request)
            case WhoAmI():
                return pack_vector(map(_pack_identity, self.identities))
            case _:
                assert_never(request)

    def change_watches(self, request: ChangeWatches) -> bytes:
        """Look for a watch, or remove it.

        Raises:
            RefusedError: NO_WATCHER.
        """
        act = self.watches.remove if request.remove else self.watches.has
        if not act(request.kind, request.path or ROOT, self.connection):
            raise RefusedError(Code.NO_WATCHER)
        return b""

    def add_watch(self, request: AddWatch) -> bytes:
        """Set a watch that stays, on any path, even one no node can have; the body is an error code of 0."""
        recursive = request.mode is AddWatchMode.PERSISTENT_RECURSIVE
        self._watch(Table.RECURSIVE if recursive else Table.PERSISTENT, request.path)
        return pack_int(Code.OK)

    def set_watches(self, request: SetWatches) -> list[tuple[EventType, str]]:
        """Re-arm what is still unchanged since the client last looked; returns the news about the rest."""
        missed: list[tuple[EventType, str]] = []
        for path in request.data:
            node = self.tree.get(path)
            missed += self._rearm(Table.DATA, path, _data_news(node, request.since_zxid))
        for path in request.exist:
            created = EventType.CREATED if self.tree.get(path) is not None else None
            missed += self._rearm(Table.DATA, path, created)
        for path in request.child:
            node = self.tree.get(path)
            missed += self._rearm(Table.CHILD, path, _child_news(node, request.since_zxid))
        for path in request.persistent:
            self._watch(Table.PERSISTENT, path)
        for path in request.recursive:
            self._watch(Table.RECURSIVE, path)
        return missed

    def _rearm(
        self, table: Table, path: str, news: EventType | None
    ) -> list[tuple[EventType, str]]:
        if news is not None:
            return [(news, path)]
        self._watch(table, path)
        return []

    def _exists(self, request: Exists) -> bytes:
        if "\0" in request.path:
            raise RefusedError(Code.BAD_ARGUMENTS)
        if request.watch:
            self._watch(Table.DATA, request.path)
        node = self.tree.get(request.path)
        if node is None:
            raise RefusedError(Code.NO_NODE)
        return pack_stat(node.stat())

    def _data(self, request: GetData) -> bytes:
        node = self._readable(request.path)
        if request.watch:
            self._watch(Table.DATA, request.path)
        return pack_buffer(node.data) + pack_stat(node.stat())

    def _children(self, request: GetChildren) -> bytes:
        node = self._readable(request.path)
        self._demand_room(
            len(node.children) * CHILD_BYTES_MIN
        )  # before anything is as slow as that
        self._demand_room(4 * len(node.children) + sum(map(len, node.children)))
        if request.watch:
            self._watch(Table.CHILD, request.path)
        names = pack_texts(node.children)
        return names + pack_stat(node.stat()) if request.wants_stat else names

    def _acl(self, path: str) -> bytes:
        node = self._node(path)
        access.demand(node.acl, Perm.READ | Perm.ADMIN, self.identities)
        return pack_acl(access.shown_to(node.acl, self.identities)) + pack_stat(node.stat())

    def _ephemerals(self, prefix: str) -> bytes:
        owned = self.tree.ephemerals_of(self.session_id)
        wanted = "" if prefix.strip() == ROOT else prefix
        return pack_texts(path for path in owned if path.startswith(wanted))

    def _multi(self, request: MultiRead) -> bytes:
        results: list[bytes] = []
        size_bytes = 0
        for step in request.steps:
            names_bytes = self._names_bytes(step)
            self._demand_room(size_bytes + names_bytes)
            result = self._multi_step(step)
            size_bytes += max(len(result), names_bytes)
            self._demand_room(size_bytes)
            results.append(result)
        return b"".join((*results, MULTI_END))

    def _names_bytes(self, step: GetData | GetChildren) -> int:
        node = self.tree.get(step.path) if isinstance(step, GetChildren) else None
        return 0 if node is None else len(node.children) * CHILD_BYTES_MIN

    def _demand_room(self, size_bytes: int) -> None:
        if size_bytes > self.reply_bytes_max:
            raise RefusedError(Code.MARSHALLING_ERROR)

    def _multi_step(self, step: GetData | GetChildren) -> bytes:
        try:
            body = self.answer(step)
        except RefusedError as refusal:
            if refusal.code is Code.MARSHALLING_ERROR:
                raise  # what does not fit alone does not fit here; each try would cost as much
            return pack_step_error(refusal.code)
        return pack_step(Op.GET_DATA if isinstance(step, GetData) else Op.GET_CHILDREN, body)

    def _watch(self, table: Table, path: str) -> None:
        self.watches.add(table, path or ROOT, self.connection)

    def _readable(self, path: str) -> Znode:
        node = self._node(path)
        access.demand(node.acl, Perm.READ, self.identities)
        return node

    def _node(self, path: str) -> Znode:
        node = self.tree.get(path)
        if node is None:
            raise RefusedError(Code.NO_NODE)
        return node


def _data_news(node: Znode | None, since_zxid: int) -> EventType | None:
    if node is None:
        return EventType.DELETED
    return EventType.DATA_CHANGED if node.mzxid > since_zxid else None


def _child_news(node: Znode | None, since_zxid: int) -> EventType | None:
    if node is None:
        return EventType.DELETED
    return EventType.CHILDREN_CHANGED if node.pzxid > since_zxid else None


def _pack_identity(identity: Identity) -> bytes:
    user = identity.id.partition(":")[0] if identity.scheme == "digest" else identity.id
    return pack_text(identity.scheme) + pack_text(user)
