"""The worker SDK: real processes on real ZooKeeper servers of both kinds."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from autohealer.contract import (
    ENV_SESSION_TIMEOUT_S,
    ENV_ZNODE,
    WORKERS_PATH,
    WorkerRecord,
    ZnodeName,
    decode_record,
    encode_record,
    manual_znode_path,
    registration_proof,
)
from autohealer.worker import EXIT_SUPERSEDED
from tests.support.clients import connected
from tests.support.eventually import eventually
from tests.support.outages import have_a_history, lasts
from tests.support.workers import KEEPER, TOKEN, RunningWorker, launched
from tests.support.znodes import WITHIN_S, await_gone, await_output, await_znode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kazoo.client import KazooClient

    from tests.support.servers import ZooKeeperServer, ZooKeeperUnderTest

NAME = ZnodeName("web", 3, 17)
SHORT_SESSION_S = 1.0
LONG_SESSION_S = 10.0
MUCH_SOONER_THAN_EXPIRY_S = 1.0

SERVES = """
from autohealer.worker import run
def main(worker):
    session, password = worker._registration._client.client_id
    print("session", session, password.hex(), flush=True)
    worker.stopping.wait()
    print("asked to stop", flush=True)
    return 7
run(main, address="10.0.0.1:80")
"""

WORKS = """
from autohealer.worker import run
def main(worker):
    print("at work", flush=True)
    worker.stopping.wait()
run(main)
"""

SAYS_HOW_IT_IS_CONNECTED = SERVES.replace(
    "    worker.stopping.wait()",
    "    worker._registration._client.add_listener(lambda state: print(state, flush=True))\n"
    "    worker.stopping.wait()",
)

RAISES = """
from autohealer.worker import run
def main(worker):
    raise LookupError("no work left")
run(main)
"""

IGNORES_STOPPING = """
import time
from autohealer.worker import Worker
with Worker() as worker:
    worker.stopping.wait()
    print("going on", flush=True)
    time.sleep(600)
"""

STARTS_SLOWLY = """
from autohealer.worker import Worker
with Worker(register=False) as worker:
    print("warming up", flush=True)
    input()
    worker.register()
    worker.stopping.wait()
"""

FORKS = """
import os, time
from autohealer.worker import Worker
with Worker() as worker:
    began = time.monotonic()
    child = os.fork()
    if child:
        status = os.waitpid(child, 0)[1]
        late = time.monotonic() - began > 1
        print("child ended with", status, "late" if late else "at once", flush=True)
        worker.stopping.wait()
"""

IN_A_THREAD = """
import threading
from autohealer.worker import Worker
def work():
    with Worker() as worker:
        worker.stopping.wait()
threading.Thread(target=work).start()
"""

BINDS_LATER = """
from autohealer.worker import run
def main(worker):
    worker.address = "10.0.0.1:8080"
    print("place", worker.name, worker.group, worker.slot, worker.generation, flush=True)
    worker.stopping.wait()
run(main)
"""

RETURNS_WHAT_WAIT_RETURNS = """
from autohealer.worker import run
run(lambda worker: worker.stopping.wait())
"""

AWAITS = """
import asyncio
from autohealer.worker import run
async def main(worker):
    beside = asyncio.create_task(asyncio.sleep(600))
    print("at work", flush=True)
    await worker.stopping
    await worker.stopping
    beside.cancel()
    return 7
run(main)
"""

RUNS_IN_A_THREAD = """
import threading
from autohealer.worker import run
threading.Thread(target=run, args=(lambda worker: worker.stopping.wait(),)).start()
"""


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Where the worker under test prints to."""
    return tmp_path / "worker.out"


@contextmanager
def registered(
    program: str,
    connection: str,
    client: KazooClient,
    output: Path,
    session_timeout_s: float = LONG_SESSION_S,
) -> Iterator[RunningWorker]:
    """Run a program as the worker NAME, and begin the block when it is registered."""
    with launched(
        ("-c", program), connection, output, name=NAME, session_timeout_s=session_timeout_s
    ) as worker:
        await_znode(client, NAME.path, worker)
        yield worker


def kill_session(worker: RunningWorker, connection: str) -> None:
    """End the session of a SERVES worker behind its back: join it from elsewhere and close it."""
    await_output(worker, "session")
    _, session, password = worker.output.splitlines()[0].split()
    with connected(connection, client_id=(int(session), bytes.fromhex(password))):
        pass


