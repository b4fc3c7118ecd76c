"""Standard streams that stall, are closed, full or narrow: they cost log lines and never the daemon."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.daemon import Daemon
from tests.support.eventually import eventually

WITHIN_S = 20.0
F_SETPIPE_SZ = 1031
AUTOHEALER = (sys.executable, "-m", "autohealer")


def with_streams(daemon: Daemon, redirections: str) -> Daemon:
    """The daemon, started by a shell that redirects."""
    daemon.command = ["sh", "-c", f'exec "$@" {redirections}', "sh", *daemon.command]
    return daemon


@contextmanager
def small_pipe() -> Iterator[tuple[int, int]]:
    """A pipe that is full soon."""
    read, write = os.pipe()
    fcntl.fcntl(write, F_SETPIPE_SZ, 4096)
    try:
        yield read, write
    finally:
        for descriptor in (read, write):
            with suppress(OSError):
                os.close(descriptor)


def talks(daemon: Daemon) -> None:
    """Give a daemon of four something to say about twelve workers."""
    for _ in range(3):
        pids = daemon.has_served()
        for pid in pids.values():
            os.kill(pid, signal.SIGKILL)
        daemon.replaces(pids, within_s=WITHIN_S)


@pytest.mark.thorough
def test_a_reader_that_stalls_stops_neither_healing_nor_the_end(
    server: str, tmp_path: Path
) -> None:
    """`autohealer … | less`, or a terminal stopped by Ctrl-S, would end healing and ignore TERM."""
    daemon = Daemon(tmp_path / "state", server, replicas=4)
    with small_pipe() as (_, daemon.says_into), daemon:
        talks(daemon)
        began = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - began < 10
        assert daemon.everything_started() == []


FLOODED = """
import sys
from autohealer.telemetry import scribe
scribe.Scribe.__init__.__defaults__ = (3000,)
from autohealer.cli.main import main
sys.argv[0] = "autohealer"
main()
"""


@pytest.mark.thorough
def test_lines_that_nobody_read_are_counted_when_somebody_reads_again(
    server: str, tmp_path: Path
) -> None:
    """A hole in the log would look as if nothing had happened."""
    daemon = Daemon(tmp_path / "state", server, replicas=4)
    daemon.command[1:3] = ["-c", FLOODED]
    with small_pipe() as (read, write), ExitStack() as stack:
        daemon.says_into = write
        stack.enter_context(daemon)
        talks(daemon)
        os.close(write)
        got = bytearray()
        thread = threading.Thread(target=_read_all, args=(read, got))
        thread.start()
        eventually(lambda: b"log_lines_dropped" in got, within_s=WITHIN_S)
        assert daemon.stop() == 0
        thread.join()
        assert b"were dropped while nobody read them" in got
        assert got.count(b"\n") == got.count(b'"timestamp"')


def _read_all(descriptor: int, into: bytearray) -> None:
    while piece := os.read(descriptor, 65536):
        into += piece


@pytest.mark.parametrize(
    "redirections",
    [
        "<&- >&- 2>&-",
        *(
            pytest.param(more, marks=pytest.mark.thorough)
            for more in (">&-", ">/dev/full 2>&1", "2>&-", "<&-", "</dev/full", "1</dev/null")
        ),
    ],
)
def test_it_runs_whatever_its_streams_are(server: str, tmp_path: Path, redirections: str) -> None:
    """A service manager that closes streams, or a full disk, would keep the daemon from running."""
    daemon = with_streams(Daemon(tmp_path / "state", server, replicas=1), redirections)
    with daemon:
        before = daemon.becomes_whole()
        os.kill(before[0], signal.SIGKILL)
        daemon.replaces(before, within_s=WITHIN_S)
        for number in (0, 1, 2):
            assert "socket:" not in os.readlink(f"/proc/{daemon.pid}/fd/{number}")  # noqa: PTH115
        assert daemon.stop() == 0
        assert "Traceback" not in daemon.output.read_text()


@pytest.mark.thorough
def test_a_reader_that_has_seen_enough_ends_nothing(server: str, tmp_path: Path) -> None:
    """`autohealer … | head` would end the daemon, or fill its errors with tracebacks."""
    daemon = Daemon(tmp_path / "state", server, replicas=1)
    with small_pipe() as (read, daemon.says_into), daemon:
        os.close(read)
        before = daemon.becomes_whole()
        os.kill(before[0], signal.SIGKILL)
        daemon.replaces(before, within_s=WITHIN_S)
        assert daemon.stop() == 0


@pytest.mark.parametrize(
    ("command", "encoding"),
    [
        pytest.param("--help", "ascii", marks=pytest.mark.thorough),
        pytest.param("--version", "ascii", marks=pytest.mark.thorough),
        pytest.param("status", "ascii", marks=pytest.mark.thorough),
        ("why", "ascii"),
        pytest.param("why", "utf-8", marks=pytest.mark.thorough),
    ],
)
@pytest.mark.parametrize(
    ("redirections", "allowed", "said"),
    [
        (">/dev/full", {5, 6}, "autohealer: "),
        (">&-", {0, 6}, ""),
        ("| head -c 1 >&2", {0, 6}, ""),
        ("2>&- >&- <&-", {0, 6}, ""),
        ("2>/dev/full >/dev/full", {5, 6}, ""),
    ],
)
def test_a_command_that_cannot_print_says_so_in_one_sentence(
    tmp_path: Path, command: str, redirections: str, allowed: set[int], said: str, encoding: str
) -> None:
    """Scripts would get tracebacks, or not learn that a report was never written."""
    folder = tmp_path / "groups/web"
    folder.mkdir(parents=True)
    entry = (
        '{"at": "2026-11-24T03:12:40+00:00", "event": "ended", "why": "größer",'
        ' "daemon_pid": 1, "last_output": []}\n'
    )
    (folder / "history.jsonl").write_text(entry * 1000)
    words = [command] if command.startswith("--") else [command, "--state-dir", str(tmp_path)]
    script = f'set -o pipefail; "$@" {redirections}; echo "rc $?" >&3'
    read, write = os.pipe()
    done = subprocess.run(
        ["bash", "-c", f"exec 3>&{write}; {script}", "bash", *AUTOHEALER, *words],
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=(write,),
        timeout=60,
        check=False,
        env=dict(os.environ) | {"PYTHONIOENCODING": encoding},
    )
    os.close(write)
    code = int(os.read(read, 100).decode().split()[1])
    os.close(read)
    assert code in allowed, done.stderr
    assert "Traceback" not in done.stderr
    assert said in done.stderr


@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LC_ALL": "C"},
        {"PYTHONIOENCODING": "ascii"},
    ],
)
@pytest.mark.thorough
def test_any_locale_will_do(server: str, tmp_path: Path, environment: dict[str, str]) -> None:
    """In a container without locales a worker's words or the status would end in UnicodeEncodeError."""
    program = tmp_path / "größer.sh"
    program.write_text("#!/bin/sh\necho größer · 大きい; exit 3\n")
    program.chmod(0o755)
    daemon = Daemon(
        tmp_path / "state",
        server,
        replicas=1,
        program=str(program),
        args=(),
        environment=environment,
    )
    with daemon:
        eventually(lambda: daemon.log("worker_exited"), within_s=WITHIN_S, view=daemon.view)
        for command in ("status", "why"):
            done = _asked(daemon, command)
            assert done.returncode == 0, done.stderr
            assert "exited with code 3" in done.stdout
        assert daemon.stop() == 0
        assert "UnicodeEncodeError" not in daemon.output.read_text()


