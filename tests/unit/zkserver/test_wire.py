"""Goal: bytes mean the same however they are cut, and impossible bytes are named, not guessed at."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autohealer.zkserver.decoding import decode_request
from autohealer.zkserver.protocol import Acl, MalformedError, RefusedError
from autohealer.zkserver.requests import Create
from autohealer.zkserver.wire import (
    FrameDecoder,
    Reader,
    pack_acl,
    pack_buffer,
    pack_frame,
    pack_int,
    pack_long,
    pack_text,
    pack_texts,
    wrap_int32,
)

from .world import create_body

FRAME_BYTES_MAX = 1000
BODIES = st.lists(st.binary(max_size=100), max_size=8)
TEXT = st.text(st.characters(codec="utf-8"))


def _decode(chunks: list[bytes]) -> list[bytes]:
    decoder = FrameDecoder(FRAME_BYTES_MAX)
    frames: list[bytes] = []
    for chunk in chunks:
        decoder.feed(chunk)
        while (frame := decoder.next_frame()) is not None:
            frames.append(frame)
    return frames


@given(BODIES)
def test_frames_arrive_whole(bodies: list[bytes]) -> None:
    """A client that pipelines requests would have some lost or merged."""
    stream = b"".join(map(pack_frame, bodies))
    assert _decode([stream]) == bodies


@given(BODIES)
def test_frames_arrive_byte_by_byte(bodies: list[bytes]) -> None:
    """A client on a slow network would be served garbage."""
    stream = b"".join(map(pack_frame, bodies))
    assert _decode([stream[at : at + 1] for at in range(len(stream))]) == bodies


@given(BODIES, st.binary(max_size=3))
def test_a_beginning_of_a_frame_is_kept(bodies: list[bytes], tail: bytes) -> None:
    """A request split over two packets would be lost, or disturb the ones before it."""
    assert _decode([b"".join(map(pack_frame, bodies)) + tail]) == bodies


@pytest.mark.parametrize("length", [-1, -(2**31), FRAME_BYTES_MAX + 1, 2**31 - 1])
def test_an_impossible_length_is_refused_after_the_good_frames(length: int) -> None:
    """One bad packet would make the server wait for gigabytes, or lose requests sent before it."""
    decoder = FrameDecoder(FRAME_BYTES_MAX)
    decoder.feed(pack_frame(b"good") + pack_int(length))
    assert decoder.next_frame() == b"good"
    with pytest.raises(MalformedError, match=str(length)):
        decoder.next_frame()


@given(
    TEXT,
    st.binary() | st.none(),
    st.integers(-(2**31), 2**31 - 1),
    st.integers(-(2**63), 2**63 - 1),
)
def test_values_survive_the_wire(text: str, data: bytes | None, small: int, large: int) -> None:
    """Paths or data would change on their way through the server."""
    reader = Reader(pack_text(text) + pack_buffer(data) + pack_int(small) + pack_long(large))
    assert (reader.text(), reader.buffer()) == (text, data)
    assert (reader.int32(), reader.int64(), reader.remaining) == (small, large, 0)


@given(st.lists(TEXT), st.lists(st.builds(Acl, st.integers(0, 31), TEXT, TEXT)))
def test_vectors_survive_the_wire(texts: list[str], acl: list[Acl]) -> None:
    """Children lists or access control lists would change on their way."""
    reader = Reader(pack_texts(texts) + pack_acl(acl))
    assert reader.vector(Reader.text) == tuple(texts)
    assert reader.vector(Reader.acl) == tuple(acl)
    reader = Reader(pack_texts(texts) + pack_int(7))
    assert (reader.texts(), reader.int32()) == (tuple(texts), 7)


def test_null_is_empty_text_but_not_empty_data() -> None:
    """kazoo writes an empty string as null; a node without data is not one with empty data."""
    assert Reader(pack_int(-1)).text() == ""
    assert Reader(pack_int(-1)).buffer() is None
    assert Reader(pack_int(0)).buffer() == b""
    assert Reader(pack_int(-1)).vector(Reader.text) == ()
    assert Reader(pack_int(-1)).texts() == ()
    assert Reader(pack_int(1) + pack_int(-1)).texts() == ("",)


@pytest.mark.parametrize(
    "raw",
    [b"", b"\0\0\0", pack_int(5) + b"four", pack_int(-2), pack_int(2) + b"\xff\xfe"],
    ids=["empty", "short", "cut", "negative", "not UTF-8"],
)
def test_impossible_text_is_refused(raw: bytes) -> None:
    """A broken client could read memory beyond its packet or crash the server."""
    with pytest.raises(MalformedError):
        Reader(raw).text()
    with pytest.raises(MalformedError):
        Reader(pack_int(1) + raw).texts()


def test_a_vector_can_not_claim_more_than_its_frame_holds() -> None:
    """Four bytes could make the server loop two thousand million times."""
    with pytest.raises(MalformedError, match="vector"):
        Reader(pack_int(2**31 - 1)).vector(Reader.text)
    with pytest.raises(MalformedError, match="vector"):
        Reader(pack_int(2**31 - 1)).texts()
    with pytest.raises(MalformedError, match="too many items"):
        Reader(pack_texts(["a", "b"]), items_max=1).texts()


@given(st.integers(-20, 120), st.binary(max_size=200))
def test_any_body_is_decoded_or_refused(op: int, raw: bytes) -> None:
    """Garbage from one client would stop the server for all."""
    try:
        decode_request(op, Reader(raw))
    except (MalformedError, RefusedError):
        return


def test_every_cut_of_a_request_is_refused() -> None:
    """A request cut short would be carried out with made-up values."""
    whole = create_body("/a", b"data")
    assert isinstance(decode_request(1, Reader(whole)), Create)
    for end in range(len(whole)):
        with pytest.raises(MalformedError):
            decode_request(1, Reader(whole[:end]))


def test_counters_wrap_as_in_java() -> None:
    """The two thousand millionth child would break its parent for good."""
    assert [wrap_int32(value) for value in (2**31 - 1, 2**31, -1)] == [2**31 - 1, -(2**31), -1]
