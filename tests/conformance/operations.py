"""What the differential fuzzer can do to a server: plain values that encode and describe themselves.

Theory of operation. A run is a list of actions, each by one of a few sessions ("slots"). Values, not
bytes: so that the same list can be sent to two servers under different roots, be printed for a
reader, and be shortened. A path is below the root of its run, unless it starts with `!`: then what
follows goes out as it is.

Must never know: seeds, sockets, what a server answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from autohealer.zkserver.acl import digest_of
from autohealer.zkserver.protocol import OPEN_ACL, READ_ACL, Acl, CreateMode, Op
from autohealer.zkserver.wire import (
    pack_acl,
    pack_bool,
    pack_buffer,
    pack_int,
    pack_long,
    pack_text,
    pack_texts,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

MULTI_END = pack_int(-1) + b"\1" + pack_int(-1)
FIXED_XIDS: Mapping[Op, int] = {Op.PING: -2, Op.AUTH: -4, Op.SET_WATCHES: -8, Op.SET_WATCHES2: -8}

_OF_U = digest_of("u:p")
_OF_V = digest_of("v:q")
ACLS: dict[str, tuple[Acl, ...]] = {
    "open": OPEN_ACL,
    "read": READ_ACL,
    "creator": (Acl(31, "auth", ""),),
    "only-u": (Acl(31, "digest", _OF_U),),
    "v-reads": (Acl(31, "digest", _OF_U), Acl(1, "digest", _OF_V)),
    "no-read": (Acl(30, "world", "anyone"),),
    "no-admin": (Acl(15, "world", "anyone"), Acl(31, "digest", _OF_V)),
    "here": (Acl(31, "ip", "127.0.0.1"), Acl(1, "world", "anyone")),
    "elsewhere": (Acl(27, "ip", "10.0.0.0/8"), Acl(16, "world", "anyone")),
    "twice": (Acl(31, "world", "anyone"), Acl(31, "world", "anyone")),
    "nonsense": (Acl(31, "nonsense", "x"),),
    "bad-ip": (Acl(31, "ip", "300.1.1.1"),),
    "bad-digest": (Acl(31, "digest", "nocolon"),),
    "empty": (),
}
"""Access control lists by the name a transcript shows."""


class Act(Enum):
    """What a slot does."""

    REQUEST = "request"
    HANG_UP = "hang up"
    REATTACH = "reattach"
    REATTACH_WRONG_PASSWORD = "reattach with a wrong password"
    REATTACH_AHEAD = "reattach from a newer server"
    CLOSE = "close the session"


@dataclass(frozen=True, slots=True)
class Request:
    """One request; only the fields its type has are used."""

    op: Op
    path: str = ""
    data: bytes | None = None
    acl: str = "open"
    number: int = -1
    """The version, the flags of a create, the kind of a watch or its mode: the int at the end."""
    watch: bool = False
    steps: tuple[Request, ...] = ()
    lists: tuple[tuple[str, ...], ...] = ()
    since: int = 0
    """How many zxids before the last one a setWatches looks back."""
    scheme: str = "digest"
    cut_bytes: int = 0
    """How many bytes are missing at the end."""

    def body(self, root: str, last_zxid: int) -> bytes:
        """The bytes after the request's header."""
        whole = self._whole(root, last_zxid)
        return whole[: max(len(whole) - self.cut_bytes, 0)]

    def _whole(self, root: str, last_zxid: int) -> bytes:  # noqa: PLR0911 - one return per layout
        path = pack_text(absolute(root, self.path))
        match self.op:
            case Op.CREATE | Op.CREATE2 | Op.CREATE_CONTAINER | Op.CREATE_TTL:
                acl = pack_acl(ACLS[self.acl])
                ttl = pack_long(60_000) if self.op is Op.CREATE_TTL else b""
                return path + pack_buffer(self.data) + acl + pack_int(self.number) + ttl
            case Op.DELETE | Op.CHECK | Op.REMOVE_WATCHES | Op.ADD_WATCH:
                return path + pack_int(self.number)
            case Op.SET_DATA:
                return path + pack_buffer(self.data) + pack_int(self.number)
            case Op.SET_ACL:
                return path + pack_acl(ACLS[self.acl]) + pack_int(self.number)
            case Op.EXISTS | Op.GET_DATA | Op.GET_CHILDREN | Op.GET_CHILDREN2:
                return path + pack_bool(self.watch)
            case Op.MULTI | Op.MULTI_READ:
                return b"".join(step._as_step(root, last_zxid) for step in self.steps) + MULTI_END
            case Op.AUTH:
                return pack_int(0) + pack_text(self.scheme) + pack_buffer(self.data)
            case Op.SET_WATCHES | Op.SET_WATCHES2:
                paths = ([absolute(root, path) for path in some] for some in self.lists)
                return pack_long(last_zxid - self.since) + b"".join(map(pack_texts, paths))
            case Op.PING | Op.WHO_AM_I | Op.CLOSE_SESSION:
                return b""
            case _:
                return path

    def text(self) -> str:
        """The request for a reader."""
        cut = [f"(without the last {self.cut_bytes} bytes)"] if self.cut_bytes else []
        return " ".join([self.op.name.lower(), *self._words(), *cut])

    def _as_step(self, root: str, last_zxid: int) -> bytes:
        return pack_int(self.op) + b"\0" + pack_int(-1) + self.body(root, last_zxid)

    def _words(self) -> list[str]:  # noqa: PLR0911 - one return per layout
        path = self.path or "."
        match self.op:
            case Op.CREATE | Op.CREATE2 | Op.CREATE_CONTAINER | Op.CREATE_TTL:
                known = self.number in set(CreateMode)
                mode = CreateMode(self.number).name.lower() if known else str(self.number)
                return [path, mode, f"acl={self.acl}", f"data={self.data!r}"]
            case Op.DELETE | Op.CHECK | Op.REMOVE_WATCHES | Op.ADD_WATCH:
                return [path, str(self.number)]
            case Op.SET_DATA:
                return [path, f"data={self.data!r}", str(self.number)]
            case Op.SET_ACL:
                return [path, f"acl={self.acl}", str(self.number)]
            case Op.EXISTS | Op.GET_DATA | Op.GET_CHILDREN | Op.GET_CHILDREN2:
                return [path, *(["and watch"] if self.watch else [])]
            case Op.MULTI | Op.MULTI_READ:
                return ["[" + "; ".join(step.text() for step in self.steps) + "]"]
            case Op.AUTH:
                return [self.scheme, repr(self.data)]
            case Op.SET_WATCHES | Op.SET_WATCHES2:
                return [f"{self.since} zxids back", *(str(list(some)) for some in self.lists)]
            case _:
                return [path]


@dataclass(frozen=True, slots=True)
class Action:
    """One step of a run."""

    slot: int
    act: Act = Act.REQUEST
    request: Request | None = None
    is_pipelined: bool = False
    """Sent without waiting for the answer, when the same slot's next request follows."""

    def text(self) -> str:
        """The action for a reader."""
        what = self.act.value if self.request is None else self.request.text()
        return f"s{self.slot}: {what}" + (" (not waiting)" if self.is_pipelined else "")


def absolute(root: str, path: str) -> str:
    """The path a server is given."""
    return path[1:] if path.startswith("!") else root + path
