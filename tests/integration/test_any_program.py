"""Programs that know nothing of ZooKeeper are kept and registered like any other."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from kazoo.client import KazooClient

from autohealer.contract import WORKERS_PATH, decode_record
from tests.integration.test_command_line import autohealer
from tests.support.clients import connected
from tests.support.daemon import Daemon, exists
from tests.support.eventually import eventually
from tests.support.servers import ZooKeeperServer, ZooKeeperUnderTest

WITHIN_S = 20.0
LOOP = "#!/bin/sh\nwhile :; do sleep 0.5; done\n"


def program(folder: Path, text: str = LOOP, name: str = "loop.sh") -> str:
    """A script that can be run."""
    path = folder / name
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def daemon_of(
    tmp_path: Path, zookeeper: str, *options: str, text: str = LOOP, replicas: int = 3
) -> Daemon:
    """A daemon that keeps three loops."""
    return Daemon(
        tmp_path / "state",
        zookeeper,
        replicas=replicas,
        program=program(tmp_path, text),
        args=(),
        options=options,
        group="loop",
    )


def detach(daemon: Daemon) -> None:
    """Have the daemon gone and its programs left running."""
    assert autohealer("detach", "--state-dir", str(daemon.state_dir)).returncode == 0
    assert daemon.wait() == 0


def births(client: KazooClient) -> dict[str, tuple[int, int]]:
    """Which registrations there are: when each was made, and in which session."""
    found = {}
    for name in client.get_children(WORKERS_PATH):
        stat = client.exists(f"{WORKERS_PATH}/{name}")
        if stat is not None:
            found[name] = (stat.czxid, stat.ephemeralOwner)
    return found


def test_where_a_program_serves_is_registered_as_far_as_the_daemon_knows(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, tmp_path: Path
) -> None:
    """Whoever looks nginx up in ZooKeeper would find that it runs, and not where."""
    with daemon_of(tmp_path, zookeeper.connection, "--port", "24310", replicas=2) as daemon:
        daemon.becomes_whole()
        children = zk_client.get_children(WORKERS_PATH)
        records = [decode_record(zk_client.get(f"{WORKERS_PATH}/{name}")[0]) for name in children]
        host = os.uname().nodename
        assert sorted(it.address for it in records) == [f"{host}:24310", f"{host}:24311"]
        assert daemon.stop() == 0


def test_a_shell_loop_is_registered_and_healed(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, tmp_path: Path
) -> None:
    """A program without the SDK could not be kept at all."""
    with daemon_of(tmp_path, zookeeper.connection) as daemon:
        before = daemon.becomes_whole()
        records = [
            decode_record(zk_client.get(f"{WORKERS_PATH}/{name}")[0]) for name in births(zk_client)
        ]
        assert sorted(record.pid for record in records) == sorted(before.values())
        os.kill(before[1], signal.SIGKILL)
        after = daemon.replaces({1: before[1]}, WITHIN_S)
        assert {0: after[0], 2: after[2]} == {0: before[0], 2: before[2]}
        eventually(
            lambda: len(births(zk_client)) == 3,
            within_s=WITHIN_S,
            view=lambda: (births(zk_client), daemon.view()),
        )
        assert daemon.stop() == 0
    assert births(zk_client) == {}
    assert not any(map(exists, after.values()))


def test_the_daemons_death_and_a_detachment_show_nobody_missing(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, tmp_path: Path
) -> None:
    """Every upgrade and crash of the daemon would take programs that are well out of service."""
    with daemon_of(tmp_path, zookeeper.connection) as daemon:
        pids = daemon.becomes_whole()
        made = births(zk_client)
        daemon.kill()
        daemon.start()
        assert daemon.becomes_whole() == pids
        detach(daemon)
        assert births(zk_client) == made
        daemon.start()
        assert daemon.becomes_whole() == pids
        assert births(zk_client) == made


@pytest.mark.thorough
def test_who_died_while_no_daemon_ran_is_registered_no_more(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, tmp_path: Path
) -> None:
    """The session that is resumed would keep the dead in the registry for ever."""
    with daemon_of(tmp_path, zookeeper.connection) as daemon:
        pids = daemon.becomes_whole()
        daemon.kill()
        os.kill(pids[0], signal.SIGKILL)
        daemon.start()
        after = daemon.becomes_whole()
        eventually(
            lambda: (
                sorted(
                    decode_record(zk_client.get(f"{WORKERS_PATH}/{name}")[0]).pid
                    for name in births(zk_client)
                )
                == sorted(after.values())
            ),
            within_s=WITHIN_S,
            view=lambda: (births(zk_client), daemon.view()),
        )


@pytest.mark.thorough
def test_an_outage_of_zookeeper_is_survived_and_healed_in(
    own_zookeeper: ZooKeeperServer, tmp_path: Path
) -> None:
    """Programs would be ended for what ZooKeeper lost, or not replaced while it is away."""
    with daemon_of(tmp_path, own_zookeeper.address) as daemon:
        before = daemon.becomes_whole()
        own_zookeeper.kill()
        os.kill(before[0], signal.SIGKILL)
        eventually(
            lambda: {s.slot: s.pid for s in daemon.slots()}.get(0) not in {None, before[0]},
            within_s=WITHIN_S,
            view=daemon.view,
        )
        own_zookeeper.start()
        after = daemon.becomes_whole()
        assert {1: after[1], 2: after[2]} == {1: before[1], 2: before[2]}
        with connected(own_zookeeper.address) as client:
            eventually(
                lambda: len(births(client)) == 3, within_s=WITHIN_S, view=lambda: births(client)
            )


def test_who_registers_is_said_and_can_be_said(
    tmp_path: Path, zookeeper: ZooKeeperUnderTest
) -> None:
    """Somebody whose program registers in a way that is not seen could not find out why it is not used."""
    with daemon_of(tmp_path, zookeeper.connection, replicas=1) as daemon:
        daemon.becomes_whole()
        (said,) = daemon.log("registrar_chosen")
        assert said["register"] == "agent"
        assert "--register self" in str(said["why"])
        daemon.stop()
    with daemon_of(tmp_path, zookeeper.connection, "--register", "self", replicas=1) as daemon:
        eventually(lambda: daemon.slots() != [], within_s=WITHIN_S, view=daemon.view)
        eventually(
            lambda: daemon.slots()[0].phase == "starting", within_s=WITHIN_S, view=daemon.view
        )
        assert len(daemon.log("registrar_chosen")) == 1  # of the one before


@pytest.mark.parametrize(
    ("options", "register"), [((), "agent"), (("--registration-timeout", "30"), "self")]
)
def test_a_registration_timeout_says_that_programs_register(
    tmp_path: Path, zookeeper: ZooKeeperUnderTest, options: tuple[str, ...], register: str
) -> None:
    """Whoever waits for a registration would be shown one that the program did not make."""
    with daemon_of(tmp_path, zookeeper.connection, *options, replicas=1) as daemon:
        eventually(lambda: daemon.slots() != [], within_s=WITHIN_S, view=daemon.view)
        assert daemon.log("registrar_chosen")[-1]["register"] == register


@pytest.mark.thorough
def test_a_worker_of_the_sdk_is_told_that_its_daemon_registers_it(
    tmp_path: Path, zookeeper: ZooKeeperUnderTest, zk_client: KazooClient
) -> None:
    """Two would hold one registration, and delete it from each other."""
    worker = (
        f"#!{sys.executable}\nfrom autohealer.worker import run\n"
        "run(lambda worker: worker.stopping.wait() and 0)\n"
    )
    with daemon_of(
        tmp_path, zookeeper.connection, "--register", "agent", text=worker, replicas=1
    ) as daemon:
        daemon.becomes_whole()
        output = daemon.state_dir / "groups" / "loop" / "output"
        eventually(
            lambda: any("--register self" in path.read_text() for path in output.iterdir()),
            within_s=WITHIN_S,
            view=lambda: [path.read_text() for path in output.iterdir()],
        )
        (data,) = (zk_client.get(f"{WORKERS_PATH}/{name}")[0] for name in births(zk_client))
        assert decode_record(data).agent
        assert daemon.stop() == 0


def test_a_program_that_registers_under_a_name_of_its_own_is_told_so(
    server: str, tmp_path: Path
) -> None:
    """It would be killed for not registering again and again, and nobody told that it did."""
    course = (
        f"#!{sys.executable}\nimport os, time\nfrom kazoo.client import KazooClient\n"
        "zk = KazooClient(os.environ['AUTOHEALER_ZOOKEEPER'])\nzk.start()\n"
        "zk.create('/workers/worker_', b'', ephemeral=True, sequence=True, makepath=True)\n"
        "time.sleep(1000)\n"
    )
    options = ("--registration-timeout", "4")
    with daemon_of(tmp_path, server, *options, text=course, replicas=1) as daemon:
        eventually(lambda: daemon.log("worker_killed"), within_s=WITHIN_S, view=daemon.view)
        reasons = [str(line["reason"]) for line in daemon.log("worker_killed")]
        assert "if worker_0000000000" in reasons[0]
        assert "--register agent" in reasons[0]
