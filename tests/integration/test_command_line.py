"""What a user types, and what is said to mistakes: one sentence, a documented exit code, nothing started."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from datetime import UTC, datetime
from json import loads
from pathlib import Path

import pytest

from tests.support.daemon import Daemon
from tests.support.eventually import eventually
from tests.support.servers import ZooKeeperUnderTest


def autohealer(
    *args: str, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "autohealer", *args],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=cwd,
        env=dict(os.environ) | environment,
    )


MISTAKES = {
    ("ten", "flaky_worker"): "must be a whole number, not 'ten'",
    ("3", "no-such-program"): "no program 'no-such-program'",
    ("3", "plain.sh"): "plain.sh has no #! line",
    ("--zookeeper", "a:b:c", "3", "flaky_worker"): "'a:b:c' is not HOST or HOST:PORT",
    ("--no-such-option", "3", "flaky_worker"): "No such option: --no-such-option",
    ("3",): "say which program is to be kept alive 3 times",
}
"""One of each kind, and below more of the same."""
MORE_MISTAKES = {
    ("-3", "flaky_worker"): "cannot be negative",
    ("10001", "flaky_worker"): "more than the 10000 one daemon keeps",
    ("3", "./no/such/file"): "./no/such/file does not exist",
    ("3", "/"): "is a folder",
    ("3", "plain.txt"): "plain.txt is not executable",
    ("--zookeeper", "zk1:99999", "3", "flaky_worker"): "'99999' is not a port",
    ("--zookeeper", "zk1/a//b", "3", "flaky_worker"): "is not a chroot",
    ("--zookeeper", "embedded:x", "3", "flaky_worker"): "'x' is not a port",
    ("--group", "a/b", "3", "flaky_worker"): "'a/b' cannot name a group",
    ("--grace", "-1", "3", "flaky_worker"): "Invalid value for '--grace'",
    ("--group", "a"): "say how many workers and of which program",
    ("run",): "say how many workers and of which program",
    ("3", "crlf.sh"): "crlf.sh has Windows line endings",
}


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        *MISTAKES.items(),
        *(pytest.param(*more, marks=pytest.mark.thorough) for more in MORE_MISTAKES.items()),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    args: tuple[str, ...], sentence: str, tmp_path: Path
) -> None:
    """A typing error would start something, or answer with a traceback."""
    (tmp_path / "plain.txt").write_text("not a program")
    for name, text in (("crlf.sh", "#!/bin/sh\r\n"), ("plain.sh", "exec sleep 1\n")):
        (tmp_path / name).write_bytes(text.encode())
        (tmp_path / name).chmod(0o755)
    state = tmp_path / "state"
    done = autohealer(*args, cwd=tmp_path, XDG_STATE_HOME=str(state))
    assert done.returncode == 2, done.stderr
    assert sentence in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not state.exists()


def test_a_state_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """A read-only home would end in a traceback."""
    blocker = tmp_path / "file"
    blocker.write_text("")
    done = autohealer("--state-dir", str(blocker / "state"), "1", "flaky_worker")
    assert done.returncode == 5
    assert f"the state directory {blocker / 'state'} cannot be used" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_names_the_options_and_the_exit_codes() -> None:
    """A newcomer would have to read the source."""
    whole = " ".join(autohealer("--help", COLUMNS="80").stdout.split())
    assert "..." not in whole.replace("[ARGS]...", ""), "no command's summary is cut"
    assert autohealer("-h").stdout == autohealer("--help").stdout
    assert autohealer("status", "-h").stdout == autohealer("status", "--help").stdout
    assert "autohealer 10 flaky_worker" in whole
    run = " ".join(autohealer("run", "--help").stdout.split())
    for option in (
        "--zookeeper",
        "--group",
        "--session-timeout",
        "--registration-timeout",
        "--grace",
    ):
        assert option in run
    assert "3 no ZooKeeper" in run


def test_version_is_printed() -> None:
    """A bug report would lack its most useful line."""
    for option in ("--version", "-V"):
        done = autohealer(option)
        assert (done.returncode, done.stdout.strip()) == (0, "0.1.0")


def test_status_without_a_daemon_says_so(tmp_path: Path) -> None:
    """Asking too early would end in a traceback, or look like an empty group."""
    done = autohealer("status", "--state-dir", str(tmp_path))
    assert done.returncode == 6
    assert "no daemon runs with the state directory" in done.stderr


def test_status_shows_each_slot_with_ages_and_json_says_the_same(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """A person at 3 a.m. could not see what runs, or a program could not read it."""
    with Daemon(tmp_path / "state", zookeeper.connection, replicas=2) as daemon:
        pids = daemon.becomes_whole()
        table = autohealer("status", "--state-dir", str(daemon.state_dir), COLUMNS="160").stdout
        assert "flaky_worker: 2/2 ready" in table
        for pid in pids.values():
            assert str(pid) in table
        assert "present for" in table
        json = autohealer("status", "--json", "--state-dir", str(daemon.state_dir)).stdout
        assert f'"pid":{pids[0]}' in json
        assert '"v":1' in json
        at = datetime.fromisoformat(str(loads(json)["at"]))
        assert abs((datetime.now(UTC) - at).total_seconds()) < 60
        socket = daemon.state_dir / "groups/flaky_worker/control.sock"
        assert stat.S_IMODE(socket.stat().st_mode) == 0o600


def test_what_follows_the_program_reaches_the_worker_untouched(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """The daemon would swallow a worker's own options."""
    program = tmp_path / "shows.sh"
    program.write_text('#!/bin/sh\necho "args: $*"\nexec sleep 1000\n')
    program.chmod(0o755)
    args = ("--zookeeper", "x", "--help", "--", "-1", "two words")
    log = tmp_path / "state/groups/shows/output/slot-0.log"
    with Daemon(
        tmp_path / "state", zookeeper.connection, replicas=1, program=str(program), args=args
    ) as daemon:
        eventually(lambda: log.exists() and log.read_text(), within_s=20, view=daemon.view)
        assert log.read_text() == "args: --zookeeper x --help -- -1 two words\n"


WITHOUT_PIDFD = """
import os, sys
del os.pidfd_open
from autohealer.cli.main import main
sys.argv = ["autohealer", "--state-dir", sys.argv[1], "1", "flaky_worker"]
main()
"""


def test_a_kernel_without_pidfd_is_told_what_is_needed(tmp_path: Path) -> None:
    """On an old kernel the daemon would fail in the middle of things."""
    command = [sys.executable, "-c", WITHOUT_PIDFD, str(tmp_path / "state")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 5
    assert "autohealer needs pidfd_open, which Linux has since 5.3" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "state").exists()


def test_a_host_that_is_not_zookeeper_is_one_sentence(tmp_path: Path) -> None:
    """The address of a web server would hang the daemon."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        done = autohealer(
            "--zookeeper", address, "--state-dir", str(tmp_path / "state"), "1", "flaky_worker"
        )
    assert done.returncode == 3
    assert f"no ZooKeeper answered at {address}" in done.stderr
    assert "Traceback" not in done.stderr
