"""Goal: what was acknowledged is there after any death; damage is named, never guessed around."""

from __future__ import annotations

import errno
import itertools
import os
import random
import shutil
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autohealer.zkserver import rewriting
from autohealer.zkserver.framing import frame_record
from autohealer.zkserver.images import Meta, NodeImage, Record
from autohealer.zkserver.journal import (
    Journal,
    StartError,
    lock_directory,
    open_journal,
)
from autohealer.zkserver.protocol import CONTAINER_OWNER, OPEN_ACL, Acl, MalformedError
from autohealer.zkserver.records import decode_record, encode_record
from autohealer.zkserver.rewriting import STEP_RECORDS
from autohealer.zkserver.settings import ServerSettings
from autohealer.zkserver.state import State, first_zxid
from autohealer.zkserver.tree import Znode
from autohealer.zkserver.txn import (
    Change,
    CheckedNode,
    CreateNode,
    DeleteNode,
    EndSession,
    OpenSession,
    SetNodeAcl,
    SetNodeData,
    Txn,
)
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

WITHIN_S = 20.0

SETTINGS = ServerSettings(Path("/nowhere"))
SECRET = b"s" * 32

LONGS = st.integers(-(2**63), 2**63 - 1)
INTS = st.integers(-(2**31), 2**31 - 1)
TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
DATA = st.none() | st.binary(max_size=50)
ACLS = st.lists(st.builds(Acl, INTS, TEXT, TEXT), max_size=3).map(tuple)
CHANGES = st.one_of(
    st.builds(CreateNode, TEXT, DATA, ACLS, LONGS, INTS),
    st.builds(DeleteNode, TEXT),
    st.builds(SetNodeData, TEXT, DATA, INTS),
    st.builds(SetNodeAcl, TEXT, ACLS, INTS),
    st.builds(CheckedNode, TEXT),
    st.builds(OpenSession, LONGS, INTS),
    st.builds(EndSession, LONGS),
)
RECORDS = st.one_of(
    st.builds(Txn, LONGS, LONGS, st.lists(CHANGES, max_size=4).map(tuple)),
    st.builds(Meta, LONGS, LONGS, st.binary(max_size=40)),
    st.builds(OpenSession, LONGS, INTS),
    st.builds(
        NodeImage,
        TEXT,
        st.builds(Znode, DATA, ACLS, LONGS, LONGS, LONGS, LONGS, LONGS, LONGS, INTS, INTS, INTS),
    ),
)


@contextmanager
def _opened(
    directory: Path, settings: ServerSettings = SETTINGS
) -> Iterator[tuple[Journal, State]]:
    journal, state = open_journal(directory, settings, SECRET)
    try:
        yield journal, state
    finally:
        journal.close()


def _do(journal: Journal, state: State, *changes: Change) -> bool:
    txn = Txn(state.zxid + 1, 1000 + state.zxid, changes)
    kept = journal.record(txn)
    if kept:
        state.apply(txn)
    return kept


def _complete(journal: Journal, state: State, path: str, within_s: float) -> None:
    """Write until the new file that is in the making, if any, is in use."""
    if journal.is_rewriting:
        eventually(
            lambda: _do(journal, state, SetNodeData(path, b"", 0)) and not journal.is_rewriting,
            within_s=within_s,
        )


def _create(path: str, data: bytes = b"", owner: int = 0, creates: int = 1) -> CreateNode:
    return CreateNode(path, data, OPEN_ACL, owner, creates)


def _fill(directory: Path) -> State:
    """A session with an ephemeral, and a persistent node changed twice."""
    with _opened(directory) as (journal, state):
        _do(journal, state, OpenSession(7, 4000))
        _do(journal, state, _create("/e", b"eph", owner=7), _create("/p", creates=2))
        _do(journal, state, SetNodeData("/p", b"1", 1))
        _do(journal, state, SetNodeData("/p", b"2", 2))
        return state


