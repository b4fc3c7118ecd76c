"""What a newcomer does with a file of three kinds of programs, from `init` to `down`."""

from __future__ import annotations

import os
import shutil
import signal
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest

from tests.integration.test_command_line import autohealer
from tests.integration.test_reload import edit, reload
from tests.integration.test_several_groups import Fleet, registrations
from tests.support.clients import connected
from tests.support.daemon import exists
from tests.support.eventually import eventually
from tests.support.nginx import nginx_conf
from tests.support.ports import free_port
from tests.support.require import require
from tests.support.servers import ZooKeeperUnderTest

pytestmark = pytest.mark.thorough

WITHIN_S = 60.0
THREE = """
[group.flaky]
command = "flaky_worker --mean-life inf"
replicas = 2
session_timeout = "2s"

[group.web]
command = ["nginx", "-e", "stderr", "-p", ".", "-c", "nginx.conf"]
directory = "nginx"
port = {port}
stop_signal = "QUIT"

[group.web.readiness]
http = "/"
period = "500ms"

[group.web.liveness]
http = "/"
period = "1s"

[group.loop]
command = ["/bin/sh", "-c", "while :; do date; sleep 0.5; done"]
replicas = 2
after = ["web"]
"""
GROUPS = ("flaky", "web", "loop")


def freeze(pid: int) -> None:
    """Stop a program with all that it started."""
    for process in (*psutil.Process(pid).children(recursive=True), psutil.Process(pid)):
        process.suspend()


def fleet_of_three(folder: Path, zookeeper: str) -> Fleet:
    """Not started yet."""
    port = free_port()
    (folder / "nginx").mkdir()
    (folder / "nginx" / "nginx.conf").write_text(nginx_conf("nginx", port))
    return Fleet(folder, zookeeper, THREE.format(port=port))


def test_what_init_writes_is_in_order(tmp_path: Path) -> None:
    """The very first command would end in a mistake of ours."""
    file = str(tmp_path / "autohealer.toml")
    assert autohealer("init", "-c", file).returncode == 0
    done = autohealer("check", "-c", file)
    assert done.returncode == 0, done
    assert "2 groups, 5 workers: ok" in done.stdout


def test_three_kinds_of_programs_from_up_to_down(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """What the README promises of any program would hold for none together."""
    require("nginx", shutil.which("nginx") is not None)
    fleet = fleet_of_three(tmp_path, zookeeper.connection)
    assert autohealer("check", "-c", str(fleet.file)).returncode == 0
    with fleet, connected(zookeeper.connection) as client:
        before = fleet.whole(*GROUPS)
        for group in GROUPS:
            os.kill(before[group][0], signal.SIGKILL)
            fleet.heals(group, 0, before[group][0])
        before = fleet.whole(*GROUPS)
        for group in GROUPS:
            freeze(before[group][0])
            fleet.heals(group, 0, before[group][0])

        before = fleet.whole(*GROUPS)
        edit(fleet, "sleep 0.5", "sleep 0.4")
        told = reload(fleet, "--dry-run")
        assert [line.split()[:3] for line in told[:-1]] == [["~", "loop", "command"]]
        reload(fleet)
        changed = eventually(lambda: _all_new(fleet, before["loop"]), within_s=WITHIN_S)
        now = fleet.whole(*GROUPS)
        assert {group: now[group] for group in ("flaky", "web")} == {
            group: before[group] for group in ("flaky", "web")
        }
        assert now["loop"] == changed

        made = registrations(client)
        fleet.kill()
        fleet.start()
        assert fleet.whole(*GROUPS) == now
        assert registrations(client) == made
        with urllib.request.urlopen(f"http://127.0.0.1:{_port(fleet)}/", timeout=10) as answer:
            assert answer.read() == b"served\n"

        done = autohealer("down", "--state-dir", str(fleet.state_dir))
        assert done.returncode == 0, done
        assert registrations(client) == {}
        assert not any(exists(pid) for pids in now.values() for pid in pids.values())


def _all_new(fleet: Fleet, before: Mapping[int, int]) -> Mapping[int, int] | None:
    status = fleet.of("loop")
    if status is None or status.holds or status.ready != len(before):
        return None
    now = fleet.whole("loop")["loop"]
    return None if set(now.values()) & set(before.values()) else now


def _port(fleet: Fleet) -> int:
    (line,) = (line for line in fleet.file.read_text().splitlines() if line.startswith("port = "))
    return int(line.removeprefix("port = "))
