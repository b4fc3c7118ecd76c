"""The log process as it is run, and the daemon's end of its pipes: what is lost when somebody is killed (nothing)."""

from __future__ import annotations

import fcntl
import os
import re
import resource
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from autohealer.logprocess.layout import PID_NOTE, log_of, older, unstamped
from autohealer.processes.pipes import Pipes
from tests.support.eventually import eventually

WITHIN_S = 20.0
MAX_BYTES = 4096


class Bench:
    """A folder, the daemon's end, a log process, and workers that are given pipes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.complaints: list[str] = []
        self.is_stamped = False
        self.keep = 3
        self.pipes = self.pipes_of_a_daemon()
        self._processes: list[subprocess.Popen[bytes]] = []

    def pipes_of_a_daemon(self) -> Pipes:
        """The daemon's end."""
        return Pipes(
            self.folder, is_stamped=self.is_stamped, owner=None, warn=self.complaints.append
        )

    def log_process(self, *options: str, stdout: int | None = None) -> subprocess.Popen[bytes]:
        """A log process that runs."""
        command = [sys.executable, "-m", "autohealer.logprocess", str(self.folder)]
        command += ["--max-bytes", str(MAX_BYTES), "--keep", str(self.keep), *options]
        command += ["--timestamps"] if self.is_stamped else []
        process = subprocess.Popen(command, stdout=stdout)
        self._processes.append(process)
        note = self.folder / PID_NOTE
        eventually(
            lambda: note.exists() and note.read_text() == str(process.pid), within_s=WITHIN_S
        )
        return process

    def worker(self, script: str, slot: int = 0) -> subprocess.Popen[bytes]:
        """A shell script that writes into the pipe of a slot."""
        descriptor = self.pipes.open(slot)
        process = subprocess.Popen(("bash", "-c", script), stdout=descriptor, stderr=descriptor)
        os.close(descriptor)
        self._processes.append(process)
        return process

    def kept(self, slot: int = 0) -> str:
        """What files have of a slot, the oldest first."""
        log = log_of(self.folder, slot)
        paths = [older(log, number) for number in range(self.keep, 0, -1)] + [log]
        return b"".join(map(_bytes_of, paths)).decode()

    def grows(self) -> None:
        """Return when more is kept than before."""
        size = len(self.kept())
        eventually(lambda: len(self.kept()) > size, within_s=WITHIN_S)

    def close(self) -> None:
        """End whoever runs."""
        for process in self._processes:
            process.kill()
            process.wait()
        self.pipes.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A bench that is cleared away."""
    bench = Bench(tmp_path)
    yield bench
    bench.close()


def test_lines_get_into_the_file_and_on_a_stop_all_that_are_left(bench: Bench) -> None:
    """A worker's last lines would be missing after `autohealer down`."""
    log = bench.log_process()
    worker = bench.worker("for n in $(seq 300); do echo line $n; done")
    assert worker.wait(WITHIN_S) == 0
    log.terminate()
    assert log.wait(WITHIN_S) == 0
    assert bench.kept() == "".join(f"line {number}\n" for number in range(1, 301))


def test_a_log_process_that_is_killed_costs_no_line_and_no_worker(bench: Bench) -> None:
    """kill -9 of it, or the OOM killer, would end workers by SIGPIPE, or lose what they wrote meanwhile."""
    bench.keep = 1000
    log = bench.log_process()
    worker = bench.worker("n=0; while [ ! -e stop ]; do n=$((n+1)); echo line $n; done; echo end")
    for _ in range(3):
        bench.grows()
        log.kill()
        log.wait()
        assert worker.poll() is None
        log = bench.log_process()
    worker.kill()
    worker.wait()
    log.terminate()
    assert log.wait(WITHIN_S) == 0
    numbers = [int(found) for found in re.findall(r"line (\d+)\n", bench.kept())]
    assert set(numbers) == set(range(1, max(numbers) + 1))


def test_what_waits_in_a_pipe_outlives_its_writer(bench: Bench) -> None:
    """A worker that dies while there is no log process would take its last words along."""
    worker = bench.worker("echo the reason")
    worker.wait(WITHIN_S)
    assert bench.pipes.tail(0, 0) == ["the reason"]
    bench.log_process()
    eventually(lambda: bench.kept() == "the reason\n", within_s=WITHIN_S)
    assert bench.pipes.tail(0, 0) == ["the reason"]


@pytest.mark.parametrize("is_stamped", [False, True], ids=["plain", "timestamps"])
def test_last_words_are_those_of_the_last_one(bench: Bench, *, is_stamped: bool) -> None:
    """`why` would show an earlier worker's words as this one's, or the time twice."""
    bench.is_stamped = is_stamped
    bench.pipes.close()
    bench.pipes = bench.pipes_of_a_daemon()
    bench.worker("echo first; echo words").wait(WITHIN_S)
    bench.worker("echo second").wait(WITHIN_S)  # what the first wrote waits in the pipe
    assert bench.pipes.tail(0, 0) == ["second"]
    bench.log_process()
    eventually(lambda: bench.kept().endswith("second\n"), within_s=WITHIN_S)
    assert bench.pipes.tail(0, 0) == ["second"]
    bench.worker("echo third").wait(WITHIN_S)
    assert bench.pipes.tail(0, 0) == ["third"]
    eventually(lambda: bench.kept().endswith("third\n"), within_s=WITHIN_S)
    assert bench.pipes.tail(0, 0) == ["third"]
    assert unstamped(bench.kept().encode()) == b"first\nwords\nsecond\nthird\n"


