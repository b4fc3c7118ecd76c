"""Whether a program registers itself is seen from what is written in it and in what it runs."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import pytest

from autohealer.contract import ENV_ZNODE
from autohealer.processes.registering import sign_of_registering

SDK = "from autohealer.worker import run\nrun(lambda worker: 0)\n"


def written(path: Path, text: str) -> str:
    """A file with this text; its name."""
    path.write_text(text)
    return str(path)


def test_the_bundled_worker_shows_it() -> None:
    """The very first command would run the flaky worker as a program that knows nothing."""
    assert "flaky_worker" in sign_of_registering((sys.executable, "-m", "flaky_worker"))


@pytest.mark.parametrize(
    "text", [SDK, "from autohealer import worker\n", f"path = os.environ['{ENV_ZNODE}']\n"]
)
def test_a_script_that_names_it_shows_it(tmp_path: Path, text: str) -> None:
    """A worker that registers itself would have the daemon in its way."""
    script = written(tmp_path / "w.py", text)
    assert sign_of_registering((sys.executable, script)) == f"{script} says so"


def test_what_a_script_runs_is_looked_at(tmp_path: Path) -> None:
    """A worker started by a wrapper would be taken for a program that knows nothing."""
    worker = written(tmp_path / "slow.py", SDK)
    wrapper = written(tmp_path / "wrap.sh", f'#!/bin/sh\n"{sys.executable}" "{worker}"\nexit $?\n')
    assert sign_of_registering((wrapper,)) == f"{worker} says so"
    beside = written(tmp_path / "beside.sh", "#!/bin/sh\nexec ./slow.py\n")
    assert sign_of_registering((beside,)) != ""


def test_a_module_that_a_script_runs_is_looked_at(tmp_path: Path) -> None:
    """A wrapper around the bundled worker would be taken for a program that knows nothing."""
    wrapper = written(tmp_path / "wrap.sh", "#!/bin/sh\nexec python3 -m flaky_worker\n")
    assert "flaky_worker" in sign_of_registering((wrapper,))


def test_a_module_beside_a_script_is_looked_at(tmp_path: Path) -> None:
    """A worker that keeps the SDK in a module of its own would be registered twice."""
    written(tmp_path / "base.py", SDK)
    script = written(tmp_path / "w.py", "import base\nbase.main()\n")
    assert sign_of_registering((sys.executable, script)) != ""


def test_a_command_line_may_show_it() -> None:
    """`python -c` with a worker in it would be taken for anything else."""
    assert sign_of_registering((sys.executable, "-c", SDK)) == "its command says so"


def test_a_jar_is_looked_into(tmp_path: Path) -> None:
    """A Java worker that registers as it is told would be taken for one that does not."""
    path = tmp_path / "worker.jar"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as jar:
        jar.writestr("Worker.class", b"\xca\xfe\xba\xbe\0" + ENV_ZNODE.encode() * 40)
    assert sign_of_registering(("/usr/bin/java", "-jar", str(path))) == f"{path} says so"


def test_everything_else_shows_nothing(tmp_path: Path) -> None:
    """A shell loop would never be ready, because it is waited for to register."""
    loop = written(tmp_path / "loop.sh", "#!/bin/sh\nwhile :; do sleep 1; done\n")
    broken = written(tmp_path / "broken.jar", "no jar at all")
    kernel = written(tmp_path / "kernel.sh", "#!/bin/sh\ncat /proc/kmsg /dev/zero $LINK\n")
    (tmp_path / "LINK").symlink_to("/proc/kmsg")
    round_about = written(tmp_path / "a.py", "import b\n")
    written(tmp_path / "b.py", "import a\n")
    for argv in (
        (loop,),
        ("/bin/sleep", "600"),
        (broken,),
        (sys.executable, "-m", "no.such.module"),
        (sys.executable, "-m", "http.server"),
        (str(tmp_path / "missing"), "\0"),
        (sys.executable, round_about),
        (kernel,),
    ):
        assert sign_of_registering(argv) == "", argv
