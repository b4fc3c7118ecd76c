"""Workers that cannot be known by their environment: adopted, not doubled, and ended with all they started.

Limits: such workers are out of reach of the usual cleaning up, so each ends by itself after `LIFE_S`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.support.daemon import Daemon, exists
from tests.support.eventually import eventually
from tests.support.servers import ZooKeeperUnderTest

WITHIN_S = 30.0
LIFE_S = 240

WORKER = """
import ctypes, os, signal, threading, time
from autohealer.worker import Worker, run

def main(worker):
    worker.stopping.wait({life})
    return 0

def wipe_environment():
    begin, end = map(int, open("/proc/self/stat").read().rsplit(")", 1)[1].split()[47:49])
    ctypes.memset(begin, 0, end - begin)

def titled(worker):
    wipe_environment()
    return main(worker)

def undumpable(worker):
    ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)
    return main(worker)

def serve():
    with Worker(handle_signals=False) as worker:
        main(worker)

if __name__ == "__main__":
    {start}
"""

STARTS = {
    "titled": "run(titled)",
    "undumpable": "run(undumpable)",
    "without main thread": (
        "threading.Thread(target=serve).start(); time.sleep(1); ctypes.CDLL(None).pthread_exit(None)"
    ),
}

AS_NOBODY = ("unshare", "--user", "--map-user=54321")
"""The same user to the kernel, without any of root's rights over what may not be looked at."""


def program_of(folder: Path, start: str) -> str:
    """A worker's script."""
    script = folder / "worker.py"
    script.write_text(WORKER.format(life=LIFE_S, start=STARTS[start]))
    return str(script)


@pytest.mark.parametrize(
    "start",
    [
        "titled",
        pytest.param("undumpable", marks=pytest.mark.thorough),
        pytest.param("without main thread", marks=pytest.mark.thorough),
    ],
)
def test_nobody_is_doubled_after_a_crash_of_the_daemon(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path, start: str
) -> None:
    """Workers that set a title, hide, or serve on other threads would run twice after a crash of the daemon."""
    daemon = Daemon(
        tmp_path / "state",
        zookeeper.connection,
        replicas=2,
        program=program_of(tmp_path, start),
        args=(),
    )
    daemon.command = [*AS_NOBODY, *daemon.command]
    with daemon:
        before = daemon.becomes_whole()
        daemon.kill()
        daemon.start()
        eventually(
            lambda: len(daemon.log("worker_adopted")) == 2, within_s=WITHIN_S, view=daemon.view
        )
        assert daemon.becomes_whole() == before
        assert len(daemon.log("worker_started")) == 2
        daemon.stop()
        assert not any(exists(pid) for pid in before.values())


@pytest.mark.thorough
def test_a_wrapper_leaves_its_worker_the_grace(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """A shell around a worker dies of TERM at once, and the worker would be killed in the middle of its work."""
    done = tmp_path / "done"
    worker = tmp_path / "worker.py"
    worker.write_text(
        "import pathlib, time\nfrom autohealer.worker import run\n"
        f"def main(worker):\n    worker.stopping.wait({LIFE_S})\n    time.sleep(2.5)\n"
        f"    pathlib.Path({str(done)!r}).touch()\n    return 0\n"
        "if __name__ == '__main__':\n    run(main)\n"
    )
    wrapper = tmp_path / "wrapper.sh"
    wrapper.write_text(f'#!/bin/sh\n"{sys.executable}" "{worker}"\nexit $?\n')
    wrapper.chmod(0o755)
    daemon = Daemon(
        tmp_path / "state", zookeeper.connection, replicas=1, program=str(wrapper), args=()
    )
    with daemon:
        daemon.becomes_whole()
        assert daemon.stop() == 0
        assert done.exists()
        assert daemon.everything_started() == []


@pytest.mark.thorough
def test_what_a_wrapper_hides_ends_with_it(zookeeper: ZooKeeperUnderTest, tmp_path: Path) -> None:
    """`su - user -c program` would leave one process behind at every restart, and after the stop."""
    hidden = tmp_path / "nap"
    hidden.write_bytes(Path("/bin/sleep").read_bytes())
    hidden.chmod(0o755)
    daemon = Daemon(
        tmp_path / "state",
        zookeeper.connection,
        replicas=1,
        program="setsid",
        args=("-w", "env", "-i", str(hidden), str(LIFE_S)),
        options=("--registration-timeout", "1"),
    )
    with daemon:
        eventually(
            lambda: len(daemon.log("worker_started")) >= 3, within_s=WITHIN_S, view=daemon.view
        )
        assert len(running(hidden)) <= 1
        daemon.stop()
        assert running(hidden) == []


@pytest.mark.thorough
def test_a_stop_ends_also_what_nothing_ties_to_its_worker(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """What left its session, cleared its environment and closed its output would outlive the stop."""
    hidden = tmp_path / "nap"
    hidden.write_bytes(Path("/bin/sleep").read_bytes())
    hidden.chmod(0o755)
    script = tmp_path / "hides.sh"
    script.write_text(
        f"#!/bin/sh\nsetsid -f env -i {hidden} {LIFE_S} >/dev/null 2>&1\n"
        f"exec {sys.executable} -m flaky_worker --mean-life inf\n"
    )
    script.chmod(0o755)
    daemon = Daemon(
        tmp_path / "state", zookeeper.connection, replicas=1, program=str(script), args=()
    )
    with daemon:
        daemon.becomes_whole()
        assert len(running(hidden)) == 1
        assert daemon.stop() == 0
        assert running(hidden) == []


def running(program: Path) -> list[int]:
    """The live processes of a program."""
    found = []
    for link in Path("/proc").glob("[0-9]*/exe"):
        try:
            if link.readlink() == program:
                found.append(int(link.parent.name))
        except OSError:
            continue
    return [pid for pid in found if pid != os.getpid()]
