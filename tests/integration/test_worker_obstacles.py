"""What may stand in a registration's way: strangers' znodes, permissions, a parent that is deleted."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from pathlib import Path

import pytest
from kazoo.client import KazooClient
from kazoo.security import OPEN_ACL_UNSAFE, READ_ACL_UNSAFE, make_digest_acl

from autohealer.contract import (
    WORKERS_PATH,
    WorkerRecord,
    ZnodeName,
    decode_record,
    encode_record,
    registration_proof,
)
from tests.support.clients import connected
from tests.support.eventually import eventually
from tests.support.outages import lasts
from tests.support.servers import ZooKeeperServer, ZooKeeperUnderTest
from tests.support.workers import TOKEN, RunningWorker, launched
from tests.support.znodes import WITHIN_S, await_output, await_znode

NAME = ZnodeName("web", 3, 17)
BACK_WITHIN_S = 5.0
LONG_ENOUGH_S = 1.0
"""A worker that wanted to register again would have done so hundreds of times over."""

WORKS = """
from autohealer.worker import Worker
with Worker(register=False) as worker:
    print("registered", worker.register(), flush=True)
    worker.stopping.wait()
"""

BOOT = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
PID_NAMESPACE = Path("/proc/self/ns/pid").stat().st_ino
GONE = WorkerRecord(
    2**22 - 3, 1, BOOT, pidns=PID_NAMESPACE, proof=registration_proof(TOKEN, 2**22 - 3, 1, BOOT)
)
"""A true record of a process of this worker that is no more; anybody can copy it out of its znode."""
LIVING = WorkerRecord(1, 1, BOOT, pidns=PID_NAMESPACE, proof="0" * 16)
"""A living process, but not one of this worker: no proof."""


def holds(client: KazooClient, worker: RunningWorker) -> bool:
    """Whether the worker itself is what is registered."""
    found = client.exists(NAME.path)
    if found is None or not found.ephemeralOwner:
        return False
    return decode_record(client.get(NAME.path)[0]).pid == worker.pid


@pytest.mark.parametrize(
    "data",
    [b"", b"x" * 500_000, encode_record(LIVING), encode_record(GONE)],
    ids=["empty", "large", "unproven", "copied"],
)
def test_a_strangers_znode_is_replaced(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, tmp_path: Path, data: bytes
) -> None:
    """Whoever guesses the names to come could keep every new worker from registering."""
    zk_client.create(NAME.path, data, makepath=True)
    with launched(("-c", WORKS), zookeeper.connection, tmp_path / "out", name=NAME) as worker:
        await_output(worker, "registered True")
        assert holds(zk_client, worker)


def test_a_znode_that_may_not_be_read_is_replaced(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, tmp_path: Path
) -> None:
    """A stranger's permissions on one znode would crash the worker."""
    acl = [make_digest_acl("stranger", "secret", all=True)]
    zk_client.create(WORKERS_PATH)
    zk_client.create(NAME.path, b"mine", acl=acl)
    with launched(("-c", WORKS), zookeeper.connection, tmp_path / "out", name=NAME) as worker:
        await_output(worker, "registered True")
        assert holds(zk_client, worker)


@pytest.mark.thorough
def test_what_cannot_be_removed_is_named_once_and_the_work_goes_on(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, tmp_path: Path
) -> None:
    """A znode with a child below it would crash the worker, or keep it from its work for ever."""
    zk_client.create(f"{NAME.path}/child", makepath=True)
    with launched(("-c", WORKS), zookeeper.connection, tmp_path / "out", name=NAME) as worker:
        await_output(worker, "registered False")
        assert zk_client.exists(f"{NAME.path}/child") is not None
        (told,) = [line for line in worker.output.splitlines() if "cannot register" in line]
        assert told.startswith(f"cannot register as {NAME}: ")
        assert "NotEmptyError" in told
        assert NAME.path in told
        zk_client.delete(NAME.path, recursive=True)
        eventually(lambda: holds(zk_client, worker), within_s=WITHIN_S, view=lambda: worker.output)
        worker.process.terminate()
        assert worker.exit_code() == 0


