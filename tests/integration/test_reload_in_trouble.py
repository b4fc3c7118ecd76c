"""A reload comes when it pleases: while workers are starting, while no server answers; and it changes what is asked."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.integration.test_command_line import autohealer
from tests.integration.test_health import SERVER, registered, row
from tests.integration.test_reload import WITHIN_S, edit, reload, settled
from tests.integration.test_several_groups import LOOP, Fleet, registrations
from tests.support.clients import connected
from tests.support.eventually import eventually
from tests.support.ports import free_port
from tests.support.servers import ZooKeeperServer, ZooKeeperUnderTest

SERVERS = """
[group.web]
command = ["{python}", "-c", '''{server}''']
directory = "{folder}"
replicas = 2
port = {port}
register = "agent"
"""
PROBE = """
[group.web.{name}]
http = "/{name}-{{slot}}"
period = "200ms"
failures = {failures}
"""
RAMP = f"""
[group.web]
command = {LOOP}
replicas = 40
env = {{ COLOUR = "red" }}
"""
ONE = f"""
[group.web]
command = {LOOP}
replicas = 2
env = {{ COLOUR = "red" }}
"""


def with_server(fleet_folder: Path) -> str:
    """A group of web servers of whom nothing is asked yet."""
    return SERVERS.format(
        python=sys.executable, server=SERVER, folder=fleet_folder, port=free_port(2)
    )


def all_of_colour(fleet: Fleet, colour: str) -> Mapping[int, int] | None:
    """Who is ready, once all are of a colour and nobody waits to be replaced."""
    now = settled(fleet, "web")
    try:
        colours = {psutil.Process(pid).environ().get("COLOUR") for pid in now.values()}
    except psutil.Error:
        return None
    return now if colours == {colour} else None


def shells(fleet: Fleet) -> list[psutil.Process]:
    """The loops that live, without what they wait by."""
    found = []
    for process in fleet.everything_started():
        with suppress(psutil.NoSuchProcess):
            found += [process] if process.name() == "sh" else []
    return found


def test_probes_that_come_and_go_are_asked_at_once_and_restart_nobody(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """A probe could only be tried by restarting a service that is well, and a wrong one not be taken back."""
    with (
        Fleet(tmp_path, zookeeper.connection, with_server(tmp_path)) as fleet,
        connected(zookeeper.connection) as client,
    ):
        before = fleet.whole("web")["web"]
        eventually(lambda: registered(client) == {0, 1}, within_s=WITHIN_S)
        (tmp_path / "readiness-1").touch()
        without = fleet.file.read_text()
        fleet.file.write_text(without + PROBE.format(name="readiness", failures=1))
        assert "in place" in reload(fleet)[0]
        eventually(lambda: registered(client) == {0}, within_s=WITHIN_S)
        edit(fleet, "/readiness-", "/other-")
        reload(fleet)
        eventually(lambda: registered(client) == {0, 1}, within_s=WITHIN_S)
        edit(fleet, "/other-", "/readiness-")
        reload(fleet)
        eventually(lambda: registered(client) == {0}, within_s=WITHIN_S)
        fleet.file.write_text(without)
        reload(fleet)
        eventually(lambda: registered(client) == {0, 1}, within_s=WITHIN_S)
        assert fleet.whole("web")["web"] == before
        (tmp_path / "liveness-0").touch()
        fleet.file.write_text(without + PROBE.format(name="liveness", failures=15))
        reload(fleet)
        eventually(
            lambda: (it := row(fleet, 0)) is not None and it.pid not in {None, before[0]},
            within_s=WITHIN_S,
        )
        one = row(fleet, 1)
        assert one is not None
        assert one.pid == before[1]
        (tmp_path / "liveness-0").unlink()
        fleet.whole("web")
        assert fleet.stop() == 0


def test_a_reload_while_workers_are_starting_counts(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """Half of a group would stay what the old file says, or more than are wanted be started."""
    with Fleet(tmp_path, zookeeper.connection, RAMP) as fleet:
        eventually(
            lambda: (status := fleet.of("web")) is not None and status.ready > 0,
            within_s=WITHIN_S,
        )
        edit(fleet, '"red"', '"green"')
        edit(fleet, "replicas = 40", "replicas = 6")
        reload(fleet)
        now = eventually(lambda: all_of_colour(fleet, "green"), within_s=WITHIN_S, view=fleet.view)
        assert sorted(now) == list(range(6))
        assert len(shells(fleet)) == len(now)
        assert fleet.stop() == 0


@pytest.mark.thorough
def test_a_reload_while_no_server_answers_is_done_when_one_does(
    own_zookeeper: ZooKeeperServer, tmp_path: Path
) -> None:
    """A change would be lost in an outage, or cost everybody whose replacement cannot register."""
    with Fleet(tmp_path, own_zookeeper.address, ONE) as fleet:
        before = fleet.whole("web")["web"]
        own_zookeeper.kill()
        eventually(lambda: len(fleet.log("zookeeper_suspended")) > 0, within_s=WITHIN_S)
        edit(fleet, '"red"', '"green"')
        assert "2 replaced, one at a time" in reload(fleet)[0]
        assert all(psutil.pid_exists(pid) for pid in before.values())
        own_zookeeper.start()
        now = eventually(lambda: all_of_colour(fleet, "green"), within_s=WITHIN_S, view=fleet.view)
        assert not set(now.values()) & set(before.values())
        assert fleet.stop() == 0


@pytest.mark.thorough
@pytest.mark.timeout(200)
def test_fifty_groups_of_one_file(zookeeper: ZooKeeperUnderTest, tmp_path: Path) -> None:
    """What a host runs could not be kept by one daemon."""
    names = [f"g{number}" for number in range(50)]
    text = "".join(f"\n[group.{name}]\ncommand = {LOOP}\n" for name in names)
    with (
        Fleet(tmp_path, zookeeper.connection, text) as fleet,
        connected(zookeeper.connection) as client,
    ):
        before = fleet.whole(*names)
        told = autohealer("status", "--state-dir", str(fleet.state_dir)).stdout
        assert [name for name in names if f"{name}: 1/1 ready" not in told] == []
        os.kill(before["g17"][0], signal.SIGKILL)
        fleet.heals("g17", 0, before["g17"][0])
        edit(fleet, "[group.g49]", "[group.other]")
        assert reload(fleet)[-1] == "0 changed, 1 new, 1 removed, 49 unchanged."
        now = fleet.whole(*names[:49], "other")
        assert {n: now[n] for n in names[:49] if n != "g17"} == {
            n: before[n] for n in names[:49] if n != "g17"
        }
        eventually(lambda: len(registrations(client)) == 50, within_s=WITHIN_S)
        assert fleet.stop() == 0
        assert registrations(client) == {}
        assert fleet.everything_started() == []
