"""The numbers and plain values of the ZooKeeper protocol.

Sources: `ZooDefs`, `KeeperException.Code`, `CreateMode` and `zookeeper.jute` of Apache ZooKeeper 3.8.

Must never know: bytes on the wire (`wire`), the tree, sessions.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

ANY_VERSION = -1
WATCH_XID = -1

CONTAINER_OWNER = -(1 << 63)
"""How a container node is marked in `ephemeralOwner` (`EphemeralType`); clients are shown 0."""


class Op(IntEnum):
    """Request types this server answers."""

    CREATE = 1
    DELETE = 2
    EXISTS = 3
    GET_DATA = 4
    SET_DATA = 5
    GET_ACL = 6
    SET_ACL = 7
    GET_CHILDREN = 8
    SYNC = 9
    PING = 11
    GET_CHILDREN2 = 12
    CHECK = 13
    MULTI = 14
    CREATE2 = 15
    CHECK_WATCHES = 17
    REMOVE_WATCHES = 18
    CREATE_CONTAINER = 19
    CREATE_TTL = 21
    MULTI_READ = 22
    AUTH = 100
    SET_WATCHES = 101
    GET_EPHEMERALS = 103
    COUNT_DESCENDANTS = 104
    SET_WATCHES2 = 105
    ADD_WATCH = 106
    WHO_AM_I = 107
    CLOSE_SESSION = -11
    ERROR = -1


class Code(IntEnum):
    """Result codes a reply may carry."""

    OK = 0
    SYSTEM_ERROR = -1
    RUNTIME_INCONSISTENCY = -2
    MARSHALLING_ERROR = -5
    UNIMPLEMENTED = -6
    BAD_ARGUMENTS = -8
    NO_NODE = -101
    NO_AUTH = -102
    BAD_VERSION = -103
    NO_CHILDREN_FOR_EPHEMERALS = -108
    NODE_EXISTS = -110
    NOT_EMPTY = -111
    INVALID_ACL = -114
    AUTH_FAILED = -115
    NO_WATCHER = -121
    QUOTA_EXCEEDED = -125
    THROTTLED = -127


class EventType(IntEnum):
    """What a watch event reports."""

    CREATED = 1
    DELETED = 2
    DATA_CHANGED = 3
    CHILDREN_CHANGED = 4


class CreateMode(IntEnum):
    """The flags of a create request."""

    PERSISTENT = 0
    EPHEMERAL = 1
    PERSISTENT_SEQUENTIAL = 2
    EPHEMERAL_SEQUENTIAL = 3
    CONTAINER = 4
    TTL = 5
    TTL_SEQUENTIAL = 6

    @property
    def is_sequential(self) -> bool:
        """Whether the server appends a sequence number to the name."""
        return self in _SEQUENTIAL

    @property
    def is_ephemeral(self) -> bool:
        """Whether the node dies with its session."""
        return self in _EPHEMERAL

    @property
    def is_ttl(self) -> bool:
        """Whether the node has a time to live (off in Apache unless asked for, and here)."""
        return self in _TTL


_SEQUENTIAL = (
    CreateMode.PERSISTENT_SEQUENTIAL,
    CreateMode.EPHEMERAL_SEQUENTIAL,
    CreateMode.TTL_SEQUENTIAL,
)
_EPHEMERAL = (CreateMode.EPHEMERAL, CreateMode.EPHEMERAL_SEQUENTIAL)
_TTL = (CreateMode.TTL, CreateMode.TTL_SEQUENTIAL)


class Perm(IntEnum):
    """Bits of an ACL entry's permissions."""

    READ = 1
    WRITE = 2
    CREATE = 4
    DELETE = 8
    ADMIN = 16


ALL_PERMS = 31


class WatcherKind(IntEnum):
    """Which watches checkWatches and removeWatches mean (`Watcher.WatcherType`)."""

    CHILDREN = 1
    DATA = 2
    ANY = 3


class AddWatchMode(IntEnum):
    """How an addWatch request watches."""

    PERSISTENT = 0
    PERSISTENT_RECURSIVE = 1


class Identity(NamedTuple):
    """Who a connection has proven to be."""

    scheme: str
    id: str


class Acl(NamedTuple):
    """One entry of an access control list."""

    perms: int
    scheme: str
    id: str


OPEN_ACL = (Acl(ALL_PERMS, "world", "anyone"),)
READ_ACL = (Acl(Perm.READ, "world", "anyone"),)


class Stat(NamedTuple):
    """A node's metadata in wire order; times in milliseconds since 1970."""

    czxid: int
    mzxid: int
    ctime_ms: int
    mtime_ms: int
    version: int
    cversion: int
    aversion: int
    ephemeral_owner: int
    data_bytes: int
    child_count: int
    pzxid: int


class RefusedError(Exception):
    """A request that is answered with an error code; nothing was changed."""

    def __init__(self, code: Code) -> None:
        super().__init__(code.name)
        self.code = code


class MalformedError(Exception):
    """Bytes that are not the protocol: the connection they came from is dropped, nothing else."""
