"""A worker's children and siblings: who may hold its registration, and who leaves it alone."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kazoo.client import KazooClient

from autohealer.contract import ENV_TOKEN, ENV_ZNODE, WORKERS_PATH, ZnodeName, decode_record
from tests.support.eventually import eventually
from tests.support.servers import ZooKeeperUnderTest
from tests.support.workers import TOKEN, RunningWorker, launched
from tests.support.znodes import WITHIN_S, await_output, await_znode

NAME = ZnodeName("web", 3, 17)
SHORT_SESSION_S = 1.0
TAKES_OVER_WITHIN_S = 1.0
"""Much sooner than a session expires; without load it takes milliseconds."""

POOL = """
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from autohealer.worker import run
def main(worker):
    with ProcessPoolExecutor(1, mp_context=get_context({method!r})) as pool:
        print("sums", list(pool.map(abs, [-7])), flush=True)
    worker.stopping.wait()
run(main)
"""
"""The shortest worker, without a guard, whose pool's processes import it."""

UNGUARDED = """
from multiprocessing import get_context
from autohealer.worker import Worker
with Worker() as worker:
    child = get_context("spawn").Process(target=abs, args=(-7,))
    child.start()
    child.join()
    print("child ended with", child.exitcode, flush=True)
    worker.stopping.wait()
"""

USES_IT_TOO = f"""
import os, subprocess
from autohealer.worker import Worker
with Worker() as worker:
    print("child of", worker.group, worker.slot, worker.generation, worker.register(), flush=True)
    given = subprocess.run("env", capture_output=True, text=True).stdout
    print("told", {ENV_ZNODE!r} in os.environ, {ENV_ZNODE!r} in given, os.environ[{ENV_TOKEN!r}])
"""

STARTS_A_CHILD = f"""
import subprocess, sys
from autohealer.worker import run
def main(worker):
    subprocess.run((sys.executable, "-c", {USES_IT_TOO!r}), check=True)
    print("child ended", flush=True)
    worker.stopping.wait()
run(main)
"""

REPLACES_ITS_PROGRAM = """
import os, sys
from autohealer.worker import run
def main(worker):
    if sys.argv[1] == "first":
        os.execv(sys.executable, (sys.executable, __file__, "second"))
    print("second life", flush=True)
    worker.stopping.wait()
run(main)
"""

PREFORKS = """
import os, time
from autohealer.worker import Worker
launcher = os.getpid()
for _ in range(2):
    if os.fork() == 0:
        with Worker() as worker:
            os.write(1, f"serves {os.getpid()}\\n".encode())
            while os.getppid() == launcher and not worker.stopping.wait(0.05):
                pass
        os._exit(0)
while True:
    os.wait()
"""
"""A launcher that does not use the SDK, and two processes that do."""

PREFORKS_ONE_MADE_BEFORE = PREFORKS.replace("with Worker() as", "with made as").replace(
    "for _", "made = Worker()\nfor _"
)
"""The same with one `Worker` that the launcher made and each process enters."""

FORKS_ONE_THAT_SERVES = """
import os
from autohealer.worker import Worker
with Worker() as worker:
    child = os.fork()
    if child == 0:
        with Worker() as sibling:
            print("stands by as", sibling.name, sibling.register(), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
    print("child ended", flush=True)
    worker.stopping.wait()
"""

TERMINATES_A_CHILD = """
import multiprocessing, os, signal, time
EARLY = False
def term_at_once():
    if EARLY:
        os.kill(os.getpid(), signal.SIGTERM)
os.register_at_fork(after_in_child=term_at_once)  # runs before the SDK can do anything in the child
from autohealer.worker import Worker
with Worker() as worker:
    for EARLY in (False, True):
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
        child.start()
        child.terminate()
        child.join()
        print("child ended with", child.exitcode, "stopping", worker.stopping.is_set(), flush=True)
    worker.stopping.wait()
"""

TWICE = """
from autohealer.worker import Worker
with Worker():
    with Worker():
        pass
"""


@contextmanager
def scripted(
    program: str,
    zookeeper: ZooKeeperUnderTest,
    folder: Path,
    *arguments: str,
    session_timeout_s: float = 10.0,
) -> Iterator[RunningWorker]:
    """Run a program from a file, which multiprocessing needs, as the worker NAME."""
    script = folder / "worker.py"
    script.write_text(program)
    with launched(
        (str(script), *arguments),
        zookeeper.connection,
        folder / "worker.out",
        name=NAME,
        session_timeout_s=session_timeout_s,
    ) as worker:
        yield worker


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_a_pool_of_processes_works_without_a_guard(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, tmp_path: Path, method: str
) -> None:
    """The pool's processes would become second workers, and the worker be killed again and again."""
    with scripted(POOL.format(method=method), zookeeper, tmp_path) as worker:
        _, before = await_znode(zk_client, NAME.path, worker)
        await_output(worker, "sums [7]")
        assert zk_client.get_children(WORKERS_PATH) == [str(NAME)]
        assert zk_client.exists(NAME.path) == before
        worker.process.terminate()
        assert worker.exit_code() == 0


