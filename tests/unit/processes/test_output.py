"""Output files: what a worker wrote last, and files that stay small under their writers."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from autohealer.processes.limits import RESERVE
from autohealer.processes.output import LOOK_FAST_S, LOOK_SLOW_S, OutputFiles

LIMIT_BYTES = 1000


class Bench:
    """Output files in a folder, and what was complained of."""

    def __init__(self, folder: Path) -> None:
        self.warnings: list[str] = []
        self.files = OutputFiles(folder, LIMIT_BYTES, self.warnings.append)
        self._open: list[int] = []

    def writer(self, slot: int) -> int:
        """What a worker of a slot holds."""
        descriptor = self.files.open(slot)
        self._open.append(descriptor)
        return descriptor

    def wrote(self, slot: int, text: str) -> int:
        """Have a worker write and end; where its output ends."""
        os.write(self.writer(slot), text.encode())
        return self.files.size_bytes(slot)

    def rotate(self) -> None:
        """Do what the daemon does every few seconds."""
        self.files.rotate()

    def close(self) -> None:
        """Close what workers held."""
        for descriptor in self._open:
            os.close(descriptor)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Files in an empty folder."""
    bench = Bench(tmp_path)
    yield bench
    bench.close()


def test_the_tail_is_the_last_lines(bench: Bench) -> None:
    """A traceback's last line, which says what is wrong, would be cut off."""
    end = bench.wrote(0, "".join(f"line {number}\n" for number in range(2000)))
    assert bench.files.tail(0, end) == [f"line {number}" for number in range(1980, 2000)]


def test_the_tail_ends_where_the_worker_did(bench: Bench) -> None:
    """The words of a child that outlives a worker would be shown as its last."""
    writer = bench.writer(0)
    os.write(writer, b"goodbye\n")
    end = bench.files.size_bytes(0)
    os.write(writer, b"hello\n")
    assert bench.files.tail(0, end) == ["goodbye"]


def test_the_tail_begins_where_the_worker_did(bench: Bench) -> None:
    """The last words of the one before would be taken for those of a worker that died without any."""
    bench.wrote(0, "goodbye\n")
    assert bench.files.tail(0, bench.wrote(0, "hello\n")) == ["hello"]
    assert bench.files.tail(0, bench.wrote(0, "")) == []


def test_the_tail_of_a_file_that_was_cut_is_whole(bench: Bench) -> None:
    """After a rotation a worker's last words would be hidden."""
    bench.wrote(0, "x" * LIMIT_BYTES)
    writer = bench.writer(0)
    os.write(writer, b"y\n")
    bench.rotate()
    os.write(writer, b"goodbye\n")
    assert bench.files.tail(0, bench.files.size_bytes(0)) == ["goodbye"]


@pytest.mark.parametrize(
    ("text", "tail"),
    [("", []), ("no newline", ["no newline"]), ("\n\n", ["", ""])],
)
def test_the_tail_of_odd_output(bench: Bench, text: str, tail: list[str]) -> None:
    """A worker that prints no newline would break the log."""
    assert bench.files.tail(0, bench.wrote(0, text)) == tail


def test_output_that_is_no_text_does_no_harm(bench: Bench) -> None:
    """A worker that prints bytes would crash the daemon when it dies."""
    os.write(bench.writer(0), b"\xff\xfe\x00bye\n")
    (line,) = bench.files.tail(0, bench.files.size_bytes(0))
    assert line.endswith("bye")


def test_nothing_written_is_nothing_shown(bench: Bench) -> None:
    """A worker whose file is gone could not be reaped."""
    assert bench.files.size_bytes(7) == 0
    assert bench.files.tail(7, 100) == []


def test_a_grown_file_is_cut_and_what_it_held_is_kept(bench: Bench) -> None:
    """A chatty worker would fill the disk, or its last megabytes would be lost."""
    text = "x" * (LIMIT_BYTES + 1)
    bench.wrote(0, text)
    bench.rotate()
    assert bench.files.path(0).read_text() == ""
    assert bench.files.path(0).with_suffix(".log.1").read_text() == text


def test_a_small_file_is_left_alone(bench: Bench) -> None:
    """Output would be cut every few seconds."""
    bench.wrote(0, "x" * LIMIT_BYTES)
    bench.rotate()
    assert bench.files.size_bytes(0) == LIMIT_BYTES
    assert not bench.files.path(0).with_suffix(".log.1").exists()


def test_a_writer_goes_on_after_the_cut(bench: Bench) -> None:
    """After the first cut a worker's file would have a hole as large as what was cut."""
    writer = bench.writer(0)
    os.write(writer, b"x" * (LIMIT_BYTES + 1))
    bench.rotate()
    os.write(writer, b"still here\n")
    assert bench.files.path(0).read_bytes() == b"still here\n"


