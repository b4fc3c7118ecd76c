"""Every signal, sent to the real daemon: it stops in order, or goes on and says so; nothing in between."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from autohealer.assembly.signals import REACTIONS, Reaction
from tests.support.daemon import Daemon
from tests.support.eventually import eventually

WITHIN_S = 20.0
HARMLESS = [
    n for n, r in REACTIONS.items() if r in {Reaction.SAY, Reaction.IGNORE, Reaction.REDRAW}
]
STOPPING = [n for n, r in REACTIONS.items() if r in {Reaction.STOP, Reaction.STOP_UNLESS_IGNORED}]


@pytest.fixture
def daemon(server: str, tmp_path: Path) -> Daemon:
    """A daemon of one worker, not started yet."""
    daemon = Daemon(tmp_path / "state", server, replicas=1)
    daemon.command = [*("env", "--default-signal"), *daemon.command]
    return daemon


def started_with(daemon: Daemon, *words: str) -> Daemon:
    """The daemon, started by a command of the user's."""
    daemon.command = [*words, *daemon.command[2:]]
    return daemon


def said(daemon: Daemon, number: int) -> list[dict[str, object]]:
    """What the log tells of a signal."""
    return [line for line in daemon.log("signal_received") if line["signal"] == _name(number)]


def _name(number: int) -> str:
    known = {n.value: n.name for n in signal.Signals}
    return known.get(number, f"SIGRTMIN+{number - signal.SIGRTMIN}")


@pytest.mark.parametrize(
    "number",
    [n if n == signal.SIGTERM else pytest.param(n, marks=pytest.mark.thorough) for n in STOPPING],
    ids=_name,
)
def test_what_stops_stops_in_order_and_is_named(daemon: Daemon, number: int) -> None:
    """Ctrl-\\, a failing power supply or a CPU limit would end the daemon and leave its workers to nobody."""
    with daemon:
        daemon.becomes_whole()
        os.kill(daemon.pid, number)
        assert daemon.wait() == 0
        assert daemon.everything_started() == []
        assert [line["then"] for line in said(daemon, number)] == ["stop"]
        assert daemon.log("stopped")


@pytest.mark.thorough
def test_what_means_nothing_changes_nothing_and_is_said(daemon: Daemon) -> None:
    """A signal some other daemon rotates its log for would end this one."""
    with daemon:
        before = daemon.becomes_whole()
        for number in HARMLESS:
            os.kill(daemon.pid, number)
        wanted = [n for n in HARMLESS if REACTIONS[n] is Reaction.SAY]
        eventually(
            lambda: all(said(daemon, number) for number in wanted),
            within_s=WITHIN_S,
            view=daemon.view,
        )
        assert daemon.becomes_whole() == before
        assert daemon.stop() == 0


def test_a_flood_of_signals_loses_none_and_ends_nothing(daemon: Daemon) -> None:
    """Signals that come together would crash the interpreter, print complaints, or swallow a TERM among them."""
    with daemon:
        daemon.becomes_whole()
        for _ in range(300):
            for number in (*HARMLESS, signal.SIGCHLD, signal.SIGCONT):
                os.kill(daemon.pid, number)
        assert psutil.Process(daemon.pid).is_running()
        os.kill(daemon.pid, signal.SIGTERM)
        for _ in range(300):
            for number in (signal.SIGCHLD, signal.SIGUSR1):
                os.kill(daemon.pid, number)
        assert daemon.wait() == 0
        plain = [line for line in daemon.output.read_text().splitlines() if line[:1] != "{"]
        assert plain == []
        assert len(said(daemon, signal.SIGUSR1)) < 100


@pytest.mark.thorough
def test_a_stopped_daemon_finds_its_signals_when_it_goes_on(daemon: Daemon) -> None:
    """After Ctrl-Z and fg the daemon would not go on, or not say why it healed nobody for a while."""
    with daemon:
        before = daemon.becomes_whole()
        os.kill(daemon.pid, signal.SIGSTOP)  # Ctrl-Z stops only what a shell can continue
        process = psutil.Process(daemon.pid)
        eventually(lambda: process.status() == psutil.STATUS_STOPPED, within_s=WITHIN_S)
        os.kill(before[0], signal.SIGKILL)
        os.kill(daemon.pid, signal.SIGCONT)
        daemon.replaces(before, within_s=WITHIN_S)
        assert said(daemon, signal.SIGCONT)


