"""What a newcomer meets: a mistake that is nobody's bug, and the sentence that says which."""

from __future__ import annotations

from pathlib import Path

from autohealer.settings import group_dir
from autohealer.telemetry.history import read_history
from tests.support.daemon import Daemon
from tests.support.eventually import eventually
from tests.support.servers import ZooKeeperUnderTest


def _script(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_a_worker_whose_python_lacks_the_package_says_which_python_that_is(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """Right after `pip install autohealer` one would read `No module named 'autohealer'`, over and over."""
    python = _script(
        tmp_path / "python3",
        "#!/bin/sh\necho \"ModuleNotFoundError: No module named 'autohealer'\" >&2\nexit 1\n",
    )
    worker = _script(tmp_path / "w.py", f"#!{python}\n")
    with Daemon(
        tmp_path / "state", zookeeper.connection, replicas=1, program=str(worker), args=()
    ) as daemon:
        hint = f"({python}) does not have the package autohealer"
        eventually(lambda: daemon.log("worker_exited"), within_s=20, view=daemon.view)
        assert hint in str(daemon.log("worker_exited")[0]["hint"])
        eventually(
            lambda: any(hint in slot.hint for slot in daemon.slots()),
            within_s=20,
            view=daemon.view,
        )
        daemon.stop()
    history = read_history(group_dir(daemon.state_dir, daemon.group))
    assert any(hint in (entry.hint or "") for entry in history)
