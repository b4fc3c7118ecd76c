"""Goal: the server can be lifted out of this project. Method: it is, as its README says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import autohealer.zkserver

WITHIN_S = 20.0


def test_a_copy_under_another_name_runs_on_the_standard_library_alone(tmp_path: Path) -> None:
    """Who wants the server would have to take the whole of autohealer, or a library, with it."""
    (copy := tmp_path / "zkserver").mkdir()
    for module in Path(autohealer.zkserver.__file__).parent.glob("*.py"):
        text = module.read_text().replace("autohealer.zkserver", "zkserver")
        (copy / module.name).write_text(text)
    program = "import sys; sys.path.insert(0, sys.argv.pop(1)); from zkserver.__main__ import main; main()"
    run = subprocess.run(
        (sys.executable, "-I", "-S", "-c", program, str(tmp_path), "--help"),
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert "--tree-bytes-max" in run.stdout