def _only_file(directory: Path) -> Path:
    """The journal, once those before it are removed, which nobody waits for."""
    eventually(lambda: len(list(directory.glob("journal-*"))) == 1, within_s=10)
    (path,) = directory.glob("journal-*")
    return path


def _images(state: State) -> list[Record]:
    return list(state.images())


@given(RECORDS)
def test_records_survive_the_disk(record: Record) -> None:
    """A restart would change nodes, or refuse to read what was written."""
    assert decode_record(encode_record(record)) == record


@given(st.binary(max_size=60))
def test_any_bytes_are_a_record_or_refused(raw: bytes) -> None:
    """A damaged file would end in a traceback."""
    try:
        decode_record(raw)
    except MalformedError:
        return


def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    """A restart of the server would look like the death of every worker."""
    before = _images(_fill(tmp_path))
    with _opened(tmp_path) as (_, state):
        assert _images(state) == before
        assert state.timeouts_ms == {7: 4000}
        assert state.tree.ephemerals_of(7) == ["/e"]
        assert state.secret == SECRET


def test_a_record_cut_short_is_dropped_at_every_length(tmp_path: Path) -> None:
    """A server killed while writing could not start again, or would start with half a change."""
    whole_dir, cut_dir = tmp_path / "whole", tmp_path / "cut"
    whole_dir.mkdir()
    cut_dir.mkdir()
    _fill(whole_dir)
    path = _only_file(whole_dir)
    raw = path.read_bytes()
    last = len(frame_record(encode_record(Txn(0, 0, (SetNodeData("/p", b"2", 2),)))))
    for missing in range(1, last + 1):
        (cut_dir / path.name).write_bytes(raw[: len(raw) - missing])
        with _opened(cut_dir) as (journal, state):
            node = state.tree.get("/p")
            assert node is not None
            assert (node.data, node.version) == (b"1", 1)
            assert _do(journal, state, SetNodeData("/p", b"3", 2))
        with _opened(cut_dir) as (_, state):
            assert state.tree.get("/p") is not None


def test_zeros_at_the_end_are_a_record_cut_short(tmp_path: Path) -> None:
    """After a power cut file systems leave zeros; the server could not start again."""
    before = _images(_fill(tmp_path))
    path = _only_file(tmp_path)
    path.write_bytes(path.read_bytes() + bytes(100))
    with _opened(tmp_path) as (_, state):
        assert _images(state) == before


def test_damage_in_the_middle_names_file_and_offset(tmp_path: Path) -> None:
    """A damaged disk would silently lose acknowledged changes, or end in a traceback."""
    _fill(tmp_path)
    path = _only_file(tmp_path)
    raw = path.read_bytes()
    for offset in range(0, len(raw) - 100, 7):
        path.write_bytes(raw[:offset] + bytes([raw[offset] ^ 0x40]) + raw[offset + 1 :])
        with pytest.raises(StartError, match=rf"{path} is corrupt at offset \d+: "):
            open_journal(tmp_path, SETTINGS, SECRET)


def test_a_good_record_that_fits_nothing_is_damage(tmp_path: Path) -> None:
    """Records lost in the middle of a file would go unnoticed when the rest is intact."""
    _fill(tmp_path)
    path = _only_file(tmp_path)
    stray = frame_record(encode_record(Txn(1 << 62, 0, (DeleteNode("/never-made"),))))
    path.write_bytes(path.read_bytes() + stray)
    with pytest.raises(StartError, match="corrupt at offset"):
        open_journal(tmp_path, SETTINGS, SECRET)


def test_rewriting_keeps_everything_and_the_file_small(tmp_path: Path) -> None:
    """A busy server would fill the disk, or lose nodes while saving space."""
    settings = replace(SETTINGS, journal_bytes_min=2000)
    with _opened(tmp_path, settings) as (journal, state):
        _do(journal, state, OpenSession(7, 4000), _create("/e", owner=7))
        _do(journal, state, _create("/box", owner=CONTAINER_OWNER, creates=2))
        _do(journal, state, _create("/box/x"), DeleteNode("/box/x"))
        for version in range(1, 500):
            assert _do(journal, state, SetNodeData("/e", b"x" * 50, version))
            _complete(journal, state, "/e", within_s=WITHIN_S)
        before = _images(state)
    assert _only_file(tmp_path).stat().st_size < 5000
    with _opened(tmp_path, settings) as (_, state):
        assert _images(state) == before
        assert list(state.tree.idle_containers) == ["/box"]


