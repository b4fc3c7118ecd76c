"""jute, ZooKeeper's serialisation, and the framing around it.

Everything is big-endian; a frame is an int32 length and that many bytes; buffers and strings carry an
int32 length where -1 means null; vectors carry an int32 count.

Must never know: which request or reply the bytes belong to.
Limits: a frame of `frame_bytes_max`; a vector can not claim more items than its frame has bytes, nor
all vectors of a reader together more than `items_max`.
"""

from __future__ import annotations

from struct import Struct
from struct import error as StructError  # noqa: N812 - its name says nothing
from typing import TYPE_CHECKING, TypeVar

from autohealer.zkserver.protocol import Acl, MalformedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from autohealer.zkserver.protocol import Stat

T = TypeVar("T")

_BOOL = Struct("!?")
_INT = Struct("!i")
_LONG = Struct("!q")
_STAT = Struct("!qqqqiiiqiiq")

NULL = _INT.pack(-1)


class FrameDecoder:
    """Cuts a byte stream into frames, however the bytes arrive."""

    __slots__ = ("_buffer", "_frame_bytes_max")

    def __init__(self, frame_bytes_max: int) -> None:
        self._buffer = bytearray()
        self._frame_bytes_max = frame_bytes_max

    def feed(self, data: bytes | memoryview) -> None:
        """Add what arrived."""
        self._buffer += data

    @property
    def held_bytes(self) -> int:
        """How much was fed and not yet taken."""
        return len(self._buffer)

    def prefix(self) -> bytes:
        """The first four bytes not yet taken, fewer if fewer have arrived."""
        return bytes(self._buffer[:4])

    def has_frame(self) -> bool:
        """Whether there is a complete frame, or a length that can not be."""
        if len(self._buffer) < 4:
            return False
        length = int.from_bytes(self._buffer[:4], "big", signed=True)
        is_possible = 0 <= length <= self._frame_bytes_max
        return not is_possible or len(self._buffer) >= 4 + length

    def next_frame(self) -> bytes | None:
        """Take a complete frame; None when there is none yet.

        Raises:
            MalformedError: the next length is below 0 or above the limit.
        """
        if len(self._buffer) < 4:
            return None
        length = int.from_bytes(self._buffer[:4], "big", signed=True)
        if not 0 <= length <= self._frame_bytes_max:
            raise MalformedError(f"a length of {length}, not 0..{self._frame_bytes_max}")
        if len(self._buffer) < 4 + length:
            return None
        frame = bytes(self._buffer[4 : 4 + length])
        del self._buffer[: 4 + length]
        return frame


