"""Goal: a snapshot is of one moment, whatever happens while it is taken. Method: the state alone, drawn at random."""

from __future__ import annotations

import random

import pytest

from autohealer.zkserver.images import NodeImage, Record
from autohealer.zkserver.protocol import OPEN_ACL
from autohealer.zkserver.records import decode_record, encode_record
from autohealer.zkserver.state import State
from autohealer.zkserver.txn import (
    Change,
    CreateNode,
    DeleteNode,
    EndSession,
    OpenSession,
    SetNodeData,
    Txn,
)


def _apply(state: State, *changes: Change) -> None:
    state.apply(Txn(state.zxid + 1, 1000 + state.zxid, changes))


def _known(state: State) -> tuple[object, ...]:
    images = {
        image.path: encode_record(image) for image in state.images() if isinstance(image, NodeImage)
    }
    return images, dict(state.timeouts_ms), state.zxid


def _change(rng: random.Random, state: State, number: int) -> None:
    paths = [path for path, _ in state.tree.items() if not path.startswith("/zookeeper")]
    path = rng.choice(paths)
    node = state.tree.get(path)
    assert node is not None
    draw = rng.random()
    if path == "/" or (draw < 0.4 and node.owner == 0):
        new = f"{path.rstrip('/')}/{number}"
        below = f"{new}/below"
        made = CreateNode(new, b"", OPEN_ACL, 0, node.creates + 1)
        if draw < 0.2:
            _apply(state, made, CreateNode(below, b"", OPEN_ACL, 7, 1))
        else:
            _apply(state, made)
    elif draw < 0.7 or node.children:
        _apply(state, SetNodeData(path, b"%d" % number, node.version + 1))
    elif draw < 0.75:
        _apply(state, EndSession(7))
        _apply(state, OpenSession(7, number))
    else:
        _apply(state, DeleteNode(path))


@pytest.mark.parametrize("seed", range(40))
def test_a_snapshot_is_the_state_it_was_begun_with(seed: int) -> None:
    """A restart would bring back nodes of different times: a child without its parent, a change twice or never."""
    rng = random.Random(seed)
    state = State(b"secret")
    _apply(state, OpenSession(7, 4000), OpenSession(8, 1))
    for number in range(100):
        _change(rng, state, number)
    before = _known(state)
    snapshot = state.begin_snapshot()
    records: list[Record] = []
    pace = rng.random()
    while (record := snapshot.take()) is not None:
        records.append(decode_record(encode_record(record)))
        while rng.random() < pace:
            _change(rng, state, 1000 + len(records) + rng.randrange(1 << 40))
    again = State(b"another")
    for record in records:
        again.restore(record)
    assert _known(again) == before