def test_missing_permissions_are_named_once_and_the_work_goes_on(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, tmp_path: Path
) -> None:
    """Somebody who closes `/workers` would crash every new worker."""
    zk_client.create(WORKERS_PATH)
    zk_client.set_acls(WORKERS_PATH, [*READ_ACL_UNSAFE, make_digest_acl("a", "b", all=True)])
    with launched(("-c", WORKS), zookeeper.connection, tmp_path / "out", name=NAME) as worker:
        await_output(worker, "registered False")
        (told,) = [line for line in worker.output.splitlines() if "cannot register" in line]
        assert "NoAuthError" in told
        zk_client.add_auth("digest", "a:b")
        zk_client.set_acls(WORKERS_PATH, OPEN_ACL_UNSAFE)
        eventually(lambda: holds(zk_client, worker), within_s=WITHIN_S, view=lambda: worker.output)


@pytest.mark.parametrize("number", [1, 4])
def test_workers_come_back_when_their_parent_is_deleted(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, tmp_path: Path, number: int
) -> None:
    """An operator who deletes `/workers` would have every healthy worker killed."""
    names = {str(ZnodeName("web", slot, 17)) for slot in range(number)}
    with ExitStack() as workers:
        for slot in range(number):
            where = (zookeeper.connection, tmp_path / f"{slot}.out")
            name = ZnodeName("web", slot, 17)
            worker = workers.enter_context(launched(("-c", WORKS), *where, name=name))
            await_znode(zk_client, name.path, worker)
            await_output(worker, "registered True")
        for _ in range(2):
            before = zk_client.exists(WORKERS_PATH).czxid
            zk_client.delete(WORKERS_PATH, recursive=True)
            eventually(
                lambda: (
                    zk_client.exists(WORKERS_PATH)
                    and set(zk_client.get_children(WORKERS_PATH)) == names
                ),
                within_s=BACK_WITHIN_S,
            )
            assert zk_client.exists(WORKERS_PATH).czxid > before


def test_a_parent_deleted_and_made_again_behind_its_back_is_noticed(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, tmp_path: Path
) -> None:
    """Another worker, or the daemon, that makes `/workers` anew would hide the loss from the slower ones."""
    with launched(("-c", WORKS), zookeeper.connection, tmp_path / "out", name=NAME) as worker:
        await_output(worker, "registered True")
        worker.process.send_signal(signal.SIGSTOP)
        zk_client.delete(WORKERS_PATH, recursive=True)
        zk_client.create(WORKERS_PATH)
        worker.process.send_signal(signal.SIGCONT)
        eventually(lambda: holds(zk_client, worker), within_s=WITHIN_S, view=lambda: worker.output)


def test_a_parent_deleted_while_the_connection_is_away_is_noticed(
    own_zookeeper: ZooKeeperServer, tmp_path: Path
) -> None:
    """Watches end with the connection: what happened until the next one would never be known."""
    with launched(("-c", WORKS), own_zookeeper.address, tmp_path / "out", name=NAME) as worker:
        await_output(worker, "registered True")
        worker.process.send_signal(signal.SIGSTOP)
        own_zookeeper.restart()
        with connected(own_zookeeper.address) as fresh:
            fresh.delete(WORKERS_PATH, recursive=True)
            fresh.create(WORKERS_PATH)
            worker.process.send_signal(signal.SIGCONT)
            eventually(lambda: holds(fresh, worker), within_s=WITHIN_S, view=lambda: worker.output)


def test_one_znode_deleted_by_hand_stays_away(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, tmp_path: Path
) -> None:
    """Nobody could take a worker out by deleting its registration."""
    with launched(("-c", WORKS), zookeeper.connection, tmp_path / "out", name=NAME) as worker:
        await_output(worker, "registered True")
        zk_client.delete(NAME.path)
        zk_client.set(WORKERS_PATH, b"makes every worker look")
        lasts(LONG_ENOUGH_S)
        assert zk_client.exists(NAME.path) is None
        assert worker.is_running
