"""What may be set on the embedded server; every default with its unit and its reason.

Must never know: how the values are given (command line, file) or used.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

LIMITS = (
    "frame_bytes_max",
    "reply_bytes_max",
    "event_bytes_max",
    "unsent_bytes_max",
    "buffered_bytes_max",
    "connections_max",
    "sessions_max",
    "watches_max",
    "watch_bytes_max",
    "kept_bytes_max",
    "tree_bytes_max",
)
"""What a client can run into; each can be set on the command line."""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Settings of one server; all times in milliseconds, all sizes in bytes.

    Raises:
        ValueError: a value no server can run with; the message is one sentence.
    """

    data_dir: Path
    """Where the journal lives; one server per directory."""

    log: Path | None = None
    """Where it logs, with one older file of a mebibyte at most; None means standard error, unbounded."""

    host: str = "127.0.0.1"
    """Loopback: there is no TLS here, and more than one machine calls for an ensemble."""

    port: int = 2181
    """Where every ZooKeeper client looks first. 0 lets the system choose (tests)."""

    open_to_all: bool = False
    """Off: only the server's own user and root get anything, because whoever gets in can end every worker."""

    tick_ms: int = 500
    """Sessions expire on multiples of it: a quarter of Apache's, so that deaths show sooner."""

    session_timeout_min_ms: int | None = None
    """None means two ticks, as in Apache: one lost ping must not cost a session."""

    session_timeout_max_ms: int = 60_000
    """Apache's 20 ticks would be 10 s at our tick and cut what clients on Apache's own tick get (40 s)."""

    handshake_timeout_ms: int = 10_000
    """A connection that opens no session is closed after this, as in Apache."""

    frame_bytes_max: int = 1_048_575
    """Apache's jute.maxbuffer: what would not fit there must fail here too."""

    reply_bytes_max: int = 8_388_608
    """Eight times what Apache's own client takes, and built in a few dozen ms; kazoo takes any size."""

    event_bytes_max: int = 71_303_168
    """Events of one transaction to all. A connection is dropped for it only above its equal share, 4,352 bytes: one
    event of the longest path reaches everybody."""

    unsent_bytes_max: int = 16_777_216
    """A client that does not read is dropped here: twice the largest reply."""

    buffered_bytes_max: int = 134_217_728
    """For all clients' waiting requests and unread replies; whoever holds the most is closed beyond it.
    A hundred clients may each be in the middle of a largest request."""

    connections_max: int = 16_384
    """The 10,000 workers one daemon keeps, and half as many others. The limit on open files may be lower."""

    sessions_max: int = 65_536
    """Four per connection: sessions outlive the connections of crashed clients by a timeout."""

    watches_max: int = 500_000
    """A leak in a client shows as an error there before memory runs out."""

    watch_bytes_max: int = 33_554_432
    """Of one connection, about 50,000 watches; more is a leak in a client."""

    kept_bytes_max: int = 268_435_456
    """Watches and proven identities of all clients together: as many watches as are allowed, of ordinary paths."""

    tree_bytes_max: int = 536_870_912
    """Memory the nodes may take, roughly; what would grow the tree further is refused, deleting is not."""

    container_check_ms: int = 60_000
    """How long an emptied container node stays, as in Apache's `ContainerManager`."""

    journal_bytes_min: int = 8_388_608
    """Appended bytes before the journal is rewritten; small states are rewritten in a few ms."""

    fsync: bool = False
    """Off: survives kill -9 of the server, not a power cut, in which the workers die as well."""

    super_digest: str | None = None
    """`super:<base64 sha1>` of an account that passes every ACL; none unless given."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise ValueError(f"the port must be 0 to 65535, not {self.port}")
        if self.tick_ms < 1:
            raise ValueError(f"the tick must be 1 ms or more, not {self.tick_ms}")
        for limit in LIMITS:
            if getattr(self, limit) < 1:
                raise ValueError(f"{limit} must be 1 or more, not {getattr(self, limit)}")
        if self.session_timeout_floor_ms > self.session_timeout_max_ms:
            raise ValueError(f"a tick of {self.tick_ms} ms leaves no room for session timeouts")

    @property
    def session_timeout_floor_ms(self) -> int:
        """The shortest session timeout granted, in milliseconds."""
        return self.session_timeout_min_ms or 2 * self.tick_ms
