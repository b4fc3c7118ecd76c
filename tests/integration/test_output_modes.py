"""Where what workers write goes, with the real daemon: nothing is lost, and nobody dies of it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from autohealer.logprocess.layout import PID_NOTE
from autohealer.processes.procfs import exists
from autohealer.workerlogs.destination import NOTE
from tests.integration.test_several_groups import Fleet
from tests.support.daemon import Daemon
from tests.support.eventually import eventually

WITHIN_S = 30.0
_COUNTING = """#!/bin/sh
trap 'echo "last words of $$"; exit 3' TERM
n=0
while :; do n=$((n+1)); echo "line $n of $$"; sleep 0.05; done
"""


def counting(folder: Path) -> str:
    """A program that writes numbered lines until it is asked to end."""
    program = folder / "counting.sh"
    program.write_text(_COUNTING)
    program.chmod(0o755)
    return str(program)


def folder_of(daemon: Daemon) -> Path:
    """Where a daemon's output files are."""
    return daemon.state_dir / "groups" / daemon.group / "output"


def log_process_of(daemon: Daemon) -> int:
    """The pid of a group's log process."""
    return int((folder_of(daemon) / PID_NOTE).read_text())


def written(daemon: Daemon) -> str:
    """What slot 0 has written, as far as it is in files."""
    logs = sorted(folder_of(daemon).glob("slot-0.log*"), reverse=True)
    return "".join(log.read_text() for log in logs)


def grows(daemon: Daemon) -> None:
    """Return when more is written than before."""
    size = len(written(daemon))
    eventually(lambda: len(written(daemon)) > size, within_s=WITHIN_S)


def test_a_log_process_outlives_the_daemon_and_its_own_end_costs_nothing(
    server: str, tmp_path: Path
) -> None:
    """A restart of the daemon, or kill -9 of the log process, would end workers or lose lines."""
    options = ("--set", "output.timestamps=true", "--set", "output.keep=3")
    daemon = Daemon(
        tmp_path / "state", server, replicas=2, program=counting(tmp_path), args=(), options=options
    )
    with daemon:
        before = daemon.becomes_whole()
        grows(daemon)
        log = log_process_of(daemon)
        daemon.kill()
        grows(daemon)
        daemon.start()
        assert daemon.becomes_whole() == before
        grows(daemon)
        assert log_process_of(daemon) == log
        os.kill(log, signal.SIGKILL)
        eventually(lambda: daemon.log("log_process_ended"), within_s=WITHIN_S)
        eventually(lambda: log_process_of(daemon) != log, within_s=WITHIN_S)
        grows(daemon)
        assert daemon.becomes_whole() == before
        last = log_process_of(daemon)
        assert daemon.stop() == 0
        assert not exists(last)
    text = written(daemon)
    line = re.compile(rf"^\d{{4}}-\d\d-\d\dT[\d:.]{{12}}Z line (\d+) of {before[0]}$", re.MULTILINE)
    numbers = [int(found) for found in line.findall(text)]
    assert set(numbers) == set(range(1, max(numbers) + 1))
    assert text.endswith(f"Z last words of {before[0]}\n")


@pytest.mark.thorough
def test_output_is_handed_on_and_its_reader_s_end_ends_nobody(server: str, tmp_path: Path) -> None:
    """`autohealer --output stdout … | head` would end the workers, or their last words be lost."""
    daemon = Daemon(
        tmp_path / "state",
        server,
        replicas=1,
        program=counting(tmp_path),
        args=(),
        options=("--output", "stdout"),
    )
    reading, daemon.says_into = os.pipe()
    with daemon, os.fdopen(reading) as reader:
        (pid,) = daemon.becomes_whole().values()
        lines = (line for line in reader if line.startswith("line "))
        assert next(lines) == f"line 1 of {pid}\n"
        reader.close()
        grows(daemon)
        assert daemon.becomes_whole() == {0: pid}
        os.kill(pid, signal.SIGTERM)
        daemon.replaces({0: pid}, WITHIN_S)
        assert f"last words of {pid}" in _why(daemon)
        assert daemon.stop() == 0
    os.close(daemon.says_into)


@pytest.mark.thorough
def test_thrown_away_is_thrown_away(server: str, tmp_path: Path) -> None:
    """What was not to be kept would fill the disk, or its writer be ended."""
    daemon = Daemon(
        tmp_path / "state",
        server,
        replicas=1,
        program=counting(tmp_path),
        args=(),
        options=("--output", "null"),
    )
    with daemon:
        (pid,) = daemon.becomes_whole().values()
        assert _writes_to(pid) == "/dev/null"
        assert [it.name for it in folder_of(daemon).iterdir()] == [NOTE]
        assert daemon.stop() == 0


def _writes_to(pid: int) -> str:
    return str(Path(f"/proc/{pid}/fd/1").readlink())


def _why(daemon: Daemon) -> str:
    command = (sys.executable, "-m", "autohealer", "why", "--state-dir", str(daemon.state_dir))
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.thorough
def test_a_reload_changes_where_output_goes(server: str, tmp_path: Path) -> None:
    """Those launched after a reload would write where nobody reads, or a log process be left over by one."""
    text = f'[group.web]\ncommand = "{counting(tmp_path)}"\nmin_ready = "100ms"\n'
    with Fleet(tmp_path, server, text) as fleet:
        output = fleet.state_dir / "groups" / "web" / "output"
        log = output / "slot-0.log"
        first = fleet.whole("web")["web"][0]
        _ask(fleet, "[group.web.output]\ntimestamps = true\nkeep = 3\n")
        second = _launched_after(fleet, first)
        stamped_line = re.compile(rf"^\S+Z line \d+ of {second}$", re.MULTILINE)
        eventually(lambda: stamped_line.search(log.read_text()), within_s=WITHIN_S)
        log_process = int((output / PID_NOTE).read_text())
        _ask(fleet, "[group.web.output]\ntimestamps = false\nkeep = 3\n")
        plain_line = re.compile(rf"^line \d+ of {second}$", re.MULTILINE)
        eventually(lambda: plain_line.search(log.read_text()), within_s=WITHIN_S)
        assert fleet.whole("web")["web"][0] == second
        assert not exists(log_process)
        log_process = int((output / PID_NOTE).read_text())
        _ask(fleet, "")
        third = _launched_after(fleet, second)
        plain_line = re.compile(rf"^line \d+ of {third}$", re.MULTILINE)
        eventually(lambda: plain_line.search(log.read_text()), within_s=WITHIN_S)
        eventually(lambda: not exists(log_process), within_s=WITHIN_S)
        assert fleet.stop() == 0
        assert fleet.log("log_process_ended") == []  # nor was it launched again and again


def _ask(fleet: Fleet, output: str) -> None:
    """Change what the file says of output, and have it read."""
    text, _, _ = fleet.file.read_text().partition("[group.web.output]")
    fleet.file.write_text(text + output)
    command = (sys.executable, "-m", "autohealer", "reload", "--state-dir", str(fleet.state_dir))
    subprocess.run(command, check=True)


def _launched_after(fleet: Fleet, before: int) -> int:
    """Wait until another one fills slot 0."""
    return eventually(
        lambda: next((pid for pid in fleet.whole("web")["web"].values() if pid != before), None),
        within_s=WITHIN_S,
        view=fleet.view,
    )