def record_of(pid: int, address: str = "", *, by_hand: bool = False) -> WorkerRecord:
    """What a process should say of itself, as the rest of the machine sees it."""
    start = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return WorkerRecord(
        pid,
        start,
        boot,
        socket.gethostname(),
        address,
        pidns=Path(f"/proc/{pid}/ns/pid").stat().st_ino,
        keeper="" if by_hand else KEEPER,
        proof="" if by_hand else registration_proof(TOKEN, pid, start, boot),
    )


def test_registers_with_the_right_data(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, output: Path
) -> None:
    """The daemon could not tell which process holds a registration, or would take it for lasting."""
    with registered(SERVES, zookeeper.connection, zk_client, output) as worker:
        data, stat = zk_client.get(NAME.path)
        assert decode_record(data) == record_of(worker.pid, "10.0.0.1:80")
        assert stat.ephemeralOwner != 0
        assert zk_client.get_children(WORKERS_PATH) == [str(NAME)]
        assert zk_client.exists(WORKERS_PATH).ephemeralOwner == 0


def test_term_ends_it_cleanly_and_at_once(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, output: Path
) -> None:
    """A stopped worker would look alive until its session expires, and its exit code would be lost."""
    with registered(SERVES, zookeeper.connection, zk_client, output) as worker:
        worker.process.terminate()
        await_gone(zk_client, NAME.path, worker, within_s=MUCH_SOONER_THAN_EXPIRY_S)
        assert worker.exit_code() == 7
        assert "asked to stop" in worker.output


def test_interrupt_ends_it_cleanly_too(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, output: Path
) -> None:
    """Ctrl-C in a terminal would leave a registration behind and a KeyboardInterrupt on screen."""
    with registered(SERVES, zookeeper.connection, zk_client, output) as worker:
        worker.process.send_signal(signal.SIGINT)
        assert worker.exit_code() == 7
        assert zk_client.exists(NAME.path) is None


def test_a_second_term_kills(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, output: Path
) -> None:
    """A worker that does not look at `stopping` could be ended by SIGKILL only."""
    with registered(IGNORES_STOPPING, zookeeper.connection, zk_client, output) as worker:
        worker.process.terminate()
        await_output(worker, "going on")
        worker.process.terminate()
        assert worker.exit_code() == -signal.SIGTERM


def test_an_exception_exits_with_1_and_closes_the_session(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, output: Path
) -> None:
    """A crashed worker would keep its registration, or hide why it crashed."""
    with launched(("-c", RAISES), zookeeper.connection, output, name=NAME) as worker:
        assert worker.exit_code() == 1
        assert worker.output.rstrip().endswith("LookupError: no work left")
        assert zk_client.get_children(WORKERS_PATH) == []


def test_a_lost_session_is_replaced_under_the_same_name(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, output: Path
) -> None:
    """A healthy worker whose session was lost would be killed and started anew for nothing."""
    with registered(SERVES, zookeeper.connection, zk_client, output) as worker:
        data, before = zk_client.get(NAME.path)
        kill_session(worker, zookeeper.connection)
        eventually(
            lambda: (now := zk_client.exists(NAME.path)) and now.czxid > before.czxid,
            within_s=WITHIN_S,
            view=lambda: worker.output,
        )
        again, after = zk_client.get(NAME.path)
        assert again == data
        assert after.ephemeralOwner not in (0, before.ephemeralOwner)
        worker.process.terminate()
        assert worker.exit_code() == 7


def test_sessions_lost_again_and_again_are_replaced_every_time(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, output: Path
) -> None:
    """The second lost session would leave a worker unregistered for ever."""
    program = SERVES.replace("worker.stopping.wait()", PRINTS_EVERY_SESSION)
    with registered(program, zookeeper.connection, zk_client, output) as worker:
        for lost in range(1, 4):
            await_output(worker, f"session number {lost} ")
            line = next(row for row in worker.output.splitlines() if f"number {lost} " in row)
            session, password = line.split()[-2:]
            with connected(zookeeper.connection, client_id=(int(session), bytes.fromhex(password))):
                pass
        await_output(worker, "session number 4 ")
        await_znode(zk_client, NAME.path, worker)