def _state_in(directory: Path, copy: Path) -> State:
    """What a server would find if this one died now."""
    copy.mkdir()
    for file in directory.iterdir():
        with suppress(FileNotFoundError):  # the old journal goes on a thread
            shutil.copy(file, copy)
    try:
        with _opened(copy) as (_, state):
            return state
    finally:
        shutil.rmtree(copy)


def _known(state: State) -> tuple[object, ...]:
    """All of a state, in whatever order it came."""
    images = {image.path: image.node for image in _images(state) if isinstance(image, NodeImage)}
    return images, state.timeouts_ms, state.zxid, state.secret


@pytest.mark.parametrize("seed", range(4))
def test_a_death_at_any_step_of_a_rewriting_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """A server killed while it saves space would come back with nodes of two times, or without some."""
    monkeypatch.setattr(rewriting, "STEP_RECORDS", 5)
    rng = random.Random(seed)
    settings = replace(SETTINGS, journal_bytes_min=1 << 40)
    live = tmp_path / "live"
    live.mkdir()
    with _opened(live, settings) as (journal, state):
        _do(journal, state, OpenSession(7, 4000), OpenSession(8, 4000))
        for number in range(400):
            _change(rng, journal, state, number)
        journal.begin_rewriting()
        steps = 0
        while journal.is_rewriting:
            steps += 1
            _change(rng, journal, state, 1000 + steps)
            if rng.random() < 0.1:
                _do(journal, state, EndSession(8), OpenSession(8, 4000 + steps))
            assert _known(_state_in(live, tmp_path / "copy")) == _known(state)
        assert steps > 20
        assert _only_file(live).name == "journal-0000000002"
        _change(rng, journal, state, 100_000)
        assert _known(_state_in(live, tmp_path / "copy")) == _known(state)


def _change(rng: random.Random, journal: Journal, state: State, number: int) -> None:
    """Something a client might do: make, change or delete a node at the top or a few levels down."""
    paths = [path for path, _ in state.tree.items() if not path.startswith("/zookeeper")]
    path = rng.choice(paths)
    node = state.tree.get(path)
    assert node is not None
    draw = rng.random()
    if path == "/" or (draw < 0.6 and node.owner == 0 and path.count("/") < 6):
        owner = rng.choice((0, 0, 7, 8))
        new = f"{path.rstrip('/')}/{number}"
        _do(journal, state, _create(new, b"x" * rng.randrange(50), owner, node.creates + 1))
    elif draw < 0.8 or node.children:
        _do(journal, state, SetNodeData(path, b"y" * rng.randrange(50), node.version + 1))
    else:
        _do(journal, state, DeleteNode(path), SetNodeAcl("/", OPEN_ACL, number))


def test_writes_during_a_rewriting_cost_a_step_each(tmp_path: Path) -> None:
    """With many nodes every client would wait for the whole journal to be written anew, sessions might end of it."""
    settings = replace(SETTINGS, journal_bytes_min=1 << 40)
    with _opened(tmp_path, settings) as (journal, state):
        for number in range(20 * STEP_RECORDS):
            _do(journal, state, _create(f"/{number}", creates=number + 1))
        journal.begin_rewriting()
        new = tmp_path / "journal-0000000002.tmp"
        sizes = []
        for version in range(15):
            _do(journal, state, SetNodeData("/0", b"", version))
            sizes.append(new.stat().st_size)
        steps = [after - before for before, after in itertools.pairwise(sizes)]
        assert min(steps) > 0
        assert max(steps) < 150 * STEP_RECORDS
        _complete(journal, state, "/0", WITHIN_S)


