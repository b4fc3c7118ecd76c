"""Odd surroundings: limits, folders, environments, other people's modules. It works, or says why in one sentence."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.daemon import Daemon, exists
from tests.support.eventually import eventually
from tests.support.ports import free_port
from tests.support.require import require

WITHIN_S = 30.0
AUTOHEALER = (sys.executable, "-m", "autohealer")
SHOW = '#!/bin/sh\nenv > "$0.env"\nexec sleep 1000\n'


def shows(folder: Path) -> Path:
    """A program that writes its environment beside itself."""
    program = folder / "shows.sh"
    program.write_text(SHOW)
    program.chmod(0o755)
    return program


def seen_environment(program: Path) -> dict[str, str]:
    """What a worker was given."""
    file = Path(f"{program}.env")
    eventually(lambda: file.exists() and file.read_text().endswith("\n"), within_s=WITHIN_S)
    pairs = (line.partition("=") for line in file.read_text().splitlines())
    return {name: value for name, _, value in pairs}


def test_a_worker_gets_the_daemons_environment_and_nothing_unasked(
    server: str, tmp_path: Path
) -> None:
    """A worker would format for a width nobody has, or run in another locale than its user chose."""
    program = shows(tmp_path)
    daemon = Daemon(tmp_path / "state", server, replicas=1, program=str(program), args=())
    given = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    daemon.environment = given
    with daemon:
        seen = seen_environment(program)
        assert daemon.stop() == 0
    added = {name for name in set(seen) - set(given) if name not in {"PWD", "SHLVL", "_", "OLDPWD"}}
    assert {name for name in added if not name.startswith("AUTOHEALER_")} == {"PYTHONUNBUFFERED"}
    assert {name: seen[name] for name in given} == given


@pytest.mark.parametrize("chosen", ["", pytest.param("x", marks=pytest.mark.thorough)])
def test_a_users_own_choice_of_buffering_stays(server: str, tmp_path: Path, chosen: str) -> None:
    """A worker that buffers for speed would be slowed down."""
    program = shows(tmp_path)
    daemon = Daemon(
        tmp_path / "state",
        server,
        replicas=1,
        program=str(program),
        args=(),
        environment={"PYTHONUNBUFFERED": chosen},
    )
    with daemon:
        assert seen_environment(program)["PYTHONUNBUFFERED"] == chosen


@pytest.mark.thorough
def test_a_module_in_the_current_folder_shadows_nothing_of_ours(tmp_path: Path) -> None:
    """Somebody's random.py would be run by the daemon, its server or the bundled worker."""
    for module in ("random", "typing", "kazoo", "structlog", "json", "psutil"):
        (tmp_path / f"{module}.py").write_text(f"raise SystemExit('{module} is mine')\n")
    daemon = Daemon(tmp_path / "state", f"embedded:{free_port()}", replicas=1)
    daemon.command = ["env", "-C", str(tmp_path), *daemon.command]
    with daemon:
        daemon.becomes_whole()
        assert daemon.stop() == 0
        assert "is mine" not in daemon.output.read_text()


@pytest.mark.parametrize(
    "program", ["flaky_worker", pytest.param("sleep", marks=pytest.mark.thorough)]
)
def test_a_folder_that_was_deleted_is_no_obstacle(
    server: str, tmp_path: Path, program: str
) -> None:
    """After a deployment replaced the folder somebody stands in, starting would end in a traceback."""
    daemon = Daemon(tmp_path / "state", server, replicas=1, program=program, args=("1000",))
    if program == "flaky_worker":
        daemon.command[-1:] = ["--mean-life", "inf"]
    gone = tmp_path / "gone"
    gone.mkdir()
    daemon.command = ["sh", "-c", f'cd {gone} && rmdir {gone} && exec "$@"', "sh", *daemon.command]
    with daemon:
        eventually(lambda: daemon.log("worker_started"), within_s=WITHIN_S, view=daemon.view)
        assert daemon.stop() == 0
        assert "Traceback" not in daemon.output.read_text()


def _said(*words: str, folder: Path, **environment: str) -> tuple[int, str]:
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=folder,
        env={"PATH": os.environ["PATH"]} | environment,
    )
    return done.returncode, done.stderr


