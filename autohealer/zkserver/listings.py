"""A reply's body with very many names in it, packed some at a time.

Theory of operation. What a reply says is fixed when the request is served: names are noted, which is quick, and their
size is known. To pack them is slow, so that is done when they are sent, in parts of `SLICE_NAMES`.

Must never know: nodes, who asks, how a reply is framed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from autohealer.zkserver.wire import pack_int, pack_items

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SLICE_NAMES = 5000
"""Packed within a few milliseconds."""


class Names(NamedTuple):
    """A vector of strings that is not packed yet, and how many bytes it will be."""

    names: tuple[str, ...]
    size_bytes: int


Piece: TypeAlias = bytes | Names


@dataclass(frozen=True, slots=True)
class Streamed:
    """A body whose parts are made when they are asked for."""

    size_bytes: int
    parts: Iterator[bytes]


def note_names(names: Sequence[str] | dict[str, None]) -> Names:
    """The names as they are now; these may be ASCII or not."""
    return Names(tuple(names), 4 + 4 * len(names) + len("".join(names).encode()))


def size_of(piece: Piece) -> int:
    """How many bytes a piece is on the wire."""
    return piece.size_bytes if isinstance(piece, Names) else len(piece)


def put_together(pieces: Sequence[Piece]) -> bytes | Streamed:
    """The body: whole where it is quickly made, else in parts."""
    name_count = sum(len(piece.names) for piece in pieces if isinstance(piece, Names))
    if name_count <= SLICE_NAMES:
        return b"".join(_parts(pieces))
    return Streamed(sum(map(size_of, pieces)), _parts(pieces))


def _parts(pieces: Sequence[Piece]) -> Iterator[bytes]:
    part: list[bytes] = []
    room = SLICE_NAMES
    for piece in pieces:
        if not isinstance(piece, Names):
            part.append(piece)
            continue
        part.append(pack_int(len(piece.names)))
        at = 0
        while at < len(piece.names):
            taken = piece.names[at : at + room]
            part.append(pack_items(taken))
            at += len(taken)
            room -= len(taken)
            if not room:
                yield b"".join(part)
                part, room = [], SLICE_NAMES
    yield b"".join(part)