def _asked(daemon: Daemon, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*AUTOHEALER, *words, "--state-dir", str(daemon.state_dir)],
        capture_output=True,
        timeout=60,
        check=False,
        env=daemon.environment | {"COLUMNS": "200"},
        encoding="utf-8",
        errors="replace",
    )


class Screen:
    """A terminal of so many columns, and all that was sent to it."""

    def __init__(self, columns: int) -> None:
        self._leader, self.follower = pty.openpty()
        self.resize(columns)
        self.sent = bytearray()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def resize(self, columns: int) -> None:
        """Make it wider or narrower."""
        size = struct.pack("HHHH", 24, columns, 0, 0)
        fcntl.ioctl(self.follower, termios.TIOCSWINSZ, size)

    def _read(self) -> None:
        with suppress(OSError):
            while piece := os.read(self._leader, 65536):
                self.sent += piece

    def close(self) -> None:
        """Turn it off."""
        os.close(self.follower)
        self._thread.join()
        os.close(self._leader)


@contextmanager
def on_screen(
    server: str,
    folder: Path,
    columns: int,
    environment: dict[str, str],
    options: Sequence[str] = (),
) -> Iterator[tuple[Daemon, Screen]]:
    """A whole group whose daemon writes to a terminal."""
    daemon = Daemon(folder / "state", server, replicas=2, environment=environment, options=options)
    screen = Screen(columns)
    daemon.says_into = screen.follower
    with daemon:
        daemon.becomes_whole()
        yield daemon, screen
        assert daemon.stop() == 0
    screen.close()


@pytest.mark.thorough
def test_the_line_at_the_bottom_fits_a_narrow_terminal_and_follows_its_width(
    server: str, tmp_path: Path
) -> None:
    """On 34 columns the line would wrap and leave a ghost above each log line."""
    with on_screen(server, tmp_path, 12, {"TERM": "xterm"}) as (daemon, screen):
        eventually(
            lambda: any(line.startswith("2/2 registe") for line in _bottoms(screen)),
            within_s=WITHIN_S,
        )
        assert all(len(line) <= 11 for line in _bottoms(screen))
        screen.resize(60)
        os.kill(daemon.pid, signal.SIGWINCH)
        eventually(lambda: "2/2 registered" in _bottoms(screen), within_s=WITHIN_S)


def _bottoms(screen: Screen) -> list[str]:
    pieces = screen.sent.decode(errors="replace").split("\r\x1b[K")
    last = [piece.rpartition("\n")[2] for piece in pieces]
    return [line for line in last if line[1:2] == "/"]


@pytest.mark.thorough
def test_a_dumb_terminal_gets_plain_lines(server: str, tmp_path: Path) -> None:
    """In an editor's shell the log would be full of escape sequences."""
    with on_screen(server, tmp_path, 80, {"TERM": "dumb"}) as (_, screen):
        pass
    assert b"worker_registered" in screen.sent
    assert b"\x1b" not in screen.sent


@pytest.mark.parametrize(
    "asked", [{"NO_COLOR": "1"}, pytest.param({"CLICOLOR": "0"}, marks=pytest.mark.thorough)]
)
def test_no_color_means_none(server: str, tmp_path: Path, asked: dict[str, str]) -> None:
    """Who cannot read colours could not turn them off."""
    with on_screen(server, tmp_path, 80, {"TERM": "xterm", **asked}) as (_, screen):
        pass
    assert b"\x1b[K" in screen.sent
    assert b"\x1b[3" not in screen.sent.replace(b"\x1b[K", b"")


@pytest.mark.thorough
def test_colours_are_there_without_such_wishes(server: str, tmp_path: Path) -> None:
    """The test of no colours would pass because there never are any."""
    plain = {"TERM": "xterm", "NO_COLOR": "", "CLICOLOR": "1"}
    with on_screen(server, tmp_path, 80, plain) as (_, screen):
        pass
    assert b"\x1b[3" in screen.sent
