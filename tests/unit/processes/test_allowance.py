"""What a worker may use holds before its program begins."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

import pytest

from autohealer.launchspec import ResourceLimits
from autohealer.processes.allowance import before_it_begins, held_back, knowing_its_pid, limit, rank
from autohealer.processes.spawn import spawn_detached

FILES = 123
NICE = 7
OOM_SCORE_ADJ = 321


def launch(words: list[str], output: Path) -> int:
    """A child that stands still."""
    descriptor = os.open(output, os.O_RDWR | os.O_CREAT, 0o600)
    return spawn_detached(held_back(words), dict(os.environ), descriptor)


def test_limits_and_ranks_hold_from_the_first_instruction(tmp_path: Path) -> None:
    """A program that looks at its limits when it starts would see the daemon's."""
    output = tmp_path / "out"
    shown = "ulimit -n; ulimit -Hn; nice; cat /proc/self/oom_score_adj; echo $0 $1"
    pid = launch(["/bin/sh", "-c", shown, "name", "a b"], output)
    with before_it_begins(pid):
        limit(pid, ResourceLimits(nofile=FILES))
        rank(pid, NICE, OOM_SCORE_ADJ)
        assert output.read_text() == ""
    assert os.waitpid(pid, 0)[1] == 0
    told = [str(FILES), str(FILES), str(NICE), str(OOM_SCORE_ADJ), "name a b"]
    assert output.read_text().splitlines() == told


def test_a_program_that_has_to_ping_knows_that_it_is_the_one(tmp_path: Path) -> None:
    """With systemd's own library a program would not ping, or its children would believe that they have to."""
    output = tmp_path / "out"
    descriptor = os.open(output, os.O_RDWR | os.O_CREAT, 0o600)
    words = knowing_its_pid(["/bin/sh", "-c", "echo $WATCHDOG_PID $1", "name", "a b"])
    pid = spawn_detached(words, dict(os.environ), descriptor)
    assert os.waitpid(pid, 0)[1] == 0
    assert output.read_text() == f"{pid} a b\n"


def test_a_child_that_died_before_it_began_holds_nobody_up(tmp_path: Path) -> None:
    """The launching thread would wait for ever, and no group be healed any more."""
    pid = launch(["/bin/true"], tmp_path / "out")
    os.kill(pid, signal.SIGKILL)
    with before_it_begins(pid):
        pass
    assert os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def test_a_limit_that_cannot_be_is_named(tmp_path: Path) -> None:
    """The operator would read `Operation not permitted` and guess."""
    pid = launch(["/bin/true"], tmp_path / "out")
    with before_it_begins(pid), pytest.raises(PermissionError, match="its limit nofile = "):
        limit(pid, ResourceLimits(nofile=2**40))
    os.waitpid(pid, 0)


def test_what_is_not_said_stays_as_it_is(tmp_path: Path) -> None:
    """A worker would lose what the daemon has."""
    pid = launch(["/bin/true"], tmp_path / "out")
    with before_it_begins(pid):
        limit(pid, ResourceLimits())
        rank(pid, None, None)
        assert resource.prlimit(pid, resource.RLIMIT_NOFILE) == resource.getrlimit(
            resource.RLIMIT_NOFILE
        )
    os.waitpid(pid, 0)
