"""The daemon leaves its workers on purpose, and can say for years why each of them ended."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from autohealer.telemetry.history import Entry, read_history
from tests.integration.test_command_line import autohealer
from tests.support.daemon import Daemon, exists
from tests.support.ports import free_port
from tests.support.servers import ZooKeeperUnderTest


def deaths(daemon: Daemon) -> list[Entry]:
    """What the group's history says of deaths."""
    folder = daemon.state_dir / "groups" / daemon.group
    return [entry for entry in read_history(folder) if entry.event == "ended"]


@pytest.mark.parametrize(
    "kind",
    ["embedded by the daemon", pytest.param("a server of its own", marks=pytest.mark.thorough)],
)
def test_a_detached_daemon_leaves_everything_running_for_the_next(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """An upgrade of the daemon would be an outage."""
    own = kind == "embedded by the daemon"
    address = f"embedded:{free_port()}" if own else outside_server(request)
    with Daemon(tmp_path / "state", address, replicas=5) as daemon:
        before = daemon.becomes_whole()
        servers = {p.pid for p in daemon.everything_started()} - set(before.values())
        assert len(servers) == int(own)
        done = autohealer("detach", "--state-dir", str(daemon.state_dir))
        assert (done.returncode, daemon.wait()) == (0, 0)
        assert "its 5 workers run on" in done.stdout
        assert all(exists(pid) for pid in (*before.values(), *servers))
        assert [line["workers_left_running"] for line in daemon.log("detached")] == [5]
        daemon.start()
        assert daemon.becomes_whole() == before
        assert len(daemon.log("worker_adopted")) == 5
        assert daemon.stop() == 0
        assert daemon.everything_started() == []


def outside_server(request: pytest.FixtureRequest) -> str:
    """An Apache ZooKeeper that no daemon started."""
    server = request.getfixturevalue("shared_apache")
    return f"{server.address}/detach"


def test_detaching_without_a_daemon_says_so(tmp_path: Path) -> None:
    """A script would wait, or end in a traceback."""
    done = autohealer("detach", "--state-dir", str(tmp_path))
    assert done.returncode == 6
    assert "no daemon runs with the state directory" in done.stderr


def test_why_tells_each_death_apart_and_outlives_the_daemon(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """Nobody could say in the morning what happened at night."""
    options = ("--session-timeout", "1")
    with Daemon(tmp_path / "state", zookeeper.connection, replicas=3, options=options) as daemon:
        pids = daemon.becomes_whole()
        os.kill(pids[0], signal.SIGSEGV)
        daemon.replaces({0: pids[0]}, within_s=30)
        os.kill(pids[1], signal.SIGSTOP)
        daemon.replaces({1: pids[1]}, within_s=30)
        daemon.kill()
        daemon.start()
        daemon.becomes_whole()
        assert daemon.stop() == 0
        told = {(death.pid, death.cause) for death in deaths(daemon)}
        assert {(pids[0], "signal"), (pids[1], "frozen"), (pids[2], "operator")} <= told
        assert len(deaths(daemon)) == 5
        (segfault,) = [death for death in deaths(daemon) if death.pid == pids[0]]
        assert any(str(pids[0]) in line for line in segfault.last_output)

        shown = autohealer("why", "1", "--state-dir", str(daemon.state_dir)).stdout
        assert f"pid {pids[1]}" in shown
        assert "it was stopped (SIGSTOP)" in shown
        assert str(pids[0]) not in shown
        last = autohealer("why", "--last", "1", "--json", "--state-dir", str(daemon.state_dir))
        assert '"event": "daemon_stopped"' in last.stdout


def test_why_without_a_history_says_so(tmp_path: Path) -> None:
    """A typing error in the directory would look like a quiet night."""
    done = autohealer("why", "--state-dir", str(tmp_path))
    assert done.returncode == 6
    assert "no group" in done.stderr


WITH_A_BUG = """
import pathlib, sys
from autohealer.cli.main import main
from autohealer.daemon import loop

decide = loop.reconcile

def decide_badly(view):
    if pathlib.Path(sys.argv[0]).exists():
        raise RuntimeError("a bug shows")
    return decide(view)

loop.reconcile = decide_badly
sys.argv = sys.argv[1:]
main()
"""


@pytest.mark.thorough
def test_a_daemon_that_fails_leaves_its_server_to_the_workers(tmp_path: Path) -> None:
    """A bug in the daemon would take the registry away from workers that run on."""
    trigger = tmp_path / "the bug shows"
    daemon = Daemon(tmp_path / "state", f"embedded:{free_port()}", replicas=3)
    sound = daemon.command
    daemon.command = [sys.executable, "-c", WITH_A_BUG, str(trigger), *sound[3:]]
    with daemon:
        before = daemon.becomes_whole()
        trigger.touch()
        os.kill(before.pop(0), signal.SIGKILL)
        assert daemon.wait() == 1
        assert "RuntimeError: a bug shows" in daemon.output.read_text()
        assert len(daemon.everything_started()) == 3, "two workers and the server"
        daemon.command = sound
        daemon.start()
        after = daemon.becomes_whole()
        assert {slot: after[slot] for slot in before} == before
