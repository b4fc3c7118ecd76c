"""Each example runs, and shows what it says."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from autohealer.contract import ENV_ZOOKEEPER
from tests.support.clients import connected
from tests.support.daemon import Daemon
from tests.support.eventually import eventually
from tests.support.ports import free_port
from tests.support.require import require

EXAMPLES = Path(__file__).parents[2] / "examples"
WITHIN_S = 30.0
_RUN = re.compile(
    r"^\| `(?:autohealer \d+|autohealer up -c|python) examples/(\S+?)(?: GROUP)?` \|", re.MULTILINE
)


def group_of(example: str, replicas: int, server: str, tmp_path: Path) -> Daemon:
    """A daemon that keeps an example."""
    program = str(EXAMPLES / example)
    return Daemon(tmp_path / "state", server, replicas=replicas, program=program, args=())


def written(daemon: Daemon) -> dict[int, str]:
    """What each slot has written; a file that a log process writes is there with its first line."""
    output = daemon.state_dir / "groups" / daemon.group / "output"
    files = {slot: output / f"slot-{slot}.log" for slot in range(daemon.replicas)}
    return {slot: file.read_text() if file.exists() else "" for slot, file in files.items()}


def test_every_example_is_told_of_and_run_here() -> None:
    """One would lie about without anybody knowing whether it works."""
    told = _RUN.findall((EXAMPLES / "README.md").read_text())
    files = {path.name for path in EXAMPLES.iterdir() if path.suffix in {".py", ".sh", ".toml"}}
    assert set(told) == files
    here = Path(__file__).read_text()
    assert [name for name in sorted(files) if f'"{name}"' not in here] == []


def test_the_ten_lines_work(server: str, tmp_path: Path) -> None:
    """The first thing anybody copies would not work."""
    with group_of("ten_lines.py", 2, server, tmp_path) as daemon:
        daemon.becomes_whole()
        eventually(
            lambda: all("works" in text for text in written(daemon).values()),
            within_s=WITHIN_S,
            view=lambda: written(daemon),
        )
        assert daemon.stop() == 0


def test_the_loop_is_kept(server: str, tmp_path: Path) -> None:
    """A program without a line of ours would not be kept as told."""
    with group_of("loop.sh", 2, server, tmp_path) as daemon:
        before = daemon.has_served()
        os.kill(before[0], signal.SIGKILL)
        daemon.replaces({0: before[0]}, WITHIN_S)
        assert daemon.stop() == 0


def up(example: str, group: str, replicas: int, server: str, tmp_path: Path) -> Daemon:
    """A daemon that keeps the one group of a file, copied so that what programs write stays out of the examples."""
    daemon = Daemon(tmp_path / "state", server, replicas=replicas, group=group)
    copy = shutil.copytree(EXAMPLES, tmp_path / "examples") / example
    state = ("--state-dir", str(daemon.state_dir))
    daemon.command = [sys.executable, "-m", "autohealer", "up", "-c", str(copy), *state]
    daemon.environment |= {ENV_ZOOKEEPER: server}
    return daemon


@pytest.mark.thorough
def test_the_loop_of_a_file_writes_with_times(server: str, tmp_path: Path) -> None:
    """The file would not be taken, or its lines have no times."""
    line = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z still here")
    with up("shell_loop.toml", "loop", 2, server, tmp_path) as daemon:
        daemon.becomes_whole()
        eventually(
            lambda: all(line.match(text) for text in written(daemon).values()), within_s=WITHIN_S
        )
        assert daemon.stop() == 0


@pytest.mark.thorough
def test_nginx_is_kept(server: str, tmp_path: Path) -> None:
    """A server that knows nothing of autohealer would not be healed, or not end when told to."""
    require("nginx", shutil.which("nginx") is not None)
    port = free_port()
    daemon = up("nginx.toml", "nginx", 1, server, tmp_path)
    conf = tmp_path / "examples" / "nginx" / "nginx.conf"
    conf.write_text(conf.read_text().replace("8080", str(port)))
    with daemon:
        before = daemon.has_served()
        assert "Kept alive by autohealer" in answered(port)
        os.kill(before[0], signal.SIGKILL)
        daemon.replaces(before, WITHIN_S)
        assert "Kept alive by autohealer" in answered(port)
        eventually(lambda: "GET / HTTP" in written(daemon)[0], within_s=WITHIN_S)
        assert daemon.stop() == 0
        with socket.socket() as client:
            assert client.connect_ex(("127.0.0.1", port)) != 0


def gunicorns(server: str, tmp_path: Path) -> tuple[Daemon, int]:
    """The daemon of its file, and the first of its two ports."""
    port = free_port(2)
    daemon = up("gunicorn.toml", "gunicorn", 2, server, tmp_path)
    file = tmp_path / "examples" / "gunicorn.toml"
    file.write_text(file.read_text().replace("port = 8001", f"port = {port}"))
    daemon.environment |= {"HOME": str(tmp_path)}  # where it has a socket of its own
    return daemon, port


def test_gunicorn_is_kept_and_ends_once_its_requests_are_answered(
    server: str, tmp_path: Path
) -> None:
    """A web application would not be healed, be healthy without serving, or lose requests at each stop."""
    daemon, port = gunicorns(server, tmp_path)
    with daemon, ThreadPoolExecutor(1) as pool:
        before = daemon.has_served()
        assert [answered(port + slot) for slot in range(2)] == [
            "slot 0 serves\n",
            "slot 1 serves\n",
        ]
        os.kill(before[1], signal.SIGKILL)
        after = daemon.replaces({1: before[1]}, WITHIN_S)
        assert after[0] == before[0]
        assert answered(port + 1) == "slot 1 serves\n"
        slow = pool.submit(answered, port, "/slow")
        eventually(lambda: "takes its time" in written(daemon)[0], within_s=WITHIN_S)
        assert daemon.stop() == 0
        assert slow.result() == "slot 0 serves\n"
        assert daemon.everything_started() == []


@pytest.mark.thorough
def test_gunicorn_of_a_command_line_is_healed_when_it_stands_still(
    server: str, tmp_path: Path
) -> None:
    """What the file does could not be said in one line; or a server that is stopped would be taken for well."""
    port = free_port(2)
    daemon = Daemon(
        tmp_path / "state",
        server,
        replicas=2,
        group="web",
        options=(
            *("--group", "web", "--port", str(port), "--directory", str(EXAMPLES / "gunicorn")),
            *("--readiness", "http://127.0.0.1:{port}/"),
        ),
        program="--",
        args=("gunicorn", "--bind", "127.0.0.1:{port}", "app:app"),
    )
    with daemon:
        before = daemon.has_served()
        assert answered(port + 1) == "slot 1 serves\n"
        for process in (*psutil.Process(before[0]).children(), psutil.Process(before[0])):
            process.suspend()
        daemon.replaces({0: before[0]}, WITHIN_S)
        assert answered(port) == "slot 0 serves\n"
        assert daemon.stop() == 0


def answered(port: int, path: str = "/") -> str:
    """What a web server on this machine says."""

    def body() -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return str(answer.read().decode())
        except OSError:
            return ""

    return eventually(body, within_s=WITHIN_S)


@pytest.mark.thorough
def test_every_job_is_done_although_a_consumer_dies(server: str, tmp_path: Path) -> None:
    """A job would be lost with its consumer."""
    jobs = [f"job-{number}" for number in range(12)]
    with group_of("consumer.py", 2, server, tmp_path) as daemon, connected(server) as client:
        before = daemon.has_served()
        queue = client.LockingQueue("/jobs")
        for job in jobs[:6]:
            queue.put(job.encode())
        os.kill(before[0], signal.SIGKILL)
        for job in jobs[6:]:
            queue.put(job.encode())
        eventually(
            lambda: all(f"did {job}\n" in "".join(written(daemon).values()) for job in jobs),
            within_s=WITHIN_S,
            view=lambda: (written(daemon), daemon.view()),
        )
        assert daemon.stop() == 0


@pytest.mark.thorough
def test_one_leads_and_when_it_dies_the_next_does(server: str, tmp_path: Path) -> None:
    """Two would lead, or nobody."""

    def leader(unlike: int | None = None) -> tuple[int] | None:
        last = {slot: text.splitlines()[-1] for slot, text in written(daemon).items() if text}
        leading = [slot for slot, line in last.items() if line.endswith(" leads")]
        is_one = len(leading) == 1 and len(last) == 3 and leading[0] != unlike
        return (leading[0],) if is_one else None

    with group_of("election.py", 3, server, tmp_path) as daemon:
        pids = daemon.has_served()
        (first,) = eventually(leader, within_s=WITHIN_S, view=lambda: written(daemon))
        os.kill(pids[first], signal.SIGKILL)
        eventually(lambda: leader(first), within_s=WITHIN_S, view=lambda: written(daemon))
        daemon.replaces({first: pids[first]}, WITHIN_S)
        eventually(
            lambda: " follows " in written(daemon)[first].splitlines()[-1],
            within_s=WITHIN_S,
            view=lambda: written(daemon),
        )
        assert daemon.stop() == 0


def test_each_look_sets_the_next_watch(server: str) -> None:
    """Only the first of several changes would ever be seen."""
    done = subprocess.run(
        (sys.executable, str(EXAMPLES / "watching.py")),
        env=dict(os.environ) | {ENV_ZOOKEEPER: server},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "CREATED: one\nCHANGED: two\nDELETED: nothing there\n", done.stderr


@pytest.mark.thorough
def test_the_registry_shows_who_serves(server: str, tmp_path: Path) -> None:
    """A client could not find a worker, or would go on using a dead one."""
    shown = tmp_path / "shown"
    with group_of("ten_lines.py", 2, server, tmp_path) as daemon, shown.open("w") as output:
        pids = daemon.has_served()
        command = (sys.executable, str(EXAMPLES / "registry.py"), daemon.group)
        environment = dict(os.environ) | {ENV_ZOOKEEPER: server}
        with subprocess.Popen(command, env=environment, stdout=output) as looker:
            try:
                os.kill(pids[1], signal.SIGKILL)
                now = daemon.replaces({1: pids[1]}, WITHIN_S)
                wanted = f"slot 0: pid {now[0]} (no address); slot 1: pid {now[1]} (no address)"
                eventually(
                    lambda: wanted in (shown.read_text().splitlines() or [""])[-1],
                    within_s=WITHIN_S,
                    view=shown.read_text,
                )
            finally:
                looker.kill()
