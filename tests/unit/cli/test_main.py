"""What the commands say before anything is asked or started."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from autohealer.cli.main import app


@pytest.mark.parametrize("command", ["status", "why", "detach"])
def test_a_state_directory_that_may_not_be_read_is_named(command: str, tmp_path: Path) -> None:
    """Asking after somebody else's daemon would be called a wrong option."""
    state = tmp_path / "state"
    state.mkdir()
    ask = [command, "--state-dir", str(state)]
    CliRunner().invoke(app, ask)  # imports what it needs, as long as we may
    state.chmod(0)
    before = os.geteuid()
    os.seteuid(65534 if before == 0 else before)
    try:
        done = CliRunner().invoke(app, ask)
    finally:
        os.seteuid(before)
        state.chmod(0o700)
    assert done.exit_code == 5
    assert "Usage" not in done.output
