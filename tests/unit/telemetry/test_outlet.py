"""Log lines to a descriptor: whole, counted where they cannot be written, and with one line kept below."""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from autohealer.telemetry.outlet import Outlet
from autohealer.telemetry.scribe import Missing


def told(count: int, why: str) -> str:
    """A line about missing ones."""
    return f"{count} missing {why}"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe: where to read, where to write."""
    read, write = os.pipe()
    yield read, write
    for descriptor in (read, write):
        try:
            os.close(descriptor)
        except OSError:
            continue  # a test closed it


def test_lines_are_lines(pipe: tuple[int, int]) -> None:
    """A program that reads JSON lines would find two on one."""
    Outlet(pipe[1], "utf-8", told).write(["a", "b", Missing(3), "c"])
    assert os.read(pipe[0], 100).decode() == "a\nb\n3 missing while nobody read them\nc\n"


def test_what_cannot_be_encoded_is_escaped(pipe: tuple[int, int]) -> None:
    """In an ASCII locale a worker's name would end the log, or the daemon."""
    Outlet(pipe[1], "ascii", told).write(["größer · \udcff"])
    assert os.read(pipe[0], 100) == b"gr\\xf6\\xdfer \\xb7 \\udcff\n"


def test_lines_lost_to_a_full_disk_are_counted_once_there_is_room(pipe: tuple[int, int]) -> None:
    """A hole in the log would look like silence."""
    full = os.open("/dev/full", os.O_WRONLY)
    outlet = Outlet(full, "utf-8", told)
    outlet.write(["a", Missing(2)])
    outlet.write(["b"])
    os.dup2(pipe[1], full)
    outlet.write(["c"])
    outlet.write(["d"])
    os.close(full)
    lines = os.read(pipe[0], 1000).decode().splitlines()
    assert lines == [
        "4 missing because they could not be written (No space left on device)",
        "c",
        "d",
    ]


def test_a_line_cut_short_does_not_swallow_the_next(tmp_path: Path) -> None:
    """After a full disk one line of the log would be unreadable."""
    file = tmp_path / "log"
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    outlet = Outlet(descriptor, "utf-8", told)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        outlet.write(["x" * 20])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    outlet.write(["next"])
    os.close(descriptor)
    assert file.read_text().splitlines() == [
        "x" * 10,
        "1 missing because they could not be written (File too large)",
        "next",
    ]


def test_a_reader_that_went_away_costs_lines_only(pipe: tuple[int, int]) -> None:
    """`autohealer 3 worker | head` would end the daemon, or fill its error output."""
    os.close(pipe[0])
    outlet = Outlet(pipe[1], "utf-8", told)
    outlet.write(["a"])
    outlet.write(["b"])


def test_a_terminal_made_non_blocking_by_another_program_loses_nothing(
    pipe: tuple[int, int],
) -> None:
    """Sharing a terminal with a program of Node would lose the half of each burst of lines."""
    os.set_blocking(pipe[1], False)
    full = 0
    with suppress(BlockingIOError):
        while True:
            full += os.write(pipe[1], bytes(1))
    lines = ["x" * 1000] * 200
    thread = threading.Thread(target=Outlet(pipe[1], "utf-8", told).write, args=(lines,))
    thread.start()
    got = b""
    while len(got) < full + 200 * 1001:
        got += os.read(pipe[0], 65536)
    thread.join()
    assert got[full:].decode().splitlines() == lines


def test_the_line_below_is_wiped_and_put_back(pipe: tuple[int, int]) -> None:
    """Log lines and the line at the bottom would be mixed up on the terminal."""
    outlet = Outlet(pipe[1], "utf-8", told, lambda: 80)
    outlet.below = "7/10 registered"
    outlet.write([])
    outlet.write(["a"])
    outlet.write([])
    outlet.below = ""
    outlet.write([])
    assert os.read(pipe[0], 1000).decode() == (
        "\r\x1b[K7/10 registered\r\x1b[Ka\n7/10 registered\r\x1b[K"
    )


def test_the_line_below_fits_the_terminal_as_it_is_now(pipe: tuple[int, int]) -> None:
    """On a narrow terminal the line would wrap and leave ghosts behind."""
    widths = iter((34, 10, 1))
    outlet = Outlet(pipe[1], "utf-8", told, lambda: next(widths))
    outlet.below = "0/4 registered, 4 draining, stopping (Ctrl-C again to kill at once)"
    for _ in range(3):
        outlet.write([])
    shown = os.read(pipe[0], 1000).decode().split("\r\x1b[K")
    assert [len(line) for line in shown] == [0, 33, 9, 0]
