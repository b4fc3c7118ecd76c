"""The daemon with the ZooKeeper it brings along: started, kept alive, taken over, taken down."""

from __future__ import annotations

import os
import signal
import socket
from functools import partial
from pathlib import Path

import pytest

from tests.support.daemon import Daemon, exists
from tests.support.eventually import eventually
from tests.support.ports import HOST, free_port
from tests.support.servers import ZooKeeperServer, four_letter_word


@pytest.fixture
def port() -> int:
    """A port for an embedded server."""
    return free_port()


def server_pid(daemon: Daemon) -> int:
    """The embedded server as the daemon's log names it last."""
    lines = [
        line
        for line in daemon.log()
        if line["event"] in {"embedded_server_started", "embedded_server_adopted"}
    ]
    pid = lines[-1]["pid"]
    assert isinstance(pid, int)
    return pid


def has_another_server(daemon: Daemon, old: int) -> bool:
    """Whether the embedded server was launched again."""
    return server_pid(daemon) != old


def test_the_first_line_names_the_zookeeper_and_why(port: int, tmp_path: Path) -> None:
    """A user would not know where the workers are registered."""
    with Daemon(tmp_path / "state", f"embedded:{port}", replicas=1) as daemon:
        daemon.becomes_whole()
        first = daemon.log()[0]
        assert first["event"] == "zookeeper_chosen"
        assert first["address"] == f"127.0.0.1:{port}"
        assert "embedded" in str(first["why"])


def test_a_stop_takes_the_embedded_server_along(port: int, tmp_path: Path) -> None:
    """A server nobody asked for would stay behind and hold the port."""
    with Daemon(tmp_path / "state", f"embedded:{port}", replicas=3) as daemon:
        daemon.becomes_whole()
        server = server_pid(daemon)
        assert daemon.stop() == 0
        assert not exists(server)
        assert daemon.everything_started() == []
        assert four_letter_word(f"{HOST}:{port}", "ruok") == ""


def test_a_killed_embedded_server_comes_back_and_no_worker_notices(
    port: int, tmp_path: Path
) -> None:
    """The healer would let its own store die, and its workers with it."""
    with Daemon(tmp_path / "state", f"embedded:{port}", replicas=5) as daemon:
        before = daemon.becomes_whole()
        for _ in range(2):
            server = server_pid(daemon)
            os.kill(server, signal.SIGKILL)
            restarted = partial(has_another_server, daemon, server)
            eventually(restarted, within_s=20, view=daemon.view)
            assert daemon.becomes_whole() == before


@pytest.mark.thorough
def test_a_daemon_and_its_server_killed_together_are_taken_over_by_the_next(
    port: int, tmp_path: Path
) -> None:
    """After a crash the next daemon would start over and double the workers."""
    daemon = Daemon(tmp_path / "state", f"embedded:{port}", replicas=4)
    with daemon:
        before = daemon.becomes_whole()
        server = server_pid(daemon)
        daemon.kill()
        assert exists(server)
        os.kill(server, signal.SIGKILL)
        daemon.start()
        assert daemon.becomes_whole() == before
        assert daemon.stop() == 0
        assert daemon.everything_started() == []


@pytest.mark.thorough
def test_a_server_left_by_a_crashed_daemon_is_adopted_and_stopped_at_the_end(
    port: int, tmp_path: Path
) -> None:
    """A server whose daemon crashed would belong to nobody, for ever."""
    daemon = Daemon(tmp_path / "state", f"embedded:{port}", replicas=2)
    with daemon:
        daemon.becomes_whole()
        server = server_pid(daemon)
        daemon.kill()
        daemon.start()
        eventually(lambda: daemon.log("embedded_server_adopted"), within_s=20, view=daemon.view)
        daemon.becomes_whole()
        assert server_pid(daemon) == server
        assert daemon.stop() == 0
        assert not exists(server)


@pytest.mark.thorough
def test_a_server_found_hanging_is_replaced(port: int, tmp_path: Path) -> None:
    """A daemon would never start again beside a server that hangs, and its workers would be left to themselves."""
    with Daemon(tmp_path / "state", f"embedded:{port}", replicas=3) as daemon:
        before = daemon.becomes_whole()
        server = server_pid(daemon)
        daemon.kill()
        os.kill(server, signal.SIGSTOP)
        daemon.start()
        eventually(lambda: daemon.log("embedded_server_hangs"), within_s=30, view=daemon.view)
        assert daemon.becomes_whole() == before
        assert not exists(server)
        assert daemon.stop() == 0


def test_a_port_taken_by_something_else_is_one_sentence(port: int, tmp_path: Path) -> None:
    """A web server on the port would be mistaken for ZooKeeper, or crash the daemon."""
    with (
        socket.create_server((HOST, port)),
        Daemon(tmp_path / "state", f"embedded:{port}") as daemon,
    ):
        assert daemon.wait() == 3
        said = daemon.output.read_text()
        assert f"port {port} is taken by something that is not ZooKeeper" in said
        assert "Traceback" not in said


def test_embedded_on_the_port_of_an_apache_zookeeper_is_refused(
    shared_apache: ZooKeeperServer, tmp_path: Path
) -> None:
    """Somebody who asked for a private server would write into a shared one."""
    port = shared_apache.address.rpartition(":")[2]
    with Daemon(tmp_path / "state", f"embedded:{port}") as daemon:
        assert daemon.wait() == 3
        assert f"use it with --zookeeper {shared_apache.address}" in daemon.output.read_text()


@pytest.mark.thorough
def test_two_groups_share_one_embedded_server(port: int, tmp_path: Path) -> None:
    """A second group on a laptop would need a server of its own, or end the first one's."""
    first = Daemon(tmp_path / "state", f"embedded:{port}", replicas=2)
    second = Daemon(
        tmp_path / "other",
        f"embedded:{port}",
        replicas=2,
        options=("--group", "blue"),
        group="blue",
    )
    with first, second:
        before = first.becomes_whole()
        second.becomes_whole()
        assert second.stop() == 0
        assert first.becomes_whole() == before


@pytest.mark.thorough
def test_when_the_daemon_that_brought_the_server_leaves_the_other_brings_it_back(
    port: int, tmp_path: Path
) -> None:
    """The second group on a laptop would be left without a store when the first is stopped."""
    first = Daemon(tmp_path / "state", f"embedded:{port}", replicas=2)
    second = Daemon(
        tmp_path / "state",
        f"embedded:{port}",
        replicas=2,
        options=("--group", "blue"),
        group="blue",
    )
    with first:
        first.becomes_whole()
        with second:
            before = second.becomes_whole()
            assert first.stop() == 0
            eventually(lambda: second.log("embedded_server_started"), within_s=20, view=second.view)
            assert second.becomes_whole() == before
            assert second.stop() == 0
            assert second.everything_started() == []


@pytest.mark.thorough
def test_nothing_answers_is_said_within_the_connect_timeout(port: int, tmp_path: Path) -> None:
    """A wrong address would hang, or start workers that can never register."""
    with Daemon(tmp_path / "state", f"{HOST}:{port}/nowhere") as daemon:
        assert daemon.wait() == 3
        said = daemon.output.read_text()
        assert f"no ZooKeeper answered at {HOST}:{port}/nowhere within 5 s" in said
        assert "Traceback" not in said
        assert daemon.everything_started() == []
