"""Answers to requests that change no node: reads, and the setting of watches.

Source: `FinalRequestProcessor` and `DataTree.setWatches` of Apache ZooKeeper.

Must never know: time, the journal, how replies are framed.
Limits: `SLICE_WATCHES` set again in a row; `reply_bytes_max`, in which a name counts `CHILD_BYTES_MIN`, refused with
MARSHALLING_ERROR before the reply is built.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, assert_never

from autohealer.zkserver import acl as access
from autohealer.zkserver.limits import CHILD_BYTES_MIN
from autohealer.zkserver.listings import note_names, put_together, size_of
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
    from collections.abc import Iterator

    from autohealer.zkserver.acl import Identities
    from autohealer.zkserver.listings import Piece, Streamed
    from autohealer.zkserver.protocol import Identity
    from autohealer.zkserver.requests import Read
    from autohealer.zkserver.tree import Tree, Znode
    from autohealer.zkserver.watches import Watches


Rearming: TypeAlias = "Iterator[tuple[EventType, str] | None]"

SLICE_WATCHES = 1000
"""Set again within a few milliseconds."""


@dataclass(frozen=True, slots=True)
class Desk:
    """Where one connection's reads are answered."""

    tree: Tree
    watches: Watches
    connection: int
    session_id: int
    identities: Identities
    reply_bytes_max: int

    def answer(self, request: Read) -> bytes | Streamed:  # noqa: PLR0911 - one return per kind of request
        """The body of the reply: what it says is settled, even if it is put together later.

        Raises:
            RefusedError: no such node, no permission, too many watches, or too large a reply.
        """
        match request:
            case Exists():
                return self._exists(request)
            case GetData():
                return self._data(request)
            case GetChildren():
                return put_together(self._children(request))
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

    def set_watches(self, request: SetWatches) -> Rearming:
        """Re-arm what is unchanged since the client last looked; yields the news about the rest, None between slices.

        Each path is looked at when it is its turn, so between two slices the tree may change.

        Raises:
            RefusedError: too many watches.
        """
        for number, (table, path, news) in enumerate(self._rearming(request)):
            if number and number % SLICE_WATCHES == 0:
                yield None
            if news is None:
                self._watch(table, path)
            else:
                yield news, path

    def _rearming(self, request: SetWatches) -> Iterator[tuple[Table, str, EventType | None]]:
        for path in request.data:
            yield Table.DATA, path, _data_news(self.tree.get(path), request.since_zxid)
        for path in request.exist:
            yield Table.DATA, path, None if self.tree.get(path) is None else EventType.CREATED
        for path in request.child:
            yield Table.CHILD, path, _child_news(self.tree.get(path), request.since_zxid)
        for path in request.persistent:
            yield Table.PERSISTENT, path, None
        for path in request.recursive:
            yield Table.RECURSIVE, path, None

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

    def _children(self, request: GetChildren) -> list[Piece]:
        node = self._readable(request.path)
        self._demand_room(
            len(node.children) * CHILD_BYTES_MIN
        )  # before anything is as slow as that
        self._demand_room(4 * len(node.children) + sum(map(len, node.children)))
        if request.watch:
            self._watch(Table.CHILD, request.path)
        names = note_names(node.children)
        self._demand_room(names.size_bytes)
        return [names, pack_stat(node.stat())] if request.wants_stat else [names]

    def _acl(self, path: str) -> bytes:
        node = self._node(path)
        access.demand(node.acl, Perm.READ | Perm.ADMIN, self.identities)
        return pack_acl(access.shown_to(node.acl, self.identities)) + pack_stat(node.stat())

    def _ephemerals(self, prefix: str) -> bytes:
        owned = self.tree.ephemerals_of(self.session_id)
        wanted = "" if prefix.strip() == ROOT else prefix
        return pack_texts(path for path in owned if path.startswith(wanted))

    def _multi(self, request: MultiRead) -> bytes | Streamed:
        pieces: list[Piece] = []
        size_bytes = 0
        for step in request.steps:
            names_bytes = self._names_bytes(step)
            self._demand_room(size_bytes + names_bytes)
            result = self._multi_step(step)
            size_bytes += max(sum(map(size_of, result)), names_bytes)
            self._demand_room(size_bytes)
            pieces += result
        return put_together([*pieces, MULTI_END])

    def _names_bytes(self, step: GetData | GetChildren) -> int:
        node = self.tree.get(step.path) if isinstance(step, GetChildren) else None
        return 0 if node is None else len(node.children) * CHILD_BYTES_MIN

    def _demand_room(self, size_bytes: int) -> None:
        if size_bytes > self.reply_bytes_max:
            raise RefusedError(Code.MARSHALLING_ERROR)

    def _multi_step(self, step: GetData | GetChildren) -> list[Piece]:
        try:
            if isinstance(step, GetData):
                return [pack_step(Op.GET_DATA, self._data(step))]
            return [pack_step(Op.GET_CHILDREN, b""), *self._children(step)]
        except RefusedError as refusal:
            if refusal.code is Code.MARSHALLING_ERROR:
                raise  # what does not fit alone does not fit here; each try would cost as much
            return [pack_step_error(refusal.code)]

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
