"""Programs that register under names of their own are bound, kept, and bound again by the next daemon."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from kazoo.client import KazooClient

from autohealer.contract import WORKERS_PATH
from tests.integration.test_any_program import births, detach
from tests.integration.test_several_groups import Fleet
from tests.support import anonymous_worker
from tests.support.apache import apache_is_installed
from tests.support.clients import connected, with_chroot
from tests.support.daemon import Daemon
from tests.support.eventually import eventually
from tests.support.proxy import ChaosProxy
from tests.support.require import require
from tests.support.servers import ServerProcess, ZooKeeperUnderTest

WORKER = anonymous_worker.__file__
JAVA_WORKER = Path(__file__).parents[2] / "examples" / "java_worker" / "FlakyWorker.java"
JARS = "/usr/share/java/zookeeper.jar:/usr/share/java/slf4j-nop.jar"
WITHIN_S = 30.0


def anonymous(
    tmp_path: Path, zookeeper: str, *options: str, replicas: int = 3, prefix: str = "worker_"
) -> Daemon:
    """A daemon that keeps three of the Python stand-in."""
    return Daemon(
        tmp_path / "state",
        zookeeper,
        replicas=replicas,
        program=WORKER,
        args=(zookeeper, prefix),
        options=("--register", "anonymous", *options),
    )


def children(daemon: Daemon) -> dict[int, str]:
    """Slot to the child that is bound to it."""
    return {slot.slot: slot.child for slot in daemon.slots()}


def is_just(daemon: Daemon, client: KazooClient) -> bool:
    """Whether exactly what is bound is registered."""
    return sorted(births(client)) == sorted(children(daemon).values())


def test_it_is_healed_on_its_end_and_when_it_freezes(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, tmp_path: Path
) -> None:
    """A worker that is not written for autohealer could not be kept, or only half."""
    with anonymous(tmp_path, zookeeper.connection) as daemon:
        before, bound = daemon.becomes_whole(), children(daemon)
        assert is_just(daemon, zk_client)
        os.kill(before[1], signal.SIGKILL)
        after = daemon.replaces({1: before[1]}, WITHIN_S)
        eventually(
            lambda: is_just(daemon, zk_client),
            within_s=1.0,
            view=lambda: (births(zk_client), daemon.view()),
        )
        os.kill(after[0], signal.SIGSTOP)
        last = daemon.replaces({0: after[0]}, WITHIN_S)
        assert {1: last[1], 2: last[2]} == {1: after[1], 2: before[2]}
        assert children(daemon)[2] == bound[2]
        eventually(lambda: is_just(daemon, zk_client), within_s=WITHIN_S, view=daemon.view)
        assert daemon.stop() == 0
    eventually(lambda: births(zk_client) == {}, within_s=WITHIN_S, view=lambda: births(zk_client))


@pytest.mark.thorough
def test_the_next_daemon_knows_whose_is_whose(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, tmp_path: Path
) -> None:
    """A crash or an upgrade of the daemon would cost every worker, or mix them up."""
    with anonymous(tmp_path, zookeeper.connection) as daemon:
        pids, bound = daemon.becomes_whole(), children(daemon)
        note = daemon.state_dir / "groups" / daemon.group / "bindings.json"
        eventually(
            lambda: all(name in note.read_text() for name in bound.values()),
            within_s=WITHIN_S,
            view=note.read_text,
        )
        assert note.stat().st_mode & 0o777 == 0o600
        daemon.kill()
        daemon.start()
        assert daemon.becomes_whole() == pids
        assert children(daemon) == bound
        detach(daemon)
        os.kill(pids[2], signal.SIGKILL)
        daemon.start()
        daemon.replaces({2: pids[2]}, WITHIN_S)
        eventually(
            lambda: is_just(daemon, zk_client),
            within_s=1.0,
            view=lambda: (births(zk_client), daemon.view()),
        )
        assert daemon.log("mass_loss") == []
        os.kill(pids[0], signal.SIGSTOP)
        daemon.replaces({0: pids[0]}, WITHIN_S)


def test_a_foreign_child_is_bound_to_nobody(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, tmp_path: Path
) -> None:
    """Somebody's registration would be kept alive in a worker's place, and deleted after its death."""
    path = f"{WORKERS_PATH}/worker_"
    with anonymous(tmp_path, zookeeper.connection, replicas=2) as daemon:
        there = zk_client.create(path, ephemeral=True, sequence=True, makepath=True)
        pids = daemon.becomes_whole()
        with connected(zookeeper.connection) as other:
            os.kill(pids[0], signal.SIGKILL)
            later = other.create(path, ephemeral=True, sequence=True)
            pids = daemon.replaces({0: pids[0]}, WITHIN_S)
            assert not {Path(there).name, Path(later).name} & set(children(daemon).values())
            assert all(children(daemon).values())
        assert daemon.pids() == pids
        assert zk_client.exists(there)


@pytest.mark.thorough
def test_a_lost_session_is_made_good_by_the_program_itself(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, tmp_path: Path
) -> None:
    """A worker that has registered again under another name would be replaced although it is well."""
    with anonymous(tmp_path, zookeeper.connection, "--session-timeout", "4", replicas=2) as daemon:
        pids, bound = daemon.becomes_whole(), children(daemon)
        os.kill(pids[0], signal.SIGSTOP)
        eventually(
            lambda: zk_client.exists(f"{WORKERS_PATH}/{bound[0]}") is None,
            within_s=WITHIN_S,
            view=daemon.view,
        )
        os.kill(pids[0], signal.SIGCONT)
        eventually(
            lambda: children(daemon)[0] not in {"", bound[0]}, within_s=WITHIN_S, view=daemon.view
        )
        assert daemon.becomes_whole() == pids
        assert children(daemon)[1] == bound[1]


@pytest.mark.thorough
def test_where_nothing_can_be_proven_they_are_bound_one_by_one(
    shared_embedded: ServerProcess, tmp_path: Path
) -> None:
    """Behind a proxy every worker would pass for a foreigner, and be replaced for ever."""
    chroot = with_chroot(shared_embedded).connection.partition("/")[2]
    with (
        ChaosProxy(shared_embedded.address) as proxy,
        anonymous(tmp_path, f"{proxy.address}/{chroot}", replicas=2) as daemon,
    ):
        pids = daemon.becomes_whole()
        assert all(children(daemon).values())
        os.kill(pids[0], signal.SIGKILL)
        after = daemon.replaces({0: pids[0]}, WITHIN_S)
        assert after[1] == pids[1]
        assert daemon.stop() == 0


@pytest.mark.thorough
def test_groups_share_the_workers_and_their_turns(server: str, tmp_path: Path) -> None:
    """The child of one group's worker would be taken for another's."""
    with Fleet(
        tmp_path,
        server,
        "".join(
            f"""