def test_of_a_flood_the_newest_part_is_kept(bench: Bench) -> None:
    """A worker that wrote gigabytes would hold up the daemon's end, and the copy fill the disk again."""
    bench.wrote(0, "a" * 50 * LIMIT_BYTES + "b" * 2 * LIMIT_BYTES)
    bench.rotate()
    older = bench.files.path(0).with_suffix(".log.1").read_text()
    assert older == "b" * 2 * LIMIT_BYTES
    assert bench.files.size_bytes(0) == 0


def test_only_one_older_file_is_kept(bench: Bench) -> None:
    """The limit on the disk space of a slot would not hold."""
    for letter in "abc":
        bench.wrote(0, letter * (LIMIT_BYTES + 1))
        bench.rotate()
    names = sorted(path.name for path in bench.files.path(0).parent.iterdir())
    assert names == ["slot-0.log", "slot-0.log.1"]
    assert bench.files.path(0).with_suffix(".log.1").read_text() == "c" * (LIMIT_BYTES + 1)


def test_an_unusable_folder_costs_the_output_and_one_warning(tmp_path: Path) -> None:
    """A full disk would stop healing, or fill the log with complaints."""
    bench = Bench(tmp_path / "missing")
    for slot in range(3):
        assert Path(f"/proc/self/fd/{bench.writer(slot)}").readlink() == Path(os.devnull)
    assert len(bench.warnings) == 1
    assert "slot-0.log cannot be opened, so output is thrown away" in bench.warnings[0]
    bench.close()


def test_a_file_without_room_for_a_copy_is_cut_all_the_same(bench: Bench) -> None:
    """A full disk would stay full for ever."""
    bench.wrote(0, "x" * (LIMIT_BYTES + 1))
    bench.files.path(0).with_suffix(".log.1").mkdir()
    bench.rotate()
    assert bench.files.size_bytes(0) == 0
    assert len(bench.warnings) == 1


def test_the_tail_of_a_file_that_was_cut_without_a_copy_is_whole(bench: Bench) -> None:
    """On a full disk, of all places, nobody would learn a worker's last words."""
    bench.wrote(0, "x" * LIMIT_BYTES)
    writer = bench.writer(0)
    os.write(writer, b"y\n")
    bench.files.path(0).with_suffix(".log.1").mkdir()
    bench.rotate()
    os.write(writer, b"goodbye\n")
    assert bench.files.tail(0, bench.files.size_bytes(0)) == ["goodbye"]


def test_one_file_without_room_does_not_keep_the_others_from_being_cut(bench: Bench) -> None:
    """On a full disk one chatty worker would keep the space of all the others occupied."""
    for slot in range(5):
        bench.wrote(slot, "x" * (LIMIT_BYTES + 1))
        bench.files.path(slot).with_suffix(".log.1").mkdir()
    bench.rotate()
    assert [bench.files.size_bytes(slot) for slot in range(5)] == [0] * 5


def test_files_that_grow_fast_are_looked_at_often(bench: Bench) -> None:
    """A worker gone mad would fill the disk between two looks; a quiet group would be looked at for nothing."""
    bench.wrote(0, "hello\n")
    bench.files.find_grown()
    bench.files.find_grown()
    assert bench.files.seconds_to_next_look() == LOOK_SLOW_S
    bench.wrote(0, "x" * (LIMIT_BYTES // 2))
    bench.files.find_grown()
    assert bench.files.seconds_to_next_look() == LOOK_FAST_S
    bench.files.find_grown()
    assert bench.files.seconds_to_next_look() == LOOK_SLOW_S


def test_a_worker_that_empties_its_own_file_has_last_words(bench: Bench) -> None:
    """`echo fatal > /dev/stderr` reopens the file and empties it: the one line that tells why would be hidden."""
    for _ in range(3):
        file = bench.files.path(0)
        os.write(bench.writer(0), b"step 1\n")
        file.write_text("fatal: cannot read config\n")
        assert bench.files.tail(0, bench.files.size_bytes(0)) == ["fatal: cannot read config"]


def test_a_pipe_in_place_of_the_file_holds_nobody_up(bench: Bench) -> None:
    """A named pipe that nobody reads would stop the daemon at the next launch, or at the next death."""
    os.mkfifo(bench.files.path(0))
    assert Path(f"/proc/self/fd/{bench.writer(0)}").readlink() == Path(os.devnull)
    assert len(bench.warnings) == 1
    assert bench.files.tail(0, 100) == []
    reader = os.open(bench.files.path(0), os.O_RDONLY | os.O_NONBLOCK)
    writer = bench.writer(0)
    assert os.get_blocking(writer)
    os.close(reader)


def test_the_last_descriptors_are_not_given_to_workers(bench: Bench) -> None:
    """At the limit of open files the daemon could neither be asked nor end its workers."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = os.dup(0)
    os.close(highest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + RESERVE, before[1]))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            bench.files.open(0)
        os.close(os.dup(0))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    os.write(bench.writer(0), b"there is room again\n")
