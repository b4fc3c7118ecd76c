"""What a newcomer meets: a mistake that is nobody's bug, and the sentence that says which."""

from __future__ import annotations

from pathlib import Path

import pytest

from autohealer.settings import group_dir
from autohealer.telemetry.history import read_history
from tests.support.apache import ApacheZooKeeper, apache_is_installed
from tests.support.daemon import Daemon
from tests.support.eventually import eventually
from tests.support.require import require
from tests.support.servers import ZooKeeperUnderTest, running


def _script(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_a_worker_whose_python_lacks_the_package_says_which_python_that_is(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """Right after `pip install autohealer` one would read `No module named 'autohealer'`, over and over."""
    python = _script(
        tmp_path / "python3",
        "#!/bin/sh\necho \"ModuleNotFoundError: No module named 'autohealer'\" >&2\nexit 1\n",
    )
    worker = _script(tmp_path / "w.py", f"#!{python}\n")
    with Daemon(
        tmp_path / "state", zookeeper.connection, replicas=1, program=str(worker), args=()
    ) as daemon:
        hint = f"({python}) does not have the package autohealer"
        eventually(lambda: daemon.log("worker_exited"), within_s=20, view=daemon.view)
        assert hint in str(daemon.log("worker_exited")[0]["hint"])
        eventually(
            lambda: any(hint in slot.hint for slot in daemon.slots()),
            within_s=20,
            view=daemon.view,
        )
        daemon.stop()
    history = read_history(group_dir(daemon.state_dir, daemon.group))
    assert any(hint in (entry.hint or "") for entry in history)


def test_a_session_timeout_that_the_server_clips_is_told_with_what_it_grants(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """A frozen worker would be given up long before, or long after, the time that was asked for, and nobody knew."""
    with Daemon(
        tmp_path / "state",
        zookeeper.connection,
        replicas=1,
        options=("--session-timeout", "600"),
    ) as daemon:
        daemon.becomes_whole()
        # 20 ticks of half a second, in the tests
        granted_s = 10 if isinstance(zookeeper.server, ApacheZooKeeper) else 60
        sentence = (
            f"grants workers sessions of {granted_s} s (maxSessionTimeout there), not of the 600 s"
        )
        eventually(lambda: daemon.log("session_timeout_clipped"), within_s=20, view=daemon.view)
        assert sentence in str(daemon.log("session_timeout_clipped")[0]["why"])
        status = daemon.status()
        assert status is not None
        assert any(sentence in note for note in status.notes)


@pytest.mark.thorough
def test_a_session_timeout_that_is_granted_needs_no_word(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """Everybody would be told of a limit that concerns nobody."""
    with Daemon(tmp_path / "state", zookeeper.connection, replicas=1) as daemon:
        daemon.becomes_whole()
        daemon.stop()
        assert not daemon.log("session_timeout_clipped")
        assert not daemon.log("workers_turned_away")


class CrowdedZooKeeper(ApacheZooKeeper):
    """One that takes only so many connections of one host, as the stock one takes 60."""

    def _settings(self) -> dict[str, object]:
        return super()._settings() | {"maxClientCnxns": 4}


@pytest.mark.thorough
def test_a_zookeeper_that_takes_no_more_connections_of_a_host_is_told_with_the_setting(
    tmp_path: Path,
) -> None:
    """A group of sixty on stock ZooKeeper has workers that "never registered", are ended and launched again."""
    require("Apache ZooKeeper", apache_is_installed())
    with (
        running(CrowdedZooKeeper(tmp_path / "zk")) as server,
        Daemon(
            tmp_path / "state",
            server.address,
            replicas=6,
            options=("--registration-timeout", "8"),
        ) as daemon,
    ):
        eventually(lambda: daemon.log("workers_turned_away"), within_s=30, view=daemon.view)
        sentence = str(daemon.log("workers_turned_away")[0]["why"])
        assert f"ZooKeeper at {server.address} closes new connections of this host" in sentence
        assert "maxClientCnxns" in sentence
        assert "6 workers and the daemon need 7 connections" in sentence
        status = daemon.status()
        assert status is not None
        assert any("maxClientCnxns" in note for note in status.notes)
        daemon.stop()
    history = list(read_history(group_dir(daemon.state_dir, daemon.group)))
    assert [entry.event for entry in history].count("workers_turned_away") == 1