def test_a_worker_block_without_a_guard_is_told_so(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, tmp_path: Path
) -> None:
    """A spawned child would wait in the worker's own loop for ever, and take the registration with it."""
    with scripted(UNGUARDED, zookeeper, tmp_path) as worker:
        _, before = await_znode(zk_client, NAME.path, worker)
        await_output(worker, "child ended with 1")
        assert 'create the Worker below `if __name__ == "__main__":`' in worker.output
        assert zk_client.exists(NAME.path) == before


def test_a_child_that_uses_the_sdk_leaves_the_registration_alone(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, tmp_path: Path
) -> None:
    """A worker that calls a program that is a worker, too, would be killed when that one ends."""
    with scripted(STARTS_A_CHILD, zookeeper, tmp_path) as worker:
        _, before = await_znode(zk_client, NAME.path, worker)
        await_output(worker, "child ended")
        assert "child of web 3 17 False" in worker.output
        assert f"told False False {TOKEN}" in worker.output  # by the token the daemon finds it
        assert f"{NAME} is another process's: this child of it does not register" in worker.output
        assert zk_client.exists(NAME.path) == before
        assert zk_client.get_children(WORKERS_PATH) == [str(NAME)]


def test_a_worker_that_replaces_its_program_stays_the_same_worker(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, tmp_path: Path
) -> None:
    """A worker that restarts itself with `os.execv` would be taken for a child and never register again."""
    with scripted(REPLACES_ITS_PROGRAM, zookeeper, tmp_path, "first") as worker:
        await_output(worker, "second life")
        data, _ = zk_client.get(NAME.path)
        assert decode_record(data).pid == worker.pid
        worker.process.terminate()
        assert worker.exit_code() == 0
        assert zk_client.exists(NAME.path) is None


@pytest.mark.parametrize(
    ("program", "how"),
    [
        (PREFORKS, signal.SIGTERM),
        (PREFORKS, signal.SIGKILL),
        (PREFORKS_ONE_MADE_BEFORE, signal.SIGTERM),
    ],
    ids=["leaves", "killed", "made before"],
)
def test_a_sibling_takes_over_at_once(
    zookeeper: ZooKeeperUnderTest,
    zk_client: KazooClient,
    tmp_path: Path,
    program: str,
    how: signal.Signals,
) -> None:
    """A pool that recycles its processes would be killed although one of them serves."""
    with scripted(program, zookeeper, tmp_path, session_timeout_s=SHORT_SESSION_S) as worker:
        data, _ = await_znode(zk_client, NAME.path, worker)
        eventually(lambda: len(serving(worker)) == 2, within_s=WITHIN_S, view=lambda: worker.output)
        holder = decode_record(data).pid
        (other,) = serving(worker) - {holder}
        gone = gone_of(zk_client, NAME.path)
        os.kill(holder, how)
        eventually(lambda: gone, within_s=WITHIN_S, view=lambda: worker.output)
        eventually(
            lambda: zk_client.exists(NAME.path),
            within_s=TAKES_OVER_WITHIN_S,
            view=lambda: worker.output,
        )
        data, _ = zk_client.get(NAME.path)
        assert decode_record(data).pid == other


def serving(worker: RunningWorker) -> set[int]:
    """The processes that have said in a whole line that they serve."""
    return {int(pid) for pid in re.findall(r"serves (\d+)\n", worker.output)}


def gone_of(client: KazooClient, path: str) -> list[object]:
    """Filled as soon as a znode goes."""
    gone: list[object] = []
    client.exists(path, watch=gone.append)
    return gone


def test_a_forked_sibling_stands_by_while_its_parent_serves(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, tmp_path: Path
) -> None:
    """The registration would go with the first of several serving processes that ends."""
    with scripted(FORKS_ONE_THAT_SERVES, zookeeper, tmp_path) as worker:
        _, before = await_znode(zk_client, NAME.path, worker)
        await_output(worker, "child ended")
        assert f"stands by as {NAME} True" in worker.output
        assert zk_client.exists(NAME.path) == before
        worker.process.terminate()
        assert worker.exit_code() == 0


def test_a_forked_child_ends_with_the_first_term(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """`Process.terminate()` and `join()` would hang, because the child waits for a second TERM."""
    with scripted(TERMINATES_A_CHILD, zookeeper, tmp_path) as worker:
        await_output(worker, f"child ended with {-signal.SIGTERM} stopping False\n" * 2)
        worker.process.terminate()
        assert worker.exit_code() == 0


def test_a_second_worker_in_one_process_is_refused(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """Two would take the registration from each other, and the signals' handlers with it."""
    with scripted(TWICE, zookeeper, tmp_path) as worker:
        assert worker.exit_code() == 1
        expected = f"RuntimeError: this process is {NAME} already: one Worker at a time"
        assert worker.output.rstrip().endswith(expected)
