"""From what a client asks to the changes it gets: every check a write must pass.

Theory of operation. A draft is the tree as it would be after the steps accepted so far, kept as facts
laid over it (`PrepRequestProcessor` calls them outstanding changes). So a multi's later steps see its
earlier ones, and dropping the draft undoes nothing because nothing was done.

The order of the checks is Apache's, since clients see which one fails first.

Must never know: zxids, time, the journal, replies.
Limits: `EPHEMERAL_BYTES_MAX`, refused with QUOTA_EXCEEDED; `REQUEST_ACL_ENTRIES_MAX`, refused with
INVALID_ACL.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, assert_never

from autohealer.zkserver import acl as access
from autohealer.zkserver.limits import (
    EPHEMERAL_BYTES_MAX,
    REQUEST_ACL_ENTRIES_MAX,
)
from autohealer.zkserver.paths import RESERVED, ROOT, check_path, parent_of
from autohealer.zkserver.protocol import (
    ANY_VERSION,
    CONTAINER_OWNER,
    Acl,
    Code,
    CreateMode,
    Perm,
    RefusedError,
)
from autohealer.zkserver.requests import Check, Create, Delete, SetAcl, SetData
from autohealer.zkserver.tree import ephemeral_bytes
from autohealer.zkserver.txn import CheckedNode, CreateNode, DeleteNode, SetNodeAcl, SetNodeData
from autohealer.zkserver.wire import wrap_int32

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autohealer.zkserver.acl import Identities
    from autohealer.zkserver.requests import WriteStep
    from autohealer.zkserver.tree import Tree
    from autohealer.zkserver.txn import NodeChange


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the checks need to know of a node."""

    acl: tuple[Acl, ...]
    owner: int = 0
    version: int = 0
    aversion: int = 0
    creates: int = 0
    child_count: int = 0


class Draft:
    """Collects the changes of one request."""

    def __init__(self, tree: Tree, session_id: int, identities: Identities) -> None:
        self._tree = tree
        self._session_id = session_id
        self._identities = identities
        self._overlay: dict[str, _Facts | None] = {}
        self._acl_entries = 0
        self._ephemeral_bytes = 0
        self.changes: list[NodeChange] = []

    def add(self, step: WriteStep) -> None:
        """Accept one step.

        Raises:
            RefusedError: it may not be done; the draft is as it was.
        """
        match step:
            case Create():
                self._create(step)
            case Delete():
                self._delete(step)
            case SetData():
                self._set_data(step)
            case SetAcl():
                self._set_acl(step)
            case Check():
                self._check(step)
            case _:
                assert_never(step)

    def _create(self, step: Create) -> None:
        mode = _create_mode(step.mode)
        parent_path = parent_of(step.path)
        acl = self._expand(step.acl)
        parent = self._facts(parent_path)
        self._demand(parent, Perm.CREATE)
        path = f"{step.path}{parent.creates:010d}" if mode.is_sequential else step.path
        check_path(path)
        if self._find(path) is not None:
            raise RefusedError(Code.NODE_EXISTS)
        if parent.owner > 0:
            raise RefusedError(Code.NO_CHILDREN_FOR_EPHEMERALS)
        owner = self._owner_for(mode)
        if owner > 0:
            self._weigh_ephemeral(path)
        creates = wrap_int32(parent.creates + 1)
        self._overlay[parent_path] = replace(
            parent, creates=creates, child_count=parent.child_count + 1
        )
        self._overlay[path] = _Facts(acl, owner)
        self.changes.append(CreateNode(path, step.data, acl, owner, creates))

    def _delete(self, step: Delete) -> None:
        parent_path = parent_of(step.path)
        if step.path in RESERVED:
            raise RefusedError(Code.BAD_ARGUMENTS)
        parent = self._facts(parent_path)
        self._demand(parent, Perm.DELETE)
        node = self._facts(step.path)
        _demand_version(step.version, node.version)
        if node.child_count > 0:
            raise RefusedError(Code.NOT_EMPTY)
        parent = self._facts(parent_path)
        self._overlay[parent_path] = replace(parent, child_count=parent.child_count - 1)
        self._overlay[step.path] = None
        self.changes.append(DeleteNode(step.path))

    def _set_data(self, step: SetData) -> None:
        check_path(step.path)
        node = self._facts(step.path)
        self._demand(node, Perm.WRITE)
        _demand_version(step.version, node.version)
        version = wrap_int32(node.version + 1)
        self._overlay[step.path] = replace(node, version=version)
        self.changes.append(SetNodeData(step.path, step.data, version))

    def _set_acl(self, step: SetAcl) -> None:
        check_path(step.path)
        acl = self._expand(step.acl)
        node = self._facts(step.path)
        self._demand(node, Perm.ADMIN)
        _demand_version(step.version, node.aversion)
        aversion = wrap_int32(node.aversion + 1)
        self._overlay[step.path] = replace(node, acl=acl, aversion=aversion)
        self.changes.append(SetNodeAcl(step.path, acl, aversion))

    def _check(self, step: Check) -> None:
        check_path(step.path)
        node = self._facts(step.path)
        self._demand(node, Perm.READ)
        _demand_version(step.version, node.version)
        self.changes.append(CheckedNode(step.path))

    def _owner_for(self, mode: CreateMode) -> int:
        if mode is CreateMode.CONTAINER:
            return CONTAINER_OWNER
        return self._session_id if mode.is_ephemeral else 0

    def _expand(self, wanted: Sequence[Acl]) -> tuple[Acl, ...]:
        if self._acl_entries + len(wanted) > REQUEST_ACL_ENTRIES_MAX:
            raise RefusedError(Code.INVALID_ACL)
        acl = access.expand(wanted, self._identities)
        self._acl_entries += len(acl)
        return acl

    def _weigh_ephemeral(self, path: str) -> None:
        self._ephemeral_bytes += ephemeral_bytes(path)
        owned_bytes = self._tree.ephemeral_bytes_of(self._session_id)
        if owned_bytes + self._ephemeral_bytes > EPHEMERAL_BYTES_MAX:
            raise RefusedError(Code.QUOTA_EXCEEDED)

    def _demand(self, facts: _Facts, perms: int) -> None:
        access.demand(facts.acl, perms, self._identities)

    def _facts(self, path: str) -> _Facts:
        facts = self._find(path)
        if facts is None:
            raise RefusedError(Code.NO_NODE)
        return facts

    def _find(self, path: str) -> _Facts | None:
        path = path or ROOT
        if path in self._overlay:
            return self._overlay[path]
        node = self._tree.get(path)
        if node is None:
            return None
        return _Facts(
            node.acl, node.owner, node.version, node.aversion, node.creates, len(node.children)
        )


def _create_mode(flags: int) -> CreateMode:
    try:
        mode = CreateMode(flags)
    except ValueError as error:
        raise RefusedError(Code.BAD_ARGUMENTS) from error
    if mode.is_ttl:
        raise RefusedError(Code.UNIMPLEMENTED)
    return mode


def _demand_version(wanted: int, actual: int) -> None:
    if wanted not in {ANY_VERSION, actual}:
        raise RefusedError(Code.BAD_VERSION)