class Reader:
    """Reads jute values from one frame, front to back.

    Every method raises MalformedError when the frame is too short or the value impossible.
    """

    __slots__ = ("_at", "_data", "_items_left")

    def __init__(self, data: bytes, items_max: int | None = None) -> None:
        self._data = data
        self._at = 0
        self._items_left = len(data) if items_max is None else items_max

    @property
    def remaining(self) -> int:
        """Bytes not read yet."""
        return len(self._data) - self._at

    def boolean(self) -> bool:
        """One byte; anything but 0 is true."""
        return self.raw(1) != b"\x00"

    def int32(self) -> int:
        """A signed 32-bit integer."""
        return int.from_bytes(self.raw(4), "big", signed=True)

    def int64(self) -> int:
        """A signed 64-bit integer."""
        return int.from_bytes(self.raw(8), "big", signed=True)

    def buffer(self) -> bytes | None:
        """Bytes, or None for null."""
        length = self.int32()
        return None if length == -1 else self.raw(length)

    def text(self) -> str:
        """A UTF-8 string; null reads as empty, because kazoo writes empty strings as null."""
        try:
            return (self.buffer() or b"").decode()
        except UnicodeDecodeError as error:
            raise MalformedError("a string that is not UTF-8") from error

    def vector(self, item: Callable[[Reader], T]) -> tuple[T, ...]:
        """A sequence of items; null reads as empty."""
        return tuple(item(self) for _ in range(self._count()))

    def texts(self) -> tuple[str, ...]:
        """A sequence of strings, as `vector(Reader.text)` in half the time."""
        count, data, at, end = self._count(), self._data, self._at, len(self._data)
        found: list[str] = []
        try:
            for _ in range(count):
                (length,) = _INT.unpack_from(data, at)
                begin = at + _INT.size
                at = begin + max(length, 0)
                if length < -1 or at > end:
                    raise MalformedError(f"{length} bytes expected, {end - begin} left")
                found.append(data[begin:at].decode())
        except StructError as error:
            raise MalformedError(f"a vector of {count} strings that is cut short") from error
        except UnicodeDecodeError as error:
            raise MalformedError("a string that is not UTF-8") from error
        self._at = at
        return tuple(found)

    def _count(self) -> int:
        """The length in front of a sequence; below 0 for null."""
        count = self.int32()
        if count > self.remaining:
            raise MalformedError(f"a vector of {count} items in {self.remaining} bytes")
        self._items_left -= max(count, 0)
        if self._items_left < 0:
            raise MalformedError("too many items in its vectors")
        return count

    def acl(self) -> Acl:
        """One ACL entry."""
        return Acl(self.int32(), self.text(), self.text())

    def raw(self, length: int) -> bytes:
        """So many bytes, without a length in front."""
        end = self._at + length
        if length < 0 or end > len(self._data):
            raise MalformedError(f"{length} bytes expected, {self.remaining} left")
        taken = self._data[self._at : end]
        self._at = end
        return taken


def pack_bool(value: bool) -> bytes:  # noqa: FBT001 - the value is the subject here
    """One byte."""
    return _BOOL.pack(value)


def pack_int(value: int) -> bytes:
    """A signed 32-bit integer."""
    return _INT.pack(value)


def pack_long(value: int) -> bytes:
    """A signed 64-bit integer."""
    return _LONG.pack(value)


def pack_buffer(value: bytes | None) -> bytes:
    """Bytes with their length; None is null."""
    return NULL if value is None else _INT.pack(len(value)) + value


def pack_text(value: str) -> bytes:
    """A UTF-8 string with its length."""
    raw = value.encode()
    return _INT.pack(len(raw)) + raw


def pack_vector(items: Iterable[bytes]) -> bytes:
    """A sequence of items that are packed already."""
    packed = list(items)
    return _INT.pack(len(packed)) + b"".join(packed)


def pack_texts(items: Iterable[str]) -> bytes:
    """A sequence of strings."""
    texts = tuple(items)
    return _INT.pack(len(texts)) + pack_items(texts)


def pack_items(items: Iterable[str]) -> bytes:
    """Strings without their number in front; they may be very many, so no loop of Python's goes over them."""
    raw = list(map(str.encode, items))
    lengths = list(map(len, raw))
    packed_lengths = {length: _INT.pack(length) for length in set(lengths)}
    parts = [b""] * (2 * len(raw))
    parts[::2] = map(packed_lengths.__getitem__, lengths)
    parts[1::2] = raw
    return b"".join(parts)


def pack_acl(acl: Iterable[Acl]) -> bytes:
    """A whole access control list."""
    return pack_vector(
        _INT.pack(entry.perms) + pack_text(entry.scheme) + pack_text(entry.id) for entry in acl
    )


def pack_stat(stat: Stat) -> bytes:
    """A node's metadata, 68 bytes."""
    return _STAT.pack(*stat)


def pack_frame(body: bytes) -> bytes:
    """Put the length in front."""
    return _INT.pack(len(body)) + body


def wrap_int32(value: int) -> int:
    """Wrap a counter as Java's `int` does, so that it still fits its field after 2**31 steps."""
    return (value + 0x8000_0000) % 0x1_0000_0000 - 0x8000_0000
