"""The queue in front of what may block: never waits, keeps order, counts what it drops, ends in time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from autohealer.telemetry.scribe import Batch, Missing, Scribe
from tests.support.eventually import eventually

WITHIN_S = 10.0


class Reader:
    """Something that lines are written to, and that can stop reading."""

    def __init__(self) -> None:
        self.reads = threading.Event()
        self.reads.set()
        self.got: list[str | Missing] = []
        self.calls = 0
        self.is_stuck = threading.Event()

    def write(self, batch: Batch) -> None:
        """Take a batch once somebody reads."""
        self.is_stuck.set()
        self.reads.wait()
        self.calls += 1
        self.got.extend(batch)


@pytest.fixture
def reader() -> Iterator[Reader]:
    """A reader that reads in the end, so that no thread is left behind."""
    reader = Reader()
    yield reader
    reader.reads.set()


def stalled(reader: Reader, scribe: Scribe) -> None:
    """Have the scribe's thread stand before a reader that does not read."""
    reader.reads.clear()
    scribe.put("first")
    assert reader.is_stuck.wait(WITHIN_S)


def test_lines_arrive_in_their_order(reader: Reader) -> None:
    """A log would tell of an exit before the start."""
    scribe = Scribe("test", reader.write)
    lines = [str(number) for number in range(1000)]
    for line in lines:
        scribe.put(line)
    scribe.close(WITHIN_S)
    assert reader.got == lines


def test_a_reader_that_stalls_costs_lines_and_their_number_is_known_where_they_are_missing(
    reader: Reader,
) -> None:
    """The daemon would stand still, grow without bound, or hide that its log has a hole."""
    scribe = Scribe("test", reader.write, limit_characters=10)
    stalled(reader, scribe)
    for number in range(10, 20):
        scribe.put(str(number))
    reader.reads.set()
    eventually(lambda: Missing(5) in reader.got, within_s=WITHIN_S)
    scribe.put("later")
    scribe.close(WITHIN_S)
    assert reader.got == ["first", *map(str, range(10, 15)), Missing(5), "later"]


def test_one_huge_line_is_dropped_and_counted(reader: Reader) -> None:
    """One line could take all memory."""
    scribe = Scribe("test", reader.write, limit_characters=10)
    scribe.put("x" * 11)
    scribe.close(WITHIN_S)
    assert reader.got == [Missing(1)]


def test_the_end_waits_for_nobody_who_does_not_read(reader: Reader) -> None:
    """TERM would not end a daemon whose terminal is stopped by Ctrl-S."""
    scribe = Scribe("test", reader.write)
    stalled(reader, scribe)
    began = time.monotonic()
    scribe.close(0.2)
    assert 0.1 < time.monotonic() - began < WITHIN_S
    scribe.put("after the end")


def test_what_waits_at_the_end_is_still_written(reader: Reader) -> None:
    """The last line, which says why the daemon ended, would be missing."""
    scribe = Scribe("test", reader.write)
    stalled(reader, scribe)
    scribe.put("last")
    threading.Timer(0.1, reader.reads.set).start()
    scribe.close(WITHIN_S)
    assert reader.got == ["first", "last"]


def test_it_is_woken_with_nothing_to_write(reader: Reader) -> None:
    """A terminal that was made narrower would not be drawn anew before the next line."""
    scribe = Scribe("test", reader.write)
    scribe.wake()
    eventually(lambda: reader.calls == 1, within_s=WITHIN_S)
    scribe.close(WITHIN_S)
    assert reader.got == []


def test_without_a_thread_to_be_had_lines_wait_for_one(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a user's limit of processes the daemon would end for want of a log."""
    scribe = Scribe("test", reader.write)

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        scribe.put("first")
    assert reader.got == []
    scribe.put("second")
    scribe.close(WITHIN_S)
    assert reader.got == ["first", "second"]
