"""Told to stop before it has really started, the daemon stops, and leaves nothing."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.support.daemon import Daemon
from tests.support.eventually import eventually
from tests.support.ports import HOST, free_port
from tests.support.servers import ZooKeeperServer, four_letter_word


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGINT, id="ctrl-c", marks=pytest.mark.thorough),
        pytest.param(signal.SIGTERM, id="term"),
    ],
)
def test_a_stop_during_the_start_of_the_embedded_server(
    number: signal.Signals, tmp_path: Path
) -> None:
    """An impatient Ctrl-C would end in a traceback, or leave a server behind."""
    port = free_port()
    with Daemon(tmp_path / "state", f"embedded:{port}") as daemon:
        eventually(lambda: daemon.log("embedded_server_started"), within_s=20, view=daemon.view)
        daemon.signal(number)
        assert daemon.wait() == 0
        assert "Traceback" not in daemon.output.read_text()
        assert daemon.everything_started() == []
        assert four_letter_word(f"{HOST}:{port}", "ruok") == ""


@pytest.mark.thorough
def test_a_stop_while_zookeeper_is_frozen_ends_the_workers_all_the_same(
    own_zookeeper: ZooKeeperServer, tmp_path: Path
) -> None:
    """A store that hangs would keep a group from being stopped."""
    with Daemon(tmp_path / "state", own_zookeeper.address, replicas=3) as daemon:
        daemon.becomes_whole()
        own_zookeeper.freeze()
        assert daemon.stop() == 0
        assert daemon.everything_started() == []
        own_zookeeper.resume()