def test_a_disk_that_is_full_for_the_new_file_leaves_the_old_one_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk with room for one journal but not for two would refuse every write, or lose some."""
    write = os.write

    def full_for_new(file: int, data: bytes) -> int:
        if Path(f"/proc/self/fd/{file}").readlink().suffix == ".tmp":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, data)

    with _opened(tmp_path) as (journal, state):
        _do(journal, state, _create("/a"))
        monkeypatch.setattr(os, "write", full_for_new)
        journal.begin_rewriting()
        assert _do(journal, state, _create("/b", creates=2))
        assert not journal.is_rewriting
        assert _do(journal, state, _create("/c", creates=3))
        monkeypatch.undo()
        before = _known(state)
    assert _only_file(tmp_path).name == "journal-0000000001"
    with _opened(tmp_path) as (_, state):
        assert _known(state) == before


def test_leftovers_of_a_death_during_a_rewrite_are_harmless(tmp_path: Path) -> None:
    """A server killed at the wrong moment would read an outdated or half-written file."""
    before = _images(_fill(tmp_path))
    path = _only_file(tmp_path)
    path.rename(tmp_path / "journal-0000000009")
    (tmp_path / "journal-0000000008").write_bytes(b"outdated")
    (tmp_path / "journal-0000000010.tmp").write_bytes(b"half-written")
    with _opened(tmp_path) as (_, state):
        assert _images(state) == before
    assert _only_file(tmp_path).name == "journal-0000000009"


def test_a_full_disk_refuses_the_write_and_leaves_no_half_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the disk was full for a moment, the server could not start again."""
    write, budget = os.write, [10]

    def short_write(file: int, data: bytes) -> int:
        if budget[0] == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = min(budget[0], len(data))
        budget[0] -= taken
        return write(file, data[:taken])

    with _opened(tmp_path) as (journal, state):
        _do(journal, state, _create("/a"))
        before = _images(state)
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", short_write)
            assert not _do(journal, state, _create("/b", creates=2))
        assert _images(state) == before
        assert _do(journal, state, _create("/c", creates=2))
        after = _images(state)
    with _opened(tmp_path) as (_, state):
        assert _images(state) == after


def test_what_happened_unrecorded_is_recorded_before_anything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that ended on a full disk would be alive again, in the way of its successors."""

    def full(_file: int, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with _opened(tmp_path) as (journal, state):
        _do(journal, state, OpenSession(7, 4000), _create("/e", owner=7))
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            ended = Txn(state.zxid + 1, 0, (EndSession(7),))
            assert not journal.record(ended)
            journal.fall_behind()
            state.apply(ended)
            assert not _do(journal, state, _create("/e", owner=8, creates=2))
        assert _do(journal, state, _create("/e", owner=8, creates=2))
    with _opened(tmp_path) as (_, state):
        assert state.timeouts_ms == {}
        assert state.tree.ephemerals() == {8: ["/e"]}


def test_a_directory_serves_one_server(tmp_path: Path) -> None:
    """Two servers would write one journal and ruin it."""
    lock = lock_directory(tmp_path / "new")
    try:
        with pytest.raises(StartError, match=rf"in use by another server \(pid {os.getpid()}\)"):
            lock_directory(tmp_path / "new")
    finally:
        os.close(lock)
    os.close(lock_directory(tmp_path / "new"))


def test_secrets_are_not_readable_by_others(tmp_path: Path) -> None:
    """Everybody with an account could take over every session."""
    _fill(tmp_path)
    assert _only_file(tmp_path).stat().st_mode & 0o077 == 0


@given(st.integers(0, 2**62), st.floats(1_600_000_000, 3_000_000_000))
def test_counting_goes_on_above_everything_given_out(highest: int, wall_s: float) -> None:
    """kazoo clients that saw a higher zxid are locked out until they are restarted."""
    first = first_zxid(wall_s, highest)
    assert first >> 32 > highest >> 32
    assert first_zxid(wall_s + 1, 0) - first_zxid(wall_s, 0) > 1_000_000