def test_a_relative_folder_below_a_deleted_one_is_one_sentence(tmp_path: Path) -> None:
    """`autohealer --state-dir state` in a folder that is gone would end in a traceback."""
    gone = tmp_path / "gone"
    gone.mkdir()
    script = f'cd {gone} && rmdir {gone} && exec "$@"'
    words = (*AUTOHEALER, "--state-dir", "state", "1", "flaky_worker")
    code, said = _said("sh", "-c", script, "sh", *words, folder=tmp_path)
    assert code == 5
    assert "does not exist any more" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ("1", "flaky_worker"),
        ("status",),
        *(pytest.param((more,), marks=pytest.mark.thorough) for more in ("why", "detach")),
    ],
)
def test_a_user_without_a_home_is_told_of_the_option(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    """In a container with an arbitrary user id every command would end in a traceback."""
    require("unshare", shutil.which("unshare") is not None)
    command = ("unshare", "--user", "--map-user=54321", *AUTOHEALER, *words)
    code, said = _said(*command, folder=tmp_path)
    if code == 1 and "unshare" in said:
        pytest.skip("no user namespaces here")
    assert code == 5
    assert "name one with --state-dir" in said
    assert said.count("\n") == 1


@pytest.mark.thorough
def test_at_a_low_limit_it_says_how_many_it_can_keep_answers_and_stops_all(
    server: str, tmp_path: Path
) -> None:
    """Below a limit of 48 open files neither status nor stop would work, and nobody would know why."""
    daemon = Daemon(tmp_path / "state", server, replicas=30)
    daemon.command = ["sh", "-c", 'ulimit -n 48; exec "$@"', "sh", *daemon.command]
    with daemon:
        eventually(lambda: daemon.log("worker_start_failed"), within_s=60, view=daemon.view)
        (told,) = daemon.log("limit_too_low")
        assert "open files, 48, is below the 58 that 30 workers need: at most 20" in str(
            told["why"]
        )
        assert 9 <= len(daemon.workers_alive()) <= 20
        eventually(daemon.status, within_s=WITHIN_S, view=daemon.view)
        assert daemon.stop() == 0
        assert daemon.everything_started() == []


@pytest.mark.thorough
def test_a_limit_that_leaves_no_room_at_all_is_refused(tmp_path: Path) -> None:
    """The daemon would start, launch nothing and answer nobody."""
    words = (*AUTOHEALER, "--state-dir", str(tmp_path / "state"), "3", "flaky_worker")
    code, said = _said("sh", "-c", 'ulimit -n 28; exec "$@"', "sh", *words, folder=tmp_path)
    assert code == 5
    assert "the limit of open files, 28, is below the 31 that 3 workers need" in said
    assert said.count("\n") == 1


SURPRISED = """
import sys
from autohealer.processes.{module} import {owner}
def surprise(*args):
    raise ZeroDivisionError("nobody foresaw this")
{owner}.{method} = surprise
from autohealer.cli.main import main
sys.argv[0] = "autohealer"
main()
"""


@pytest.mark.parametrize(
    ("module", "owner", "method", "is_hit"),
    [
        pytest.param("output", "OutputFiles", "rotate", False, id="task"),
        pytest.param("reaper", "Reaper", "reap", True, id="pidfd callback"),
    ],
)
@pytest.mark.thorough
def test_what_nobody_foresaw_ends_the_daemon_and_leaves_all_to_the_next(
    tmp_path: Path, module: str, owner: str, method: str, is_hit: bool
) -> None:
    """The daemon would live on without its control socket, or without knowing of a death."""
    daemon = Daemon(tmp_path / "state", f"embedded:{free_port()}", replicas=2)
    good = list(daemon.command)
    with daemon:
        before = daemon.becomes_whole()
        daemon.kill()
        daemon.command[1:3] = [
            "-c",
            SURPRISED.format(module=module, owner=owner, method=method),
        ]
        daemon.start()
        if is_hit:
            eventually(lambda: len(daemon.log("worker_adopted")) == 2, within_s=WITHIN_S)
            os.kill(before[0], 9)
        assert daemon.wait() == 1
        text = daemon.output.read_text()
        assert "ZeroDivisionError: nobody foresaw this" in text
        assert "Traceback (most recent call last):" in text
        assert exists(before[1])
        daemon.command = good
        daemon.start()
        after = daemon.becomes_whole()
        assert after[1] == before[1]
        assert daemon.log("embedded_server_adopted")
        assert daemon.stop() == 0


def test_the_first_process_of_a_container_refuses_to_leave(server: str, tmp_path: Path) -> None:
    """`autohealer detach` in a container would end the container, and all workers with it."""
    require("root with unshare", os.geteuid() == 0 and shutil.which("unshare") is not None)
    daemon = Daemon(tmp_path / "state", server, replicas=1)
    daemon.command = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", *daemon.command]
    with daemon:
        eventually(lambda: (s := daemon.status()) and s.ready == 1, within_s=WITHIN_S)
        words = ("detach", "--state-dir", str(daemon.state_dir))
        code, said = _said(*AUTOHEALER, *words, folder=tmp_path)
        assert code == 2
        assert "first process (PID 1) of its container" in said
        status = daemon.status()
        assert status is not None
        assert status.ready == 1