def test_last_words_are_found_where_a_file_ended_among_them(bench: Bench) -> None:
    """They would begin in the middle whenever the file was begun anew a moment before the death."""
    bench.log_process()
    filling = "x" * 300
    bench.worker(f"for n in 1 2 3 4 5 6 7 8 9 10; do echo {filling}; done").wait(WITHIN_S)
    eventually(lambda: len(bench.kept()) > 3000, within_s=WITHIN_S)
    bench.worker(f"for n in 1 2 3 4 5; do echo {filling}; done; echo the end").wait(WITHIN_S)
    eventually(lambda: bench.kept().endswith("the end\n"), within_s=WITHIN_S)
    assert older(log_of(bench.folder, 0), 1).exists()
    assert len(bench.pipes.tail(0, 0)) == 6


def test_a_worker_may_open_its_output_anew(bench: Bench) -> None:
    """`echo … > /dev/stderr` in a script would empty the log."""
    bench.log_process()
    worker = bench.worker('echo one; echo two > /dev/stderr; printf "three\\n" > /proc/self/fd/1')
    worker.wait(WITHIN_S)
    eventually(lambda: bench.kept() == "one\ntwo\nthree\n", within_s=WITHIN_S, view=bench.kept)


def test_it_ends_with_the_last_one_who_could_write(bench: Bench) -> None:
    """One would be left for ever by each daemon that died with its workers."""
    log = bench.log_process()
    worker = bench.worker("echo one; exec sleep 1000")
    eventually(lambda: bench.kept() == "one\n", within_s=WITHIN_S)
    bench.pipes.close()  # as if the daemon had died
    os.kill(log.pid, signal.SIGHUP)  # and a terminal with it
    assert log.poll() is None
    worker.kill()
    worker.wait()
    assert log.wait(WITHIN_S) == 0


def test_a_worker_outlives_daemon_and_log_process_and_its_lines_do_too(bench: Bench) -> None:
    """When the machine runs out of memory both may be killed, and SIGPIPE would end every worker."""
    log = bench.log_process()
    worker = bench.worker("n=0; while :; do n=$((n+1)); echo line $n; sleep 0.01; done")
    bench.grows()
    log.kill()
    log.wait()
    bench.pipes.close()
    eventually(lambda: _waits_in(bench.pipes.path(0)) > len("line 1\n") * 5, within_s=WITHIN_S)
    assert worker.poll() is None
    bench.pipes = bench.pipes_of_a_daemon()
    bench.log_process()
    bench.grows()
    numbers = [int(found) for found in re.findall(r"line (\d+)\n", bench.kept())]
    assert set(numbers) == set(range(1, max(numbers) + 1))


def _waits_in(pipe: Path) -> int:
    """How many bytes nobody has taken; the pipe stays as it is, because its writer has it open for reading, too."""
    descriptor = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        count: int = struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, b"\0" * 4))[0]
    finally:
        os.close(descriptor)
    return count


def test_it_does_not_wait_for_writers_that_are_gone(bench: Bench) -> None:
    """One that is launched after everybody has ended would be left for ever."""
    bench.worker("true").wait(WITHIN_S)
    bench.pipes.close()
    assert bench.log_process().wait(WITHIN_S) == 0


def test_what_was_written_and_not_yet_taken_is_told_once(bench: Bench) -> None:
    """A death in the moment of a write would be told with its words twice."""
    bench.worker("echo one; echo two").wait(WITHIN_S)
    log_of(bench.folder, 0).write_text("one\ntwo\n")
    assert bench.pipes.tail(0, 0) == ["one", "two"]


def test_the_next_daemon_goes_on_with_it(bench: Bench) -> None:
    """After a restart of the daemon new workers would write where nobody reads."""
    bench.log_process()
    old = bench.worker("echo one; exec sleep 1000")
    eventually(lambda: bench.kept() == "one\n", within_s=WITHIN_S)
    bench.pipes.close()
    bench.pipes = bench.pipes_of_a_daemon()
    bench.worker("echo two", slot=0).wait(WITHIN_S)
    bench.worker("echo other", slot=1).wait(WITHIN_S)
    eventually(lambda: bench.kept() == "one\ntwo\n", within_s=WITHIN_S)
    eventually(lambda: bench.kept(1) == "other\n", within_s=WITHIN_S)
    assert old.poll() is None


def test_a_disk_without_room_holds_up_nobody(bench: Bench) -> None:
    """Workers would stand still when the disk is full; afterwards nobody would know that something is missing."""
    log = bench.log_process()
    resource.prlimit(log.pid, resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
    worker = bench.worker("for n in $(seq 20000); do echo line $n; done")
    assert worker.wait(WITHIN_S) == 0
    resource.prlimit(log.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    bench.worker("echo after").wait(WITHIN_S)
    eventually(lambda: bench.kept().endswith("after\n"), within_s=WITHIN_S)
    assert re.search(r"autohealer: \d+ bytes lost: File too large\n", bench.kept())


def test_what_is_no_pipe_of_ours_is_not_written_to(bench: Bench) -> None:
    """A link planted in the folder would be followed, or a launch fail for it."""
    target = bench.folder / "target"
    target.write_text("mine\n")
    bench.pipes.path(0).symlink_to(target)
    assert bench.worker("echo lost").wait(WITHIN_S) == 0
    assert target.read_text() == "mine\n"
    assert len(bench.complaints) == 1
    assert "output is thrown away" in bench.complaints[0]


def _bytes_of(path: Path) -> bytes:
    """What a file has; nothing where it is being begun anew."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
