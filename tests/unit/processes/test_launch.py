"""What a worker is given at its launch."""

from __future__ import annotations

import os
from pathlib import Path

from autohealer.core.model import Incarnation
from autohealer.launchspec import LaunchSpec
from autohealer.processes.launch import Launcher
from autohealer.processes.output import OutputFiles


def test_a_named_environment_is_active(tmp_path: Path) -> None:
    """A worker would find the commands of another environment than its own."""
    complaints: list[str] = []
    output = OutputFiles(tmp_path, 10_000, complaints.append)
    spec = LaunchSpec(("/bin/sh", "-c", "echo $VIRTUAL_ENV $PATH"), venv="/srv/env")
    launcher = Launcher(spec, {"PATH": "/bin"}, "web", b"secret", output)
    os.waitpid(launcher.launch(Incarnation(0, 1)), 0)
    assert output.path(0).read_text() == "/srv/env /srv/env/bin:/bin\n"
