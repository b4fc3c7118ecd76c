"""Slots are followed, those that come included; who is followed costs nothing while quiet."""

from __future__ import annotations

from pathlib import Path

from autohealer.workerlogs.following import FOLDERS_S, Following, Meant, slots_in, strands_of
from autohealer.workerlogs.lines import HELD_S
from autohealer.workerlogs.past import Wanted


class Clock:
    """Stands still until it is moved."""

    now_s = 100.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now_s


def append(path: Path, text: bytes) -> None:
    """As a worker does."""
    path.parent.mkdir(exist_ok=True)
    with path.open("ab") as file:
        file.write(text)


def follow(base: Path, meant: Meant, clock: Clock) -> Following:
    """From the end of those that are there on."""
    strands = strands_of(meant, lambda group: base / group)
    for strand in strands:
        strand.begin(Wanted(lines=0))
    return Following(strands, lambda: meant, lambda group: base / group, clock)


def said(followed: Following) -> list[tuple[str, bytes]]:
    """What one round brings."""
    return [(f"{it.strand.name.group}/{it.strand.name.slot}", it.block) for it in followed.round()]


def test_slots_and_groups_that_come_are_followed_from_their_first_byte(tmp_path: Path) -> None:
    """After scaling up, the new workers' lines would be missing, or their first ones."""
    append(tmp_path / "web" / "slot-0.log", b"before\n")
    clock = Clock()
    followed = follow(tmp_path, {"web": None, "queue": frozenset({1})}, clock)
    append(tmp_path / "web" / "slot-0.log", b"a\n")
    assert said(followed) == [("web/0", b"a\n")]
    append(tmp_path / "web" / "slot-1.log", b"b\n")
    append(tmp_path / "queue" / "slot-0.log", b"not meant\n")
    append(tmp_path / "queue" / "slot-1.log", b"c\n")
    clock.now_s += FOLDERS_S
    assert sorted(said(followed)) == [("queue/1", b"c\n"), ("web/1", b"b\n")]
    assert len(followed.names) == 3
    assert said(followed) == []


def test_half_a_line_waits_for_its_end_up_to_a_second(tmp_path: Path) -> None:
    """A prompt would never be shown, or every line written in two steps be torn."""
    clock, path = Clock(), tmp_path / "web" / "slot-0.log"
    append(path, b"")
    followed = follow(tmp_path, {"web": None}, clock)
    append(path, b"ha")
    assert said(followed) == []
    append(path, b"lf\n")
    assert said(followed) == [("web/0", b"half\n")]
    append(path, b"prompt> ")
    assert said(followed) == []
    clock.now_s += HELD_S
    assert said(followed) == [("web/0", b"prompt> ")]


def test_a_slot_that_writes_much_does_not_keep_others_waiting(tmp_path: Path) -> None:
    """While one worker writes 200 MB/s nothing would be seen of the others."""
    append(tmp_path / "web" / "slot-0.log", b"")
    append(tmp_path / "web" / "slot-1.log", b"")
    followed = follow(tmp_path, {"web": None}, Clock())
    append(tmp_path / "web" / "slot-0.log", b"x" * 99 + b"\n" + b"y" * 20_000_000 + b"\n")
    append(tmp_path / "web" / "slot-1.log", b"b\n")
    *first, last = said(followed)
    assert last == ("web/1", b"b\n")
    assert sum(len(block) for _, block in first) < 5_000_000


def test_slots_are_known_by_their_files_or_pipes(tmp_path: Path) -> None:
    """A slot whose worker has written nothing yet would be unknown."""
    for name in ("slot-0.log", "slot-0.log.1", "slot-3.pipe", "slot-x.log", "log.pid"):
        (tmp_path / name).touch()
    assert slots_in(tmp_path) == [0, 3]
    assert slots_in(tmp_path, with_files=True) == [0]
    assert slots_in(tmp_path / "none") == []
