"""What the commands say of daemons that are dead, stopped or silent, of several groups, and of a folder removed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from autohealer.control import socket_path
from tests.integration.test_command_line import autohealer
from tests.support.daemon import Daemon
from tests.support.eventually import eventually

WITHIN_S = 30.0


@contextmanager
def two_groups(base: Path, server: str) -> Iterator[tuple[Daemon, Daemon]]:
    """Daemons of the groups `one` and `two` in one state directory."""
    with (
        Daemon(base, server, replicas=1, group="one", options=("--group", "one")) as one,
        Daemon(base, server, replicas=2, group="two", options=("--group", "two")) as two,
    ):
        one.becomes_whole()
        two.becomes_whole()
        yield one, two


def test_a_dead_daemon_is_named_with_the_workers_it_left(server: str, tmp_path: Path) -> None:
    """After a crash the operator would read of a refused connection, and nothing of the workers that run on."""
    base = tmp_path / "state"
    with two_groups(base, server) as (one, two):
        (left,) = one.pids().values()
        one.kill()
        done = autohealer("status", "--state-dir", str(base), "--group", "one")
        assert done.returncode == 6
        assert done.stderr.strip() == (
            f"autohealer: the daemon of group 'one' (pid {one.pid}) is gone; "
            f"1 worker runs on (pid {left}): start it again to adopt it"
        )
        both = autohealer("status", "--state-dir", str(base))
        assert both.returncode == 0, "a dead one is no group to choose from"
        assert "two: 2/2 ready" in both.stdout
        assert "the daemon of group 'one'" in both.stderr
        assert autohealer("detach", "--state-dir", str(base)).returncode == 0, "the one that lives"
        assert two.wait() == 0
        none = autohealer("status", "--state-dir", str(base))
        assert none.returncode == 6
        assert "2 workers run on (pids" in none.stderr


@pytest.mark.thorough
def test_all_groups_are_shown_and_one_is_named_to_be_ended(server: str, tmp_path: Path) -> None:
    """With two groups every question would have to be asked twice, and a detach could end the wrong one."""
    base = tmp_path / "state"
    with two_groups(base, server) as (one, two):
        shown = autohealer("status", "--state-dir", str(base))
        assert shown.returncode == 0
        assert "one: 1/1 ready" in shown.stdout
        assert "two: 2/2 ready" in shown.stdout
        told = autohealer("why", "--state-dir", str(base))
        assert told.returncode == 0
        assert {"one:", "two:"} <= set(told.stdout.splitlines())
        for command in (("detach",), ("why", "--json")):
            done = autohealer(*command, "--state-dir", str(base))
            assert done.returncode == 2
            assert "there are several groups (one, two): name one with --group" in done.stderr
        quiet = autohealer("why", "0", "--group", "two", "--state-dir", str(base))
        assert (quiet.returncode, quiet.stdout.strip()) == (0, "nothing happened yet")
        for args, sentence in (
            (("99", "--group", "two"), "nothing is known of a slot 99 of group two"),
            (("--group", "nope"), "no group 'nope' has a history"),
            (("--group", "../one"), "cannot name a group"),
        ):
            done = autohealer("why", *args, "--state-dir", str(base))
            assert done.returncode == 2
            assert sentence in done.stderr
        assert (one.stop(), two.stop()) == (0, 0)
        assert "no daemon runs" in autohealer("status", "--state-dir", str(base)).stderr


@pytest.mark.thorough
def test_a_stopped_daemon_is_named_at_once(server: str, tmp_path: Path) -> None:
    """After a Ctrl-Z the operator would wait, and read that no daemon answers."""
    with Daemon(tmp_path / "state", server, replicas=1) as daemon:
        daemon.becomes_whole()
        daemon.signal(signal.SIGSTOP)
        done = autohealer("status", "--state-dir", str(daemon.state_dir))
        assert done.returncode == 6
        # Of one that was asked first, and waited for, it would say that it did not answer.
        assert f"(pid {daemon.pid}) is stopped (T): kill -CONT {daemon.pid}" in done.stderr
        daemon.signal(signal.SIGCONT)
        daemon.becomes_whole()


@pytest.mark.thorough
def test_a_removed_socket_comes_back_and_the_daemon_is_named_meanwhile(
    server: str, tmp_path: Path
) -> None:
    """A cleaner of old files would make a running daemon look dead."""
    with Daemon(tmp_path / "state", server, replicas=1) as daemon:
        daemon.becomes_whole()
        path = daemon.state_dir / "groups/flaky_worker" / socket_path.SOCKET_NAME
        daemon.signal(signal.SIGSTOP)
        path.unlink()
        daemon.signal(signal.SIGCONT)
        done = autohealer("status", "--state-dir", str(daemon.state_dir))
        assert done.returncode == 0 or f"(pid {daemon.pid}) runs without" in done.stderr
        eventually(daemon.is_whole, within_s=WITHIN_S, view=daemon.view)
        assert stat.S_IMODE(path.lstat().st_mode) == 0o600


@pytest.mark.thorough
def test_a_removed_state_directory_doubles_nobody_and_is_made_anew(
    server: str, tmp_path: Path
) -> None:
    """A script that cleans up before it starts again would run 2N workers, half of them unknown."""
    base = tmp_path / "state"
    daemon = Daemon(base, server, replicas=2)
    daemon.output = tmp_path / "out"
    with daemon:
        before = daemon.becomes_whole()
        shutil.rmtree(base)
        second = subprocess.run(
            daemon.command, capture_output=True, text=True, timeout=60, check=False
        )
        assert second.returncode == 4
        assert f"kept by the daemon with pid {daemon.pid}" in second.stderr
        assert daemon.becomes_whole() == before
        assert len(daemon.workers_alive()) == 2
        assert "made anew" in str(daemon.log("state_dir_disturbed"))
        daemon.kill()
        daemon.start()
        assert daemon.becomes_whole() == before, "the secret is the same"
        os.kill(before[0], signal.SIGKILL)
        daemon.replaces({0: before[0]}, within_s=WITHIN_S)
        assert daemon.stop() == 0
    folders = [path for path in (base, *base.rglob("*")) if path.is_dir()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o700}
    files = [path for path in base.rglob("*") if path.is_file()]
    assert [path.name for path in files if path.stat().st_mode & 0o077] == []


@pytest.mark.thorough
def test_a_flood_of_silent_clients_stops_no_healing(server: str, tmp_path: Path) -> None:
    """A script that forgets its connections would leave dead workers unreplaced, and fill the log."""
    with Daemon(tmp_path / "state", server, replicas=3) as daemon:
        before = daemon.becomes_whole()
        folder = daemon.state_dir / "groups/flaky_worker"
        clients: list[socket.socket] = [socket_path.connect(folder, 5.0) for _ in range(300)]
        for pid in before.values():
            os.kill(pid, signal.SIGKILL)
        daemon.replaces(before, within_s=WITHIN_S)
        assert len(daemon.log("control_socket_trouble")) == 1
        assert daemon.log("internal_error") == []
        for client in clients:
            client.close()
        assert daemon.stop() == 0
