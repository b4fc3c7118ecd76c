"""A running group is scaled, stopped, started, restarted and signalled from the command line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from autohealer.control.records import StatusRecord
from tests.integration.test_reload import edit, reload
from tests.integration.test_several_groups import LOOP, Fleet, does
from tests.support.daemon import ready_pids
from tests.support.eventually import eventually
from tests.support.ports import free_port
from tests.support.servers import ZooKeeperUnderTest

WITHIN_S = 60.0
BESIDE = f"""
[group.web]
command = {LOOP}
replicas = 3

[group.queue]
command = {LOOP}
"""


def seen(fleet: Fleet, group: str, holds: Callable[[StatusRecord], bool]) -> StatusRecord:
    """Wait until that is so of a group's status."""

    def look() -> StatusRecord | None:
        status = fleet.of(group)
        return status if status is not None and holds(status) else None

    return eventually(look, within_s=WITHIN_S, view=fleet.view)


def pids(fleet: Fleet, group: str) -> dict[int, int]:
    """Slot to pid of those that are ready, once these are all that are wanted."""
    return ready_pids(seen(fleet, group, lambda it: it.ready == it.desired))


def test_a_group_is_scaled_and_slots_stopped_whatever_becomes_of_the_daemon(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """What was changed at night would be undone by a crash, or changed for those that nobody meant."""
    with Fleet(tmp_path, zookeeper.connection, BESIDE) as fleet:
        before, beside = fleet.whole("web", "queue").values()
        assert does(fleet, "scale", "web", "5") == (
            "web: 3 -> 5 wanted (3 declared)\nweb: 5/5 ready\n"
        )
        assert does(fleet, "stop", "web/1") == "web: slot 1 stopped\nweb: 4/4 ready, 1 stopped\n"
        kept = pids(fleet, "web")
        assert before.items() - {(1, before[1])} <= kept.items()
        fleet.kill()
        fleet.start()
        status = seen(fleet, "web", lambda it: it.ready == 4)
        assert (status.replicas, status.declared, status.desired) == (5, 3, 4)
        assert [it.slot for it in status.slots if it.phase == "stopped"] == [1]
        assert ready_pids(status) == kept
        assert "web: 4/4 ready (3 declared), 1 stopped" in does(fleet, "status", "--group", "web")
        does(fleet, "start", "web/1")
        assert does(fleet, "scale", "web", "-2").endswith("web: 3/3 ready\n")
        assert pids(fleet, "web").items() >= before.items() - {(1, before[1])}
        assert pids(fleet, "queue") == beside
        assert "there is no slot 3: group 'web' has slots 0 to 2" in does(
            fleet, "stop", "web/3", code=2
        )
        assert fleet.stop() == 0


def test_everything_is_stopped_and_started_again(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """A group could not be put to rest without taking the daemon and all others with it."""
    with Fleet(tmp_path, zookeeper.connection, BESIDE) as fleet:
        before, beside = fleet.whole("web", "queue").values()
        assert does(fleet, "stop", "web").endswith("web: 0/0 ready, 3 stopped\n")
        assert does(fleet, "scale", "web", "4").endswith("web: 0/0 ready, 4 stopped\n")
        assert does(fleet, "start", "web/3").endswith("web: 1/1 ready, 3 stopped\n")
        assert does(fleet, "start", "web").endswith("web: 4/4 ready\n")
        assert not set(pids(fleet, "web").values()) & set(before.values())
        assert pids(fleet, "queue") == beside
        assert fleet.stop() == 0


def test_a_restart_goes_on_after_each_crash_of_the_daemon(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """Half of the workers would run on with the old certificate, and nobody know which."""
    with Fleet(tmp_path, zookeeper.connection, BESIDE) as fleet:
        before = fleet.whole("web")["web"]
        does(fleet, "restart", "web", "--no-wait")
        for crash in range(2):
            seen(fleet, "web", lambda it, left=2 - crash: _left(it, before) <= left)  # type: ignore[misc]
            fleet.kill()
            fleet.start()
        status = seen(fleet, "web", lambda it: it.ready == 3 and not _left(it, before))
        assert [it.restarts for it in status.slots if it.adopted] in ([0], [0, 0])
        assert not set(ready_pids(status).values()) & set(before.values())
        told = [line for line in fleet.log("worker_draining") if line["group"] == "web"]
        assert sorted(int(str(line["pid"])) for line in told) == sorted(before.values())
        assert fleet.stop() == 0


def _left(status: StatusRecord, before: dict[int, int]) -> int:
    """How many of the old ones are there still."""
    return sum(it.pid == before.get(it.slot) for it in status.slots)


@pytest.mark.thorough
def test_the_file_wins_when_it_says_another_number(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """A scale of long ago would outvote the file, or every reload undo a scale."""
    with Fleet(tmp_path, zookeeper.connection, BESIDE) as fleet:
        fleet.whole("web", "queue")
        does(fleet, "scale", "web", "2")
        edit(fleet, f"command = {LOOP}\nreplicas", f'command = {LOOP}\ngrace = "7s"\nreplicas')
        reload(fleet)
        assert len(pids(fleet, "web")) == 2
        edit(fleet, "replicas = 3", "replicas = 4")
        reload(fleet)
        eventually(lambda: len(pids(fleet, "web")) == 4, within_s=WITHIN_S, view=fleet.view)
        does(fleet, "scale", "web", "1")
        assert does(fleet, "scale", "web", "--reset").endswith("web: 4/4 ready\n")
        assert fleet.stop() == 0


def test_what_is_quarantined_is_tried_at_once_when_asked(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """Whoever has mended a program would have to wait for a pause of minutes, or restart everything."""
    lock = tmp_path / "broken"
    lock.touch()
    program = f'["/bin/sh", "-c", "test -e {lock} && exit 3; while :; do sleep 0.2; done"]'
    pause = 'restart = { initial = "60s", max = "60s" }'
    text = f"[group.web]\ncommand = {program}\n{pause}\n"
    with Fleet(tmp_path, zookeeper.connection, text) as fleet:
        seen(fleet, "web", lambda it: any((slot.next_try_s or 0) > 1 for slot in it.slots))
        told = does(fleet, "start", "--timeout", "1", code=7)
        assert "web: not as asked within 1 s, and it goes on: 0/1 ready; slot 0 is backoff" in told
        lock.unlink()
        assert does(fleet, "start").endswith("web: 1/1 ready\n")
        assert fleet.stop() == 0


def test_one_that_starts_is_stopped_and_a_signal_reaches_who_is_meant(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """A stop would wait for a start that never ends, or a signal reach a neighbour."""
    heard = tmp_path / "heard"
    program = (
        f'["/bin/sh", "-c", "trap \'echo {{slot}} >> {heard}\' USR1; while :; do sleep 0.1; done"]'
    )
    slow = '["sleep", "1000"]'
    text = (
        f"[group.web]\ncommand = {program}\nreplicas = 2\n"
        f'[group.slow]\ncommand = {slow}\nregister = "self"\nregistration_timeout = "300s"\n'
    )
    with Fleet(tmp_path, zookeeper.connection, text) as fleet:
        fleet.whole("web")
        assert does(fleet, "stop", "slow").endswith("slow: 0/0 ready, 1 stopped\n")
        assert does(fleet, "signal", "usr1", "web/1") == "web: SIGUSR1 sent to 1 worker\n"
        eventually(lambda: heard.exists() and heard.read_text() == "1\n", within_s=WITHIN_S)
        assert "there is no signal 'FOO'" in does(fleet, "signal", "foo", "web", code=2)
        assert "there are several groups (slow, web): name one" in does(fleet, "stop", code=2)
        assert fleet.stop() == 0


@pytest.mark.thorough
def test_a_group_is_changed_while_zookeeper_is_away(tmp_path: Path) -> None:
    """During an outage of the store nobody could stop a program that does harm."""
    text = f"[group.web]\ncommand = {LOOP}\nreplicas = 3\n"
    with Fleet(tmp_path, f"embedded:{free_port()}", text) as fleet:
        before = fleet.whole("web")["web"]
        (server,) = fleet.log("embedded_server_started")
        server_pid = int(str(server["pid"]))
        os.kill(server_pid, signal.SIGSTOP)
        try:
            seen(fleet, "web", lambda it: it.store != "connected")
            assert does(fleet, "stop", "0").endswith("stopped\n")
            does(fleet, "scale", "4", "--no-wait")
            status = seen(fleet, "web", lambda it: sum(s.pid is not None for s in it.slots) == 3)
            assert {it.slot for it in status.slots if it.pid} == {1, 2, 3}
        finally:
            os.kill(server_pid, signal.SIGCONT)
        assert pids(fleet, "web").items() >= before.items() - {(0, before[0])}
        assert fleet.stop() == 0


def test_of_two_operators_one_is_told_that_the_other_was_faster(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """Two who scale up by one each would both be told that it is done, and one of them be wrong."""
    text = f"[group.web]\ncommand = {LOOP}\n"
    with Fleet(tmp_path, zookeeper.connection, text) as fleet:
        fleet.whole("web")
        command = (sys.executable, "-m", "autohealer", "scale", "+1", "--no-wait")
        where = ("--state-dir", str(fleet.state_dir))
        operators = [
            subprocess.Popen([*command, *where], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            for _ in range(6)
        ]
        codes = [operator.wait(WITHIN_S) for operator in operators]
        said = [operator.communicate()[0].decode() for operator in operators]
        assert set(codes) <= {0, 7}
        assert len(pids(fleet, "web")) == 1 + codes.count(0)
        stale = [text for code, text in zip(codes, said, strict=True) if code == 7]
        assert all("changed by somebody else in the meantime" in text for text in stale)
        assert fleet.stop() == 0
