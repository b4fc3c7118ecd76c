"""Goal: no bytes of any client break the machine. Method: hypothesis, byte by byte and request by request."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from autohealer.zkserver.protocol import OPEN_ACL, Acl, Op
from autohealer.zkserver.wire import (
    pack_acl,
    pack_bool,
    pack_buffer,
    pack_frame,
    pack_int,
    pack_long,
    pack_text,
    pack_texts,
)

from .fuzz_machine import CLIENTS, play
from .world import MULTI_END

GOOD_PATHS = ["/a", "/a/b", "/e"]
PATHS = st.sampled_from([*GOOD_PATHS * 5, "/", "/a/b/c", "", "a", "/a/", "/zookeeper/x"])
DATA = st.none() | st.binary(max_size=20)
ACLS = st.sampled_from(
    [
        *[OPEN_ACL] * 5,
        (),
        (Acl(1, "world", "anyone"),),
        (Acl(31, "auth", ""),),
        (Acl(31, "digest", "x:y"),),
    ]
)
INTS = st.sampled_from([*[-1] * 5, *[0] * 5, 1, 2, 3, 4, 5, 7, -(2**31), 2**31 - 1])
WATCH = st.booleans().map(pack_bool)
TEXTS = st.lists(PATHS, max_size=2).map(pack_texts)


def _join(*parts: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.tuples(*parts).map(b"".join)


_PATH, _INT = PATHS.map(pack_text), INTS.map(pack_int)
_CREATE = _join(_PATH, DATA.map(pack_buffer), ACLS.map(pack_acl), _INT)
_STEPS = st.sampled_from([Op.CREATE, Op.DELETE, Op.SET_DATA, Op.CHECK]).map(
    lambda op: pack_int(op) + b"\0" + pack_int(-1)
)
BODIES: dict[int, st.SearchStrategy[bytes]] = {
    Op.CREATE: _CREATE,
    Op.CREATE2: _CREATE,
    Op.CREATE_CONTAINER: _CREATE,
    Op.DELETE: _join(_PATH, _INT),
    Op.CHECK: _join(_PATH, _INT),
    Op.EXISTS: _join(_PATH, WATCH),
    Op.GET_DATA: _join(_PATH, WATCH),
    Op.GET_CHILDREN2: _join(_PATH, WATCH),
    Op.SET_DATA: _join(_PATH, DATA.map(pack_buffer), _INT),
    Op.SET_ACL: _join(_PATH, ACLS.map(pack_acl), _INT),
    Op.MULTI: _join(
        st.lists(_join(_STEPS, _CREATE | _join(_PATH, _INT)), max_size=4).map(b"".join),
        st.just(MULTI_END),
    ),
    Op.AUTH: _join(st.just(pack_int(0) + pack_text("digest") + pack_buffer(b"x:y"))),
    Op.ADD_WATCH: _join(_PATH, _INT),
    Op.REMOVE_WATCHES: _join(_PATH, _INT),
    Op.SET_WATCHES: _join(st.just(pack_long(0)), TEXTS, TEXTS, TEXTS),
    Op.SET_WATCHES2: _join(st.just(pack_long(0)), TEXTS, TEXTS, TEXTS, TEXTS, TEXTS),
    Op.CLOSE_SESSION: st.just(b""),
    Op.PING: st.just(b""),
}
REQUESTS = st.sampled_from(list(BODIES)).flatmap(
    lambda op: BODIES[op].map(lambda body: pack_frame(pack_int(1) + pack_int(op) + body))
)


@st.composite
def _damaged(draw: st.DrawFn) -> bytes:
    """A request with one byte changed, cut or doubled."""
    frame = bytearray(draw(REQUESTS))
    at = draw(st.integers(0, len(frame) - 1))
    frame[at : at + 1] = draw(st.binary(max_size=2))
    return bytes(frame)


def _step(who: int, raw: bytes) -> bytes:
    """One step of a script; longer bytes than a step can hold arrive in several."""
    parts = [raw[at : at + 255] for at in range(0, len(raw), 255)] or [b""]
    return b"".join(bytes([who, len(part)]) + part for part in parts)


BYTES = REQUESTS | REQUESTS | REQUESTS | _damaged() | st.binary(max_size=40)
STEPS = st.builds(_step, st.integers(0, CLIENTS - 1), BYTES)
PAUSES = st.integers(0, 255).map(lambda length: _step(CLIENTS, bytes(length)))
SCRIPTS = st.lists(STEPS | STEPS | STEPS | PAUSES, min_size=20, max_size=60).map(b"".join)


@settings(max_examples=60, deadline=None)
@given(SCRIPTS)
def test_no_requests_break_the_machine(script: bytes) -> None:
    """One client with a faulty library would stop the server, or ruin what it keeps."""
    play(script)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400))
def test_no_bytes_break_the_machine(script: bytes) -> None:
    """Anybody on the machine could stop the server with a few bytes."""
    play(script)
