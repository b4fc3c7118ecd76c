"""Each byte once and in order, whatever befalls the files of a slot; files and rotation are the real ones."""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path

import pytest

from autohealer.logprocess.files import RotatingFile
from autohealer.processes.output import OutputFiles
from autohealer.workerlogs.reader import SlotReader

LINE_BYTES = 10


def lines(first: int, last: int) -> bytes:
    """Numbered lines of ten bytes."""
    return b"".join(b"%09d\n" % number for number in range(first, last))


def all_of(reader: SlotReader) -> bytes:
    """What it reads until there is nothing more."""
    return b"".join(iter(reader.read, b""))


def append(path: Path, text: bytes) -> None:
    """As a worker does."""
    with path.open("ab") as file:
        file.write(text)


def descriptors() -> int:
    """How many are open."""
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file of slot 0 is."""
    return tmp_path / "slot-0.log"


def begun(path: Path, count: int | None = None) -> SlotReader:
    """A reader that begins with the last lines."""
    reader = SlotReader(path)
    reader.begin_with_last(count)
    return reader


@pytest.mark.parametrize(
    ("files", "count", "shown"),
    [
        ([b"a\nb\nc\n"], 2, b"b\nc\n"),
        ([b"a\nb\nc"], 2, b"b\nc"),
        ([b"a\nb\nc\n"], 3, b"a\nb\nc\n"),
        ([b"a\nb\nc\n"], 9, b"a\nb\nc\n"),
        ([b"a\nb\n"], 0, b""),
        ([b"\n\n\n"], 2, b"\n\n"),
        ([b""], 5, b""),
        ([], 5, b""),
        ([b"a\nb\n", b"c\n"], 1, b"c\n"),
        ([b"a\nb\n", b"c\n"], 2, b"b\nc\n"),
        ([b"a\nb\n", b""], 1, b"b\n"),
        ([b"a\nb", b"c\nd\n"], 2, b"bc\nd\n"),
        ([b"a\n", b"b\n", b"c\n"], None, b"a\nb\nc\n"),
        ([b"a\n" * 400_000], 300_000, b"a\n" * 300_000),
        ([b"x" * 600_000 + b"\ny\n"], 2, b"x" * 600_000 + b"\ny\n"),
    ],
    ids=map(str, range(15)),
)
def test_the_last_lines_are_the_last_lines(
    path: Path, files: list[bytes], count: int | None, shown: bytes
) -> None:
    """`logs -n 2` would show more or less, or begin in the middle of a line that two files share."""
    for number, content in enumerate(reversed(files)):
        (path if number == 0 else path.with_name(f"{path.name}.{number}")).write_bytes(content)
    assert all_of(begun(path, count)) == shown


def test_nothing_is_lost_or_doubled_however_files_are_rotated_by_the_log_process(
    path: Path,
) -> None:
    """Lines at the seam of two files would be missing, or come twice."""
    seed = random.randrange(1 << 30)
    print("seed", seed)
    draw = random.Random(seed)
    file = RotatingFile(path, 5 * LINE_BYTES, 9, is_stamped=False)
    reader = begun(path)
    read, written = b"", 0
    for turn in range(400):
        count = draw.randrange(1, 12)
        file.write(lines(written, written + count))
        written += count
        if turn % 3 == 0 or draw.random() < 0.5:
            read += all_of(reader)
    read += all_of(reader)
    assert not reader.takes_loss()
    assert read == lines(0, written)


def test_a_file_that_is_on_its_way_to_the_next_number_is_found(path: Path) -> None:
    """A look in the middle of a rotation would miss a file, or show one twice."""
    path.write_bytes(lines(0, 1))
    reader = begun(path)
    assert all_of(reader) == lines(0, 1)
    path.rename(path.with_name("slot-0.log.3"))
    path.with_name("slot-0.log.2").write_bytes(lines(1, 2))
    path.write_bytes(lines(2, 3))
    assert all_of(reader) == lines(1, 3)
    path.rename(path.with_name("slot-0.log.4"))
    path.write_bytes(lines(3, 4))
    path.with_name("slot-0.log.1").hardlink_to(path)
    assert all_of(reader) == lines(3, 4)


def test_who_reads_while_it_is_written_and_rotated_gets_it_all(path: Path) -> None:
    """Between any two steps of a rotation, a look would miss a file or read one twice."""
    blocks, block_lines = 400, 10
    room = threading.Semaphore(100)

    def write() -> None:
        file = RotatingFile(path, 25 * LINE_BYTES, 100, is_stamped=False)
        for number in range(blocks):
            room.acquire()
            file.write(lines(number * block_lines, (number + 1) * block_lines))
        file.close()

    reader = begun(path)
    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    read = bytearray()
    while len(read) < blocks * block_lines * LINE_BYTES:
        chunk = reader.read()
        before = len(read) // (block_lines * LINE_BYTES)
        read += chunk
        if done := len(read) // (block_lines * LINE_BYTES) - before:
            room.release(done)
        assert not reader.takes_loss()
    assert bytes(read) == lines(0, blocks * block_lines)
    writer.join()
    assert reader.read() == b""


def test_what_was_rotated_away_unread_is_told(path: Path) -> None:
    """A gap would be shown as if nothing was missing."""
    file = RotatingFile(path, 5 * LINE_BYTES, 1, is_stamped=False)
    file.write(lines(0, 5))
    reader = begun(path)
    assert reader.read(LINE_BYTES) == lines(0, 1)
    file.write(lines(5, 40))
    assert all_of(reader) == lines(1, 5) + lines(30, 40)
    assert reader.takes_loss()
    assert not reader.takes_loss()


def test_nothing_is_lost_or_doubled_where_a_file_is_cut_under_its_writer(path: Path) -> None:
    """Each cut by the daemon would cost what was not read yet, or show the copy again."""
    output = OutputFiles(path.parent, 5 * LINE_BYTES, print)
    path.write_bytes(lines(0, 3))
    path.with_name("slot-0.log.1").write_bytes(lines(500, 505))
    reader = begun(path, 3)
    assert reader.read(LINE_BYTES) == lines(0, 1)
    append(path, lines(3, 8))
    output.rotate()
    append(path, lines(8, 10))
    assert all_of(reader) == lines(1, 10)
    append(path, lines(10, 19))
    output.rotate()
    assert all_of(reader) == lines(10, 19)
    append(path, lines(19, 20))
    assert all_of(reader) == lines(19, 20)
    assert not reader.takes_loss()


def test_a_cut_is_noticed_where_the_file_has_outgrown_the_old_place_since(path: Path) -> None:
    """A reader that lags would jump into the middle of what is written after a cut."""
    output = OutputFiles(path.parent, 5 * LINE_BYTES, print)
    path.write_bytes(lines(0, 8))
    reader = begun(path)
    assert reader.read(5 * LINE_BYTES) == lines(0, 5)
    output.rotate()
    append(path, lines(8, 30))
    assert all_of(reader) == lines(5, 30)


def test_a_copy_that_does_not_reach_back_far_enough_is_a_loss_and_is_told(path: Path) -> None:
    """Gigabytes that were cut away unread would go unnoticed."""
    output = OutputFiles(path.parent, 5 * LINE_BYTES, print)
    path.write_bytes(lines(0, 3))
    reader = begun(path)
    assert reader.read(LINE_BYTES) == lines(0, 1)
    append(path, lines(3, 100))
    output.rotate()
    append(path, lines(100, 101))
    assert all_of(reader) == lines(90, 101)
    assert reader.takes_loss()


def test_the_place_is_found_in_a_copy_that_begins_later(path: Path) -> None:
    """A file that outgrew its limit twice over between two looks would be shown from the copy's beginning again."""
    output = OutputFiles(path.parent, 5 * LINE_BYTES, print)
    path.write_bytes(lines(0, 90))
    reader = begun(path)
    assert len(reader.read(85 * LINE_BYTES)) == 850
    append(path, lines(90, 91))
    output.limit(60 * LINE_BYTES, keeps_older=True)
    append(path, lines(91, 150))
    output.rotate()
    assert all_of(reader) == lines(85, 150)
    assert not reader.takes_loss()


