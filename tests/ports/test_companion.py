"""The embedded server's process: held first, proven afterwards, and ended only if it is ours."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from autohealer.processes import companion
from autohealer.processes.companion import ENV_COMPANION, Companion
from autohealer.processes.reaper import Reaper
from tests.support.daemon import exists


def token_for(note: Path) -> str:
    """The token of a test's own daemon: what another run left is not this one's."""
    return f"of {note.parent}"


STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"


@asynccontextmanager
async def keeping(note: Path) -> AsyncIterator[Companion]:
    """What a daemon has, with nothing launched."""
    reaper = Reaper(asyncio.get_running_loop())
    reaper.start()
    argv = (sys.executable, "-c", STUBBORN)
    made = Companion(argv, os.environ, token_for(note), note, reaper, lambda _pid, _lived_s: None)
    try:
        yield made
    finally:
        made.release()
        reaper.close()


@contextmanager
def process(*argv: str, token: str | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Somebody's process, for a block; launched by nobody who lives where it carries a token."""
    environment = os.environ | ({} if token is None else {ENV_COMPANION: f"{token}:0"})
    with subprocess.Popen(argv or ("sleep", "600"), env=environment) as started:
        try:
            yield started
        finally:
            started.kill()


async def test_one_that_an_earlier_daemon_left_is_found_and_held(tmp_path: Path) -> None:
    """It would stay for ever, and a second one be launched beside it."""
    note = tmp_path / "lock"
    with process(token=token_for(note)) as left:
        async with keeping(note) as made:
            found = made.find()
            assert found == [left.pid]
            assert made.adopt(found)
            assert made.pid == left.pid


async def test_a_pid_that_went_to_somebody_else_is_let_go(tmp_path: Path) -> None:
    """Between finding and holding it ends and another gets its pid: a stranger would be ended at the stop."""
    (note := tmp_path / "lock").touch()
    with process() as stranger, process(token="of another") as other:
        note.write_text(str(stranger.pid))
        async with keeping(note) as made:
            assert made.find() == [stranger.pid]  # the note makes it a candidate, no more
            assert not made.adopt([stranger.pid, other.pid])
            assert made.pid is None
            await made.stop()
        assert stranger.poll() is None
        assert other.poll() is None


async def test_one_that_ended_meanwhile_fails_nothing(tmp_path: Path) -> None:
    """The start would fail because a server ended at the wrong moment."""
    with process() as gone:
        gone.kill()
        gone.wait()
        async with keeping(tmp_path / "lock") as made:
            assert not made.adopt([gone.pid])


async def test_one_whose_daemon_lives_belongs_to_that(tmp_path: Path) -> None:
    """Two daemons would answer for one server, and the first to end would end it under the other."""
    async with keeping(tmp_path / "lock") as first, keeping(tmp_path / "lock") as second:
        first.launch(os.open(os.devnull, os.O_WRONLY))
        assert first.pid is not None
        assert not second.adopt([first.pid])
        first.kill()


async def test_one_that_does_not_heed_term_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop would wait for a hanging server for ever."""
    monkeypatch.setattr(companion, "STOP_GRACE_S", 0.2)
    async with keeping(tmp_path / "lock") as made:
        reads, writes = os.pipe()
        made.launch(writes)
        assert await asyncio.to_thread(os.read, reads, 1) == b"\n"
        os.close(reads)
        pid = made.pid
        await made.stop()
        assert made.pid is None
        assert pid is not None
        assert not exists(pid)