PRINTS_EVERY_SESSION = """
    seen = []
    while not worker.stopping.wait(0.01):
        now = worker._registration._client.client_id
        if now and now[0] and now[0] not in seen:
            seen.append(now[0])
            print("session number", len(seen), now[0], now[1].hex(), flush=True)
"""


def test_a_thawed_worker_registers_again(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, output: Path
) -> None:
    """A laptop that slept would come back with live workers that nobody knows of."""
    with registered(
        SERVES, zookeeper.connection, zk_client, output, session_timeout_s=SHORT_SESSION_S
    ) as worker:
        await_output(worker, "session")  # so that it sleeps in its work, not on the way there
        worker.process.send_signal(signal.SIGSTOP)
        await_gone(zk_client, NAME.path, worker)
        worker.process.send_signal(signal.SIGCONT)
        data, _ = await_znode(zk_client, NAME.path, worker)
        assert decode_record(data).pid == worker.pid


def test_a_superseded_worker_stops_and_says_why(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, output: Path
) -> None:
    """Two incarnations of one slot would serve side by side."""
    newer = ZnodeName(NAME.group, NAME.slot, NAME.generation + 1)
    with registered(SERVES, zookeeper.connection, zk_client, output) as worker:
        record = WorkerRecord(worker.pid, host="elsewhere", keeper=KEEPER)
        zk_client.create(newer.path, encode_record(record), ephemeral=True)
        kill_session(worker, zookeeper.connection)
        assert worker.exit_code() == EXIT_SUPERSEDED
        assert zk_client.get_children(WORKERS_PATH) == [str(newer)]
        assert f"{NAME} lost its session and {newer} has its slot now" in worker.output


def test_neighbours_and_ancestors_do_not_supersede(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, output: Path
) -> None:
    """A worker would end itself because of an older incarnation, another slot, group or daemon, or a stranger."""
    others = [ZnodeName("web", 3, 16), ZnodeName("web", 4, 99), ZnodeName("api", 3, 99)]
    with registered(SERVES, zookeeper.connection, zk_client, output) as worker:
        before = zk_client.exists(NAME.path)
        mine = record_of(worker.pid)
        for other in others:
            zk_client.create(other.path, encode_record(mine), ephemeral=True)
        for number, keeper in enumerate(["another one", ""]):
            rival = ZnodeName("web", 3, 18 + number)
            zk_client.create(rival.path, encode_record(replace(mine, keeper=keeper)))
        zk_client.create(ZnodeName("web", 3, 20).path, b"not a record")
        zk_client.create(f"{WORKERS_PATH}/not a worker")
        kill_session(worker, zookeeper.connection)
        eventually(
            lambda: (now := zk_client.exists(NAME.path)) and now.czxid > before.czxid,
            within_s=WITHIN_S,
            view=lambda: worker.output,
        )
        assert worker.is_running


def test_its_own_lingering_znode_is_replaced(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, output: Path
) -> None:
    """A registration of the worker's dead session would expire later and take the worker with it."""
    zk_client.create(NAME.path, b"from a session of the past", ephemeral=True, makepath=True)
    with launched(("-c", SERVES), zookeeper.connection, output, name=NAME) as worker:
        await_output(worker, "session")
        data, stat = zk_client.get(NAME.path)
        assert decode_record(data).pid == worker.pid
        assert stat.ephemeralOwner != zk_client.client_id[0]


def test_a_worker_started_by_hand_takes_a_name_of_its_own(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, output: Path
) -> None:
    """A worker started without a daemon would not register, or would take a slot's name."""
    with launched(("-c", SERVES), zookeeper.connection, output, name=None) as worker:
        record = record_of(worker.pid, "10.0.0.1:80", by_hand=True)
        path = manual_znode_path(record.host, record.pid, record.start)
        data, _ = await_znode(zk_client, path, worker)
        assert decode_record(data) == record


def test_a_slow_starter_registers_when_it_is_ready(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, output: Path
) -> None:
    """Traffic would be sent to a worker that is still loading."""
    with launched(("-c", STARTS_SLOWLY), zookeeper.connection, output, name=NAME) as worker:
        await_output(worker, "warming up")
        assert zk_client.exists(NAME.path) is None
        assert worker.process.stdin is not None
        worker.process.stdin.write(b"\n")
        worker.process.stdin.flush()
        await_znode(zk_client, NAME.path, worker)


