"""One worker's claim on its znode: the calls to ZooKeeper that make it, keep it and give it up to siblings.

Theory of operation. The znode's name is this incarnation's own, so creating it is idempotent: a
create whose outcome is unknown is tried again. What stands there already is looked at before anything
is done to it:

- our session's: it was made by a create whose answer was lost;
- a living sibling's, another process of the same worker: the slot is registered, and this process
  stands by. A watch tells it when that registration goes, and it takes over at once;
- anything else is our own past, a dead sibling's or a squatter's, and is deleted, in the version that
  was looked at. What cannot be deleted is in the way (`InTheWayError`).

The parent is looked at with a watch before the znode is created. When it was deleted, or is another
one than it was, then the znode went with it. That is no judgement on this worker, and it registers
again; one znode deleted by hand is one, and stays away.

Must never know: threads, connections that come and go, when to try again.

Limits: every call has a deadline, because kazoo queues calls made without a connection and would
wait for ever. Errors are kazoo's own. Looking for a successor lists all of `/workers`.
"""

from __future__ import annotations

from enum import Enum

from kazoo.exceptions import BadVersionError, NoAuthError, NodeExistsError, NoNodeError

from autohealer import contract
from autohealer.worker.siblings import is_living_sibling, is_successor

TYPE_CHECKING = False  # what `typing` says too, and importing it would cost 2 ms
if TYPE_CHECKING:
    from collections.abc import Callable

    from kazoo.client import KazooClient

    from autohealer.worker.identity import Identity

CALL_WITHIN_S = 2.0
TRIES_AT_ONCE = 4
"""A missing parent, a znode of our past and a change under our eyes each cost one more try."""


class Hold(Enum):
    """Who holds the znode."""

    OURS = "ours"
    SIBLINGS = "a sibling's"


class InTheWayError(Exception):
    """The znode is somebody else's and comes back as often as it is deleted."""


class Claim:
    """The znode of one worker, seen by one of its processes; `changed` is called when it is time to look again."""

    def __init__(
        self, client: KazooClient, identity: Identity, changed: Callable[[], None]
    ) -> None:
        self.record = identity.record
        self.neighbours = 0
        self._client = client
        self._me = identity
        self._path = identity.path
        self._parent = identity.path.rpartition("/")[0] or "/"
        self._changed = changed
        self._parent_born = 0
        self._written = b""

    def stake(self) -> Hold:
        """Be registered, or find that a sibling is. Raises `KazooException`, `KazooTimeoutError`, `InTheWayError`."""
        for _ in range(TRIES_AT_ONCE):
            if (hold := self._try()) is not None:
                return hold
        raise InTheWayError("it comes back as often as it is deleted")

    def is_wiped(self) -> bool:
        """Whether the parent was deleted since the znode was made, even if it is back. Raises as `stake`."""
        parent = self._client.exists_async(self._parent, self._watched).get(timeout=CALL_WITHIN_S)
        if parent is None or parent.czxid != self._parent_born:
            return True
        self.neighbours = parent.numChildren
        return False

    def publish(self) -> None:
        """Write the record if it has changed; a znode that is not there stays away. Raises as `stake`."""
        data = contract.encode_record(self.record)
        if data == self._written:
            return
        try:
            self._client.set_async(self._path, data).get(timeout=CALL_WITHIN_S)
        except NoNodeError:
            return  # somebody deleted it, and meant it
        self._written = data

    def successor(self) -> contract.ZnodeName | None:
        """Find a newer incarnation of our slot, which only a new session can hide. Raises as `stake`."""
        mine = self._me.incarnation
        if mine is None:
            return None
        try:
            names = self._client.get_children_async(self._parent).get(timeout=CALL_WITHIN_S)
        except NoNodeError:
            return None
        for other in filter(None, map(contract.parse_znode_name, names)):
            is_same_slot = (other.group, other.slot) == (mine.group, mine.slot)
            if is_same_slot and other.generation > mine.generation and self._succeeds(other):
                return other
        return None

    def _succeeds(self, other: contract.ZnodeName) -> bool:
        try:
            raw, _ = self._client.get_async(f"{self._parent.rstrip('/')}/{other}").get(
                timeout=CALL_WITHIN_S
            )
            return is_successor(contract.decode_record(raw), self.record)
        except (NoNodeError, NoAuthError, contract.RecordError):
            return False  # gone meanwhile, or not a worker that one of ours could be

    def _try(self) -> Hold | None:
        """Try once; None when what stood in the way is gone and it is worth another try."""
        looked = self._client.exists_async(self._parent, self._watched)
        data = contract.encode_record(self.record)
        made = self._client.create_async(self._path, data, ephemeral=True)
        parent = looked.get(timeout=CALL_WITHIN_S)
        self._parent_born = 0 if parent is None else parent.czxid
        self.neighbours = 0 if parent is None else parent.numChildren
        try:
            made.get(timeout=CALL_WITHIN_S)
        except NoNodeError:
            self._create_parent()
            return None
        except NodeExistsError:
            return self._meet()
        self._written = data
        return Hold.OURS

    def _create_parent(self) -> None:
        try:
            self._client.create_async(self._parent, makepath=True).get(timeout=CALL_WITHIN_S)
        except NodeExistsError:
            return  # another worker was faster

    def _meet(self) -> Hold | None:
        """Find out what stands there; None when it is gone."""
        found = self._client.exists_async(self._path, self._watched).get(timeout=CALL_WITHIN_S)
        session = self._client.client_id
        if found is None or session is None:
            return None
        raw = self._data()
        if found.ephemeralOwner == session[0]:
            self._written = raw
            return Hold.OURS
        if found.ephemeralOwner and is_living_sibling(raw, self._me):
            return Hold.SIBLINGS
        try:
            self._client.delete_async(self._path, version=found.version).get(timeout=CALL_WITHIN_S)
        except (NoNodeError, BadVersionError):
            return None  # it went, or changed, by itself
        return None

    def _data(self) -> bytes:
        try:
            raw, _ = self._client.get_async(self._path).get(timeout=CALL_WITHIN_S)
        except (NoNodeError, NoAuthError):
            return b""
        return raw  # type: ignore[no-any-return]

    def _watched(self, _event: object) -> None:
        """On kazoo's callback thread."""
        self._changed()
