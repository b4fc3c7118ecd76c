"""The README is true: its first command, typed in a clean checkout, does what it says.

The second runs these tests: `.ci/run` types it, as it stands in the README, in a clean checkout.
"""

from __future__ import annotations

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from autohealer.cli.exit_codes import ExitCode
from tests.support.daemon import Daemon
from tests.support.eventually import eventually
from tests.support.servers import ZooKeeperUnderTest, four_letter_word

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
INSTALLED_WITHIN_S = 540.0
_NOT_IN_A_CHECKOUT = shutil.ignore_patterns(
    ".git", ".venv", "build", "*.egg-info", ".*_cache", "__pycache__", ".hypothesis"
)


def command(name: str) -> str:
    """The command the README gives under a marker."""
    match = re.search(rf"<!-- command: {name} -->\n```sh\n(.+)\n```", README)
    assert match is not None, f"the README has no command {name!r}"
    return match[1]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A clean copy of the source."""
    return Path(shutil.copytree(ROOT, tmp_path / "checkout", ignore=_NOT_IN_A_CHECKOUT))


class Terminal:
    """A shell command on a terminal of its own."""

    def __init__(self, line: str, cwd: Path, environment: dict[str, str]) -> None:
        self._controller, terminal = pty.openpty()
        os.set_blocking(self._controller, False)
        self.process = subprocess.Popen(
            ["bash", "-c", line],
            cwd=cwd,
            env=environment,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
        )
        os.close(terminal)
        self.seen = ""

    def shows(self, text: str) -> bool:
        """Read what there is; whether `text` has appeared so far."""
        try:
            while chunk := os.read(self._controller, 65536):
                self.seen += chunk.decode(errors="replace")
        except (BlockingIOError, OSError):
            pass  # nothing more for now, or the other end was closed
        return text in self.seen

    def interrupt(self) -> int:
        """Ctrl-C, as a terminal sends it: to the whole foreground group."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(60)

    def close(self) -> None:
        """End what still runs."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        os.close(self._controller)


@pytest.mark.thorough
@pytest.mark.xdist_group("port 2181")
@pytest.mark.timeout(600)
def test_the_first_command_shows_ten_of_ten_and_ctrl_c_leaves_nothing(
    checkout: Path, tmp_path: Path
) -> None:
    """A newcomer's very first minute would end in disappointment."""
    taken = four_letter_word("127.0.0.1:2181", "srvr") != ""
    environment = dict(os.environ) | {"XDG_STATE_HOME": str(tmp_path / "state"), "TERM": "xterm"}
    terminal = Terminal(command("run"), checkout, environment)
    try:
        eventually(
            lambda: terminal.shows("10/10 registered") or terminal.process.poll() is not None,
            within_s=INSTALLED_WITHIN_S,
            view=lambda: terminal.seen[-3000:],
        )
        assert "10/10 registered" in terminal.seen, terminal.seen[-3000:]
        plain = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", terminal.seen)
        logged = re.findall(r"^\s*\d\d:\d\d:\d\d\.\d+ \[.*$", plain, re.MULTILINE)
        assert "zookeeper_chosen" in logged[0]
        assert terminal.interrupt() == 0
        if not taken:
            assert four_letter_word("127.0.0.1:2181", "srvr") == ""
    finally:
        terminal.close()


def test_every_option_the_readme_names_exists_with_that_default() -> None:
    """The README would promise options that are not there."""
    help_text = subprocess.run(
        [sys.executable, "-m", "autohealer", "run", "--help"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    ).stdout
    help_text = " ".join(help_text.split())  # however its lines are broken
    for option, default in re.findall(
        r"^\| `(--[a-z-]+)` \|.*\| `?([^|`]+)`? \|$", README, re.MULTILINE
    ):
        assert option in help_text
        if default.strip().isdigit():
            assert f"default: {default.strip()}.0" in help_text.split(option)[1][:400]


def test_every_exit_code_is_in_the_readme() -> None:
    """A script that checks the exit code could not be written from the README."""
    section = README[README.index("Exit codes:") : README.index("On an **Apache")]
    assert re.findall(r"(?<![\w.])(\d) [a-z]", section) == [str(code.value) for code in ExitCode]


def test_the_worker_in_the_readme_works(zookeeper: ZooKeeperUnderTest, tmp_path: Path) -> None:
    """The first worker somebody writes, copied from the README, would not register."""
    match = re.search(r"```python\n(.+?)```", README, re.DOTALL)
    assert match is not None
    program = tmp_path / "worker.py"
    program.write_text(f"def do_some_work(): print('working', flush=True)\n{match[1]}")
    with Daemon(
        tmp_path / "state", zookeeper.connection, replicas=2, program=str(program), args=()
    ) as daemon:
        daemon.becomes_whole()
        log = daemon.state_dir / "groups/worker/output/slot-0.log"
        eventually(lambda: "working" in log.read_text(), within_s=20, view=daemon.view)
        assert daemon.stop() == 0
        assert {line["how"] for line in daemon.log("worker_stopped")} == {"exited with code 0"}
