"""Who is replaced, with the real daemon: what is done is done, over a crash of the daemon, and not over a new start."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.daemon import Daemon
from tests.support.eventually import eventually

WITHIN_S = 30.0
_JOB = """#!/bin/sh
echo run >> "$RUNS"
until [ -e "$GO" ]; do sleep 0.05; done
exit $(cat "$GO")
"""


class Job:
    """Two workers that end, with a code, when they are let go."""

    def __init__(self, folder: Path, server: str, policy: str) -> None:
        self.runs_file, self._go = folder / "runs", folder / "go"
        program = folder / "job.sh"
        program.write_text(_JOB)
        program.chmod(0o755)
        self.daemon = Daemon(
            folder / "state",
            server,
            replicas=2,
            program=str(program),
            args=(),
            options=("--restart", policy),
            environment={"RUNS": str(self.runs_file), "GO": str(self._go)},
        )

    def let_go(self, code: int) -> None:
        """Have those that run end."""
        draft = self._go.with_suffix(".new")
        draft.write_text(str(code))
        draft.rename(self._go)

    def runs(self) -> int:
        """How many have been launched."""
        return len(self.runs_file.read_text().splitlines())

    def phases(self) -> list[str]:
        """Of the slots."""
        return [slot.phase for slot in self.daemon.slots()]


def test_failures_are_retried_until_all_is_done_and_then_the_daemon_is(
    server: str, tmp_path: Path
) -> None:
    """A job that failed would be left undone, or one that is done be run for ever."""
    job = Job(tmp_path, server, "on-failure")
    with job.daemon as daemon:
        daemon.becomes_whole()
        job.let_go(3)
        eventually(lambda: job.runs() > 2, within_s=WITHIN_S, view=daemon.view)
        job.let_go(0)
        assert daemon.wait() == 0
        (all_done,) = daemon.log("all_done")
        assert all_done["failed"] == 0
        runs = job.runs()
        daemon.start()  # anew: everything had been stopped in order
        eventually(lambda: job.runs() == runs + 2, within_s=WITHIN_S, view=daemon.view)
        assert daemon.wait() == 0


@pytest.mark.thorough
def test_what_is_done_is_not_done_again_by_the_daemon_after_a_crash(
    server: str, tmp_path: Path
) -> None:
    """kill -9 of the daemon, or an upgrade, would run finished jobs once more."""
    job = Job(tmp_path, server, "on-failure")
    with job.daemon as daemon:
        pids = daemon.becomes_whole()
        os.kill(
            pids[0], signal.SIGTERM
        )  # not by the daemon: it ends as one that was asked to, which is success
        eventually(lambda: job.phases() == ["done", "ready"], within_s=WITHIN_S, view=daemon.view)
        assert daemon.slots()[0].reason.startswith("done: ended by signal 15 (SIGTERM) after")
        eventually(_noted(daemon), within_s=WITHIN_S)
        daemon.kill()
        daemon.start()
        eventually(lambda: job.phases() == ["done", "ready"], within_s=WITHIN_S, view=daemon.view)
        assert daemon.pids() == {1: pids[1]}
        assert job.runs() == 2
        assert daemon.stop() == 0


def _noted(daemon: Daemon) -> Callable[[], bool]:
    note = daemon.state_dir / "groups" / daemon.group / "done"
    return lambda: note.exists() and note.stat().st_size > 0


@pytest.mark.thorough
def test_who_is_never_replaced_fails_the_command(server: str, tmp_path: Path) -> None:
    """A script that runs jobs would go on although they failed."""
    job = Job(tmp_path, server, "never")
    with job.daemon as daemon:
        daemon.becomes_whole()
        job.let_go(3)
        assert daemon.wait() == 7
        assert job.runs() == 2
        assert "all workers are done, and 2 of them failed" in daemon.output.read_text()