def test_a_forked_child_leaves_the_session_alone(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, output: Path
) -> None:
    """A worker's children would end its registration, or wait for a goodbye that is not theirs."""
    with registered(FORKS, zookeeper.connection, zk_client, output) as worker:
        before = zk_client.exists(NAME.path)
        await_output(worker, "child ended with 0 at once")
        assert zk_client.exists(NAME.path) == before
        worker.process.terminate()
        await_gone(zk_client, NAME.path, worker, within_s=MUCH_SOONER_THAN_EXPIRY_S)


def test_it_registers_from_a_thread_without_touching_signals(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, output: Path
) -> None:
    """A program that runs its worker in a thread would crash on signal handlers."""
    with registered(IN_A_THREAD, zookeeper.connection, zk_client, output) as worker:
        worker.process.terminate()
        assert worker.exit_code() == -signal.SIGTERM


def test_a_killed_and_restarted_server_changes_nothing(
    own_zookeeper: ZooKeeperServer, output: Path
) -> None:
    """A crash of ZooKeeper would cost every worker its registration, or its life."""
    with (
        connected(own_zookeeper.address) as client,
        registered(SAYS_HOW_IT_IS_CONNECTED, own_zookeeper.address, client, output) as worker,
    ):
        await_output(worker, "session")
        before = client.exists(NAME.path)
        own_zookeeper.kill()
        own_zookeeper.restart()
        with connected(own_zookeeper.address) as fresh:
            await_output(worker, "SUSPENDED\nCONNECTED\n")
            assert fresh.exists(NAME.path) == before
            worker.process.terminate()
            assert worker.exit_code() == 7
            await_gone(fresh, NAME.path, worker, within_s=MUCH_SOONER_THAN_EXPIRY_S)


def test_a_worker_registers_at_a_server_that_came_back_empty(
    own_zookeeper: ZooKeeperServer, output: Path
) -> None:
    """A worker that has seen more than the new store holds would be locked out of it for ever."""
    with launched(
        ("-c", SERVES),
        own_zookeeper.address,
        output,
        name=NAME,
        session_timeout_s=SHORT_SESSION_S,
    ) as worker:
        with connected(own_zookeeper.address) as client:
            have_a_history(client)
            await_znode(client, NAME.path, worker)
            lasts(SHORT_SESSION_S)  # a heartbeat tells the worker how long the history is
        own_zookeeper.kill()
        own_zookeeper.wipe()
        own_zookeeper.start()
        with connected(own_zookeeper.address) as fresh:
            await_znode(fresh, NAME.path, worker)


def test_a_worker_begins_its_work_without_zookeeper_and_registers_when_it_is_there(
    own_zookeeper: ZooKeeperServer, output: Path
) -> None:
    """A worker started while ZooKeeper is away would crash, wait in silence, or do nothing for hours."""
    own_zookeeper.stop()
    with launched(("-c", WORKS), own_zookeeper.address, output, name=NAME) as worker:
        await_output(worker, f"ZooKeeper at {own_zookeeper.address} does not answer: waiting")
        await_output(worker, f"{NAME} is not registered yet: it works on and goes on trying")
        await_output(worker, "at work")
        own_zookeeper.start()
        with connected(own_zookeeper.address) as client:
            await_znode(client, NAME.path, worker)


def test_a_worker_that_waits_can_be_stopped(own_zookeeper: ZooKeeperServer, output: Path) -> None:
    """TERM would have no effect while ZooKeeper is away."""
    own_zookeeper.stop()
    program = SERVES.replace("worker._registration._client.client_id", "0, b''")
    with launched(("-c", program), own_zookeeper.address, output, name=NAME) as worker:
        await_output(worker, "waiting")
        worker.process.terminate()
        assert worker.exit_code() == 7


def test_the_goodbye_to_a_frozen_server_is_bounded(
    own_zookeeper: ZooKeeperServer, output: Path
) -> None:
    """A stuck ZooKeeper would keep every worker from ending."""
    with (
        connected(own_zookeeper.address) as client,
        registered(SERVES, own_zookeeper.address, client, output) as worker,
    ):
        own_zookeeper.freeze()
        began = time.monotonic()
        worker.process.terminate()
        assert worker.exit_code() == 7
        assert time.monotonic() - began < LONG_SESSION_S / 2
        own_zookeeper.resume()