def test_hup_without_a_terminal_changes_nothing_and_is_named(daemon: Daemon) -> None:
    """Who is used to `kill -HUP` for a new configuration would stop everything."""
    with daemon:
        before = daemon.becomes_whole()
        os.kill(daemon.pid, signal.SIGHUP)
        (line,) = eventually(
            lambda: said(daemon, signal.SIGHUP), within_s=WITHIN_S, view=daemon.view
        )
        assert "there is no configuration to be read again" in str(line["then"])
        assert daemon.becomes_whole() == before


def test_under_nohup_it_survives_the_terminal(daemon: Daemon) -> None:
    """`nohup autohealer … &` would end with the terminal it was started on."""
    with started_with(daemon, "nohup"):
        before = daemon.becomes_whole()
        os.kill(daemon.pid, signal.SIGHUP)
        os.kill(daemon.pid, signal.SIGUSR1)
        eventually(lambda: said(daemon, signal.SIGUSR1), within_s=WITHIN_S, view=daemon.view)
        assert daemon.becomes_whole() == before
        assert said(daemon, signal.SIGHUP) == []


@pytest.mark.thorough
def test_what_a_shell_ignores_for_its_background_stays_ignored(daemon: Daemon) -> None:
    """Ctrl-C for a script would stop the daemon that the script has started with `&`."""
    with started_with(daemon, "env", "--ignore-signal=INT,QUIT"):
        daemon.becomes_whole()
        os.kill(daemon.pid, signal.SIGINT)
        os.kill(daemon.pid, signal.SIGQUIT)
        os.kill(daemon.pid, signal.SIGUSR1)
        eventually(lambda: said(daemon, signal.SIGUSR1), within_s=WITHIN_S, view=daemon.view)
        assert daemon.is_whole()
        assert daemon.stop() == 0


@pytest.mark.thorough
def test_term_stops_even_if_it_was_ignored(daemon: Daemon) -> None:
    """A daemon started below `trap '' TERM` could only be killed."""
    with started_with(daemon, "env", "--ignore-signal=TERM"):
        daemon.becomes_whole()
        assert daemon.stop() == 0
        assert daemon.everything_started() == []


@pytest.mark.thorough
def test_a_terminal_that_hangs_up_stops_what_was_started_on_it(daemon: Daemon) -> None:
    """Closing the window would leave workers running that nobody sees any more."""
    leader, follower = pty.openpty()
    take = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
    python = daemon.command[2]
    daemon.state_dir.mkdir(parents=True)
    with daemon.output.open("ab") as output:
        daemon._process = subprocess.Popen(  # the only test that needs a terminal
            [python, "-c", take, *daemon.command[2:]],
            stdin=follower,
            stdout=output,
            stderr=output,
            env=daemon.environment,
            start_new_session=True,
        )
    os.close(follower)
    try:
        daemon.becomes_whole()
        os.close(leader)
        assert daemon.wait() == 0
        assert daemon.everything_started() == []
        assert [line["then"] for line in said(daemon, signal.SIGHUP)] == ["stop"]
    finally:
        daemon.__exit__(None, None, None)


_C_LIBRARYS = 0b11 << 31
"""Two signals between the standard ones and those with numbers, which nobody can set or send by name."""

SHOW = """#!/bin/sh
grep -E '^Sig(Ign|Blk)' /proc/self/status
exec sleep 1000
"""


def test_a_worker_starts_with_every_signal_at_its_default(daemon: Daemon, tmp_path: Path) -> None:
    """How a worker takes a signal would depend on how its daemon was started."""
    program = tmp_path / "show.sh"
    program.write_text(SHOW)
    program.chmod(0o755)
    daemon.command[-3:] = [str(program)]
    log = daemon.state_dir / "groups/show/output/slot-0.log"
    inherited = "HUP,INT,QUIT,PIPE"
    with started_with(daemon, "env", f"--ignore-signal={inherited}", f"--block-signal={inherited}"):
        eventually(
            lambda: log.exists() and "SigIgn" in log.read_text(),
            within_s=WITHIN_S,
            view=daemon.view,
        )
        lines = (line.partition(":\t") for line in log.read_text().splitlines())
        masks = {name: mask for name, _, mask in lines}
        assert {name: int(mask, 16) & ~_C_LIBRARYS for name, mask in masks.items()} == {
            "SigBlk": 0,
            "SigIgn": 0,
        }


def test_a_thousand_ends_at_once_print_nothing() -> None:
    """A mass death would fill the error output with "Exception ignored when trying to write to the signal …"."""
    script = """
import asyncio, os, signal
from autohealer.processes.reaper import Reaper
async def main():
    loop = asyncio.get_running_loop()
    reaper = Reaper(loop)
    reaper.start()
    for _ in range(5000):
        os.kill(os.getpid(), signal.SIGCHLD)
    await asyncio.sleep(0)
    reaper.close()
asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
