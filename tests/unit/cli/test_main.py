"""What the commands say before anything is asked or started."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from autohealer.cli.main import app


@pytest.fixture
def state() -> Iterator[Path]:
    """A folder that others may look for, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.mark.parametrize("command", ["status", "why", "detach"])
def test_a_state_directory_that_may_not_be_read_is_named(command: str, state: Path) -> None:
    """Asking after somebody else's daemon would be called a wrong option."""
    ask = [command, "--state-dir", str(state)]
    CliRunner().invoke(app, ask)  # imports what it needs, as long as we may
    state.chmod(0)
    before = os.getresuid()
    if before[0] == 0:
        os.setresuid(65534, 65534, 0)  # the real one, too: that is whom access(2) asks about
    try:
        done = CliRunner().invoke(app, ask)
    finally:
        os.setresuid(*before)
        state.chmod(0o700)
    assert done.exit_code == 5
    assert "Usage" not in done.output


def test_a_command_that_logs_nothing_does_not_import_what_logs() -> None:
    """`status` would take half as long again, on a machine that is busy enough to be looked at."""
    loaded = "import sys, autohealer.cli.main; print('structlog' in sys.modules)"
    done = subprocess.run(
        (sys.executable, "-c", loaded), capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