def test_a_server_that_accepts_and_is_silent_is_left_in_time(output: Path) -> None:
    """A starting Apache ZooKeeper, which may swallow a handshake, would cost the whole session."""
    session_timeout_s = 6.0
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(WITHIN_S)
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with launched(
            ("-c", SERVES), address, output, name=NAME, session_timeout_s=session_timeout_s
        ):
            first, _ = silent.accept()
            silent.settimeout(session_timeout_s / 2)
            second, _ = silent.accept()
            first.close()
            second.close()


@pytest.mark.parametrize(
    ("variable", "value"),
    [(ENV_SESSION_TIMEOUT_S, "soon"), (ENV_SESSION_TIMEOUT_S, "-1"), (ENV_ZNODE, "web-3-17")],
)
def test_a_bad_environment_is_named(
    variable: str, value: str, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A typo in a unit file would end in an error about something else."""
    given = {variable: value, "AUTOHEALER_ZOOKEEPER": "127.0.0.1:1"}
    with output.open("wb") as errors:
        process = os.posix_spawn(
            sys.executable,
            (sys.executable, "-c", SERVES),
            os.environ | given,
            file_actions=[(os.POSIX_SPAWN_DUP2, errors.fileno(), 2)],
        )
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 1
    assert f"ValueError: {variable} is {value!r}" in output.read_text()


def test_an_address_known_later_is_published(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, output: Path
) -> None:
    """A worker that lets the system choose its port could not say where it serves."""
    with registered(BINDS_LATER, zookeeper.connection, zk_client, output) as worker:
        created = zk_client.exists(NAME.path).czxid
        eventually(
            lambda: decode_record(zk_client.get(NAME.path)[0]).address == "10.0.0.1:8080",
            within_s=WITHIN_S,
            view=lambda: worker.output,
        )
        assert decode_record(zk_client.get(NAME.path)[0]) == record_of(worker.pid, "10.0.0.1:8080")
        assert zk_client.exists(NAME.path).czxid == created


def test_a_worker_knows_its_place(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, output: Path
) -> None:
    """Workers that divide work by their slot would have to read the environment themselves."""
    with registered(BINDS_LATER, zookeeper.connection, zk_client, output) as worker:
        await_output(worker, f"place {NAME} web 3 17")
    with launched(("-c", BINDS_LATER), zookeeper.connection, output, name=None) as worker:
        await_output(worker, "None None None")


def test_a_truth_value_is_no_exit_code(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, output: Path
) -> None:
    """The shortest worker there is would report every clean stop as a failure."""
    program = RETURNS_WHAT_WAIT_RETURNS
    with registered(program, zookeeper.connection, zk_client, output) as worker:
        worker.process.terminate()
        assert worker.exit_code() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_coroutine_is_a_worker_too(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, output: Path, number: signal.Signals
) -> None:
    """An `async def main` would never be awaited, or not hear that it is to stop."""
    with registered(AWAITS, zookeeper.connection, zk_client, output) as worker:
        await_output(worker, "at work")
        worker.process.send_signal(number)
        assert worker.exit_code() == 7
        assert zk_client.exists(NAME.path) is None


def test_run_in_a_thread_says_what_it_cannot_do(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, output: Path
) -> None:
    """TERM would end the worker in the middle of its work, without a word why."""
    with registered(RUNS_IN_A_THREAD, zookeeper.connection, zk_client, output) as worker:
        await_output(worker, f"{NAME} runs in a thread, where TERM and INT cannot be handled")


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        ("run(None)", "TypeError: run takes a function that takes the worker, not None"),
        (
            "run(lambda w: [])",
            "TypeError: the worker's main function returned [], not an exit code",
        ),
        (
            "run(int, address=80)",
            "TypeError: a worker's address is text such as '10.0.0.1:80', not 80",
        ),
        (
            "run(int, address='x' * 129)",
            "ValueError: a worker's address has at most 128 characters",
        ),
    ],
)
def test_a_wrong_call_is_explained(call: str, sentence: str, output: Path) -> None:
    """A slip of the pen would end in an error about something else."""
    program = f"from autohealer.worker import run\n{call}"
    with launched(("-c", program), "127.0.0.1:1", output, name=None) as worker:
        assert worker.exit_code() == 1
        assert sentence in worker.output.splitlines()[-1]