[group.{name}]
command = ["{WORKER}", "{server}", "{prefix}"]
replicas = 2
register = "anonymous"
"""
            for name, prefix in (("one", "worker_"), ("two", "worker_"), ("three", "x-"))
        ),
    ) as fleet:
        whole = fleet.whole("one", "two", "three")
        os.kill(whole["one"][0], signal.SIGKILL)
        os.kill(whole["two"][1], signal.SIGKILL)
        fleet.heals("one", 0, whole["one"][0])
        fleet.heals("two", 1, whole["two"][1])
        fleet.whole("one", "two", "three")
        bound = []
        for group in ("one", "two", "three"):
            status = fleet.of(group)
            assert status is not None
            bound += [slot.child for slot in status.slots]
        assert len(set(bound)) == len(list(filter(None, bound))) == 6
        with connected(server) as client:
            assert sorted(births(client)) == sorted(bound)


@pytest.fixture(scope="session")
def java_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the example is compiled to."""
    require("a JDK and ZooKeeper's client", apache_is_installed() and bool(shutil.which("javac")))
    folder = tmp_path_factory.mktemp("classes")
    compiler = ["javac", "-cp", JARS, "-proc:none", "-d", str(folder), str(JAVA_WORKER)]
    subprocess.run(compiler, check=True)
    return folder


@pytest.mark.timeout(180)
@pytest.mark.thorough
def test_the_java_worker_is_kept(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, tmp_path: Path, java_classes: Path
) -> None:
    """What the course hands out could not be kept: it dies at random, crashes, freezes, and outlives the daemon."""
    of_java = ("-XX:TieredStopAtLevel=1", "-cp", f"{java_classes}:{JARS}", "FlakyWorker")
    daemon = Daemon(
        tmp_path / "state",
        zookeeper.connection,
        replicas=2,
        program="java",
        args=(*of_java, zookeeper.connection, "15"),
        options=("--register", "anonymous"),
        group="java",
    )
    with daemon:
        daemon.becomes_whole(60.0)
        for number in (signal.SIGKILL, signal.SIGSTOP):
            [(slot, pid), *_] = daemon.becomes_whole(60.0).items()
            os.kill(pid, number)
            daemon.replaces({slot: pid}, 60.0)
        daemon.becomes_whole(60.0)
        daemon.kill()
        daemon.start()
        daemon.becomes_whole(60.0)
        assert daemon.log("worker_adopted") != []
        eventually(
            lambda: any(
                "exited with code" in str(line["how"]) for line in daemon.log("worker_exited")
            ),
            within_s=60.0,
            view=daemon.view,
        )
        daemon.becomes_whole(60.0)
        eventually(lambda: is_just(daemon, zk_client), within_s=10.0, view=daemon.view)
        assert daemon.stop() == 0