def test_a_worker_that_empties_its_own_output_is_followed_on(path: Path) -> None:
    """`> /dev/stderr` in a worker would end what is shown of it, or show an older file again."""
    path.with_name("slot-0.log.1").write_bytes(lines(900, 905))
    path.write_bytes(lines(0, 5))
    reader = begun(path, 1)
    assert all_of(reader) == lines(4, 5)
    os.truncate(path, 0)
    assert all_of(reader) == b""
    append(path, lines(5, 7))
    assert all_of(reader) == lines(5, 7)
    assert not reader.takes_loss()


def test_a_file_that_is_moved_or_removed_is_read_to_its_end(path: Path) -> None:
    """What was written between the last look and `mv` would be missing, or what lies there from before be shown."""
    path.with_name("slot-0.log.1").write_bytes(lines(900, 905))
    path.write_bytes(lines(0, 2))
    reader = begun(path, 2)
    assert all_of(reader) == lines(0, 2)
    append(path, lines(2, 3))
    path.rename(path.with_name("elsewhere"))
    assert all_of(reader) == lines(2, 3)
    path.write_bytes(lines(3, 4))
    assert reader.has_news()
    assert all_of(reader) == lines(3, 4)
    append(path, lines(4, 5))
    path.unlink()
    assert all_of(reader) == lines(4, 5)
    path.write_bytes(lines(5, 6))
    assert all_of(reader) == lines(5, 6)
    assert not reader.takes_loss()


def test_a_look_tells_whether_there_is_anything_to_read(path: Path) -> None:
    """A slot would be read for nothing ten times a second, or not at all."""
    reader = begun(path)
    assert not reader.has_news()
    append(path, b"a\n")
    assert reader.has_news()
    assert all_of(reader) == b"a\n"
    assert not reader.has_news()
    append(path, b"b")
    assert reader.has_news()


def test_files_not_written_to_since_are_left_out(path: Path) -> None:
    """`--since 5m` would show what lies there from last week."""
    before = path.with_name("slot-0.log.1")
    before.write_bytes(b"old\n")
    os.utime(before, (1000.0, 1000.0))
    path.write_bytes(b"new\n")
    os.utime(path, (2000.0, 2000.0))
    for since_s, shown in ((500.0, b"old\nnew\n"), (1500.0, b"new\n"), (2500.0, b"")):
        reader = SlotReader(path)
        reader.begin_since(since_s)
        assert all_of(reader) == shown
        append(path, b"")


def test_files_are_closed(path: Path) -> None:
    """Following for days would use up descriptors."""
    before = descriptors()
    file = RotatingFile(path, 5 * LINE_BYTES, 2, is_stamped=False)
    reader = begun(path)
    for number in range(50):
        file.write(lines(number, number + 1))
        all_of(reader)
    reader.close()
    file.close()
    assert descriptors() == before


def test_what_is_no_plain_file_is_refused(path: Path) -> None:
    """A link planted in the folder would show a file of somebody else, a pipe hang the command."""
    path.symlink_to("/etc/passwd")
    with pytest.raises(OSError, match="symbolic link"):
        begun(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(OSError, match="not a plain file"):
        begun(path)
