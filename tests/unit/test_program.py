"""Finding the program to run: a file, then a Python module, then a command on PATH."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from autohealer.processes.executable import why_launch_failed
from autohealer.processes.program import (
    ProgramError,
    is_runnable_module,
    resolve_command,
    resolve_program,
)

SCRIPT = "#!/bin/sh\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, and a PATH of one folder beside it."""
    folder, on_path = tmp_path / "here", tmp_path / "bin"
    folder.mkdir()
    on_path.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATH", str(on_path))
    return folder


def _file(path: Path, text: str = SCRIPT, mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def test_an_executable_is_run_as_it_is(here: Path) -> None:
    """`./worker` would not start, or start from the wrong folder."""
    path = _file(here / "worker", mode=0o755)
    assert resolve_program("./worker").argv == (str(path),)
    assert resolve_program("worker").argv == (str(path),)
    assert resolve_program(str(path)).argv == (str(path),)


def test_a_python_script_need_not_be_executable(here: Path) -> None:
    """`autohealer 3 worker.py` would fail for want of chmod."""
    path = _file(here / "worker.py", "print()")
    assert resolve_program("worker.py").argv == (sys.executable, str(path))


def test_an_executable_python_script_chooses_its_interpreter(here: Path) -> None:
    """A script with a shebang of its own would run in the daemon's environment."""
    _file(here.parent / "bin" / "python3", mode=0o755)
    path = _file(here / "worker.py", "#!/usr/bin/env python3\n", 0o755)
    assert resolve_program("worker.py").argv == (str(path),)


def test_a_jar_is_run_by_java(here: Path) -> None:
    """A Java worker would need a wrapper script."""
    java = _file(here.parent / "bin" / "java", mode=0o755)
    path = _file(here / "FlakyWorker.jar")
    assert resolve_program("FlakyWorker.jar").argv == (str(java), "-jar", str(path))


def test_a_jar_without_java_says_so(here: Path) -> None:
    """The operator would see a file that plainly exists called missing."""
    _file(here / "FlakyWorker.jar")
    with pytest.raises(ProgramError, match="needs Java"):
        resolve_program("FlakyWorker.jar")


def test_a_file_that_is_not_executable_says_what_to_do(here: Path) -> None:
    """The operator would learn it from a worker that never starts."""
    _file(here / "worker")
    with pytest.raises(ProgramError, match=r"chmod \+x"):
        resolve_program("worker")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("exec sleep 1\n", "has no #! line"),
        ("", "is empty"),
        ("#!/bin/sh\r\nexec sleep 1\r\n", "has Windows line endings"),
        ("#!/usr/bin/env python3\r\n", "has Windows line endings"),
        ("\ufeff#!/bin/sh\n", "begins with a byte order mark"),
        ("#!\n", "names no interpreter in its #! line"),
        ("#!/usr/bin/nosuch -x\n", "names /usr/bin/nosuch in its #! line, which does not exist"),
        ("#!python3\n", "which is not an absolute path"),
        ("#!/usr/bin\n", "which is a folder"),
        ("#!/etc/passwd\n", "which is not executable"),
        ("#!/usr/bin/env nosuch\n", "asks env in its #! line for 'nosuch', which is not on PATH"),
        ("#!/usr/bin/env -S nosuch -u\n", "for 'nosuch', which is not on PATH"),
        ("#!/usr/bin/env sh -e\n", "called 'sh -e', blanks included: write env -S sh -e"),
    ],
)
def test_a_script_that_nothing_would_run_is_told_why(here: Path, text: str, sentence: str) -> None:
    """The kernel says "No such file or directory" of a file that is there, and it would be retried for ever."""
    _file(here / "worker.sh", text, 0o755)
    with pytest.raises(ProgramError) as refusal:
        resolve_program("worker.sh")
    assert str(refusal.value).startswith("worker.sh ")
    assert sentence in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert "\r" not in str(refusal.value)


@pytest.mark.parametrize(
    "text",
    [
        *("#!/bin/sh\n", "#! /bin/sh -e\n", "#!\t/bin/sh\n", "#!/bin/sh", "#!/usr/bin/env tool\n"),
        *(
            "#!/usr/bin/env -S tool -u\n",
            "#!/usr/bin/env -S A=1 tool\n",
            "#!/usr/bin/env -i nosuch\n",
        ),
        "\x7fELF\0",
    ],
)
def test_what_the_kernel_may_run_is_not_refused(here: Path, text: str) -> None:
    """A script that works elsewhere would not start here."""
    _file(here.parent / "bin" / "tool", mode=0o755)
    path = _file(here / "worker", text, 0o755)
    assert resolve_program("worker").argv == (str(path),)


def test_a_command_on_path_is_looked_at_too(here: Path) -> None:
    """What `pip install` left behind when its environment moved would be retried for ever."""
    _file(here.parent / "bin" / "serve", "#!/moved/venv/bin/python\n", 0o755)
    with pytest.raises(
        ProgramError, match="/moved/venv/bin/python in its #! line, which does not exist"
    ):
        resolve_program("serve")


def test_an_executable_python_script_without_interpreter_is_run_all_the_same(here: Path) -> None:
    """On file systems of Windows everything is executable, and a plain script would be refused."""
    path = _file(here / "worker.py", "print()", 0o755)
    assert resolve_program("worker.py").argv == (sys.executable, str(path))


@pytest.mark.parametrize(
    ("text", "mode", "number", "sentence"),
    [
        ("#!/bin/sh\r\n", 0o755, errno.ENOENT, "has Windows line endings"),
        ("exec sleep 1\n", 0o755, errno.ENOEXEC, "has no #! line"),
        ("#!/bin/sh\n", 0o644, errno.EACCES, "is not executable: chmod +x it"),
        ("\x7fELF\0", 0o755, errno.ENOENT, "was built for another system"),
        ("\x7fELF\0", 0o755, errno.ENOEXEC, "Exec format error"),
        ("\x7fELF\0", 0o755, errno.ENOMEM, "Cannot allocate memory"),
        (None, 0, errno.ENOENT, "No such file or directory"),
    ],
)
def test_a_launch_that_fails_later_says_what_is_wrong_with_the_file(
    here: Path, text: str | None, mode: int, number: int, sentence: str
) -> None:
    """A script that was edited on Windows while it ran would be called missing."""
    path = str(here / "worker") if text is None else str(_file(here / "worker", text, mode))
    told = why_launch_failed(path, OSError(number, os.strerror(number), path))
    assert told.startswith(path)
    assert sentence in told


def _environment(folder: Path, *, has_sdk: bool = True) -> Path:
    """A virtual environment as far as we look at one: its Python, which finds the package or does not."""
    return _file(folder / "bin" / "python", f"#!/bin/sh\nexit {0 if has_sdk else 1}\n", 0o755)


def test_a_script_is_run_by_the_active_environment_if_that_has_the_sdk(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With autohealer installed apart (pipx), a worker would not find the libraries of its project."""
    script = _file(here / "worker.py", "#!/usr/bin/env python3\nimport autohealer.worker\n")
    active, bare = here.parent / "active", here.parent / "bare"
    python = _environment(active)
    _environment(bare, has_sdk=False)
    monkeypatch.setenv("VIRTUAL_ENV", str(active))
    found = resolve_program("worker.py")
    assert found.argv == (str(python), str(script))
    assert "active" in found.why
    monkeypatch.setenv("VIRTUAL_ENV", str(bare))
    assert resolve_program("worker.py").argv == (sys.executable, str(script))


def test_a_script_without_the_sdk_is_run_by_any_environment(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that knows nothing of autohealer would not find its libraries, for want of one it does not need."""
    script = _file(here / "worker.py", "print()")
    bare = here.parent / "bare"
    python = _environment(bare, has_sdk=False)
    monkeypatch.setenv("VIRTUAL_ENV", str(bare))
    assert resolve_program("worker.py").argv == (str(python), str(script))
    monkeypatch.delenv("VIRTUAL_ENV")
    beside = _environment(here / "sub" / ".venv", has_sdk=False)
    script = _file(here / "sub" / "worker.py", "print()")
    found = resolve_program("sub/worker.py")
    assert found.argv == (str(beside), str(script))
    assert found.why == "it is in .venv beside worker.py"
    (here / "sub" / "lib.py").write_text("import kazoo")
    script.write_text("import lib")
    assert resolve_program("sub/worker.py").argv == (sys.executable, str(script))


def test_the_python_on_path_runs_what_does_not_need_ours(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script would be run by a Python that the operator does not know of."""
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    python = _file(here.parent / "bin" / "python3", "#!/bin/sh\n", 0o755)
    monkeypatch.setenv("PATH", str(here.parent / "bin"))
    script = _file(here / "worker.py", "print()")
    assert resolve_program("worker.py").argv == (str(python), str(script))


def test_a_named_environment_is_not_asked(here: Path) -> None:
    """`venv` would be taken for a wish; its commands would not be found."""
    python = _environment(here / "env", has_sdk=False)
    serve = _file(here / "env" / "bin" / "serve", "#!/bin/sh\n", 0o755)
    script = _file(here / "worker.py", "import autohealer.worker")
    _file(here / "module.py", "if __name__ == '__main__': print()")

    def argv(program: str) -> tuple[str, ...]:
        return resolve_program(program, here, here / "env").argv

    assert argv("worker.py") == (str(python), str(script))
    assert argv("python") == (str(python),)
    assert argv("serve") == (str(serve),)
    assert argv("module") == (str(python), "-m", "module")


def test_a_script_is_run_by_the_environment_beside_it(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A project with its `.venv` would need it to be activated, or named."""
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    script = _file(here / "worker.py", "print()")
    _file(here / "module.py", "if __name__ == '__main__': print()")
    python = _environment(here / ".venv")
    assert resolve_program("worker.py").argv == (str(python), str(script))
    assert resolve_program("module").argv == (str(python), "-m", "module")
    assert resolve_program("flaky_worker").argv == (sys.executable, "-P", "-m", "flaky_worker")


def test_a_python_that_a_script_names_by_path_comes_first(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script would be run by the Python it names only after a chmod."""
    named, active = _environment(here.parent / "python-named"), here.parent / "active"
    _environment(active)
    monkeypatch.setenv("VIRTUAL_ENV", str(active))
    script = _file(here / "worker.py", f"#!{named}\n")
    assert resolve_program("worker.py").argv == (str(named), str(script))


@contextmanager
def _as_nobody() -> Iterator[None]:
    """Without the rights of root, who may read every file; nothing changes for anybody else."""
    before = os.geteuid()
    os.seteuid(65534 if before == 0 else before)
    try:
        yield
    finally:
        os.seteuid(before)


def test_a_file_that_cannot_be_read_says_so(here: Path) -> None:
    """The operator would see a Python traceback in every worker's output."""
    _file(here / "worker.py", mode=0o000)
    here.chmod(0o755)
    with _as_nobody(), pytest.raises(ProgramError, match="cannot be read"):
        resolve_program("worker.py")


def test_a_folder_is_not_a_program(here: Path) -> None:
    """A folder would be called missing."""
    (here / "worker").mkdir()
    for program in ("./worker", "worker", "."):
        with pytest.raises(ProgramError, match="is a folder"):
            resolve_program(program)


@pytest.mark.parametrize("program", ["./absent", "no/such/program"])
def test_a_path_that_is_not_there_says_so(here: Path, program: str) -> None:
    """The operator would be told about modules and PATH instead of the path given."""
    with pytest.raises(ProgramError, match="does not exist"):
        resolve_program(program)


@pytest.mark.parametrize("program", ["no-such-program", "no_such_module", "a..b", ".", "..", ""])
def test_what_is_nowhere_is_refused_in_one_sentence(here: Path, program: str) -> None:
    """A typing error would be launched over and over."""
    with pytest.raises(ProgramError) as refusal:
        resolve_program(program)
    assert "\n" not in str(refusal.value)


def test_a_command_is_found_on_path(here: Path) -> None:
    """`autohealer 3 nginx` would need an absolute path."""
    path = _file(here.parent / "bin" / "serve", mode=0o755)
    assert resolve_program("serve").argv == (str(path),)


def test_a_deleted_folder_hides_neither_modules_nor_commands(here: Path) -> None:
    """Standing in a folder that is gone, nothing could be started by its name."""
    path = _file(here.parent / "bin" / "serve", mode=0o755)
    here.rmdir()
    assert resolve_program("serve").argv == (str(path),)
    assert resolve_program("flaky_worker").argv == (sys.executable, "-P", "-m", "flaky_worker")


def test_a_forbidden_folder_hides_no_command(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`sudo -u somebody autohealer …` in root's own folder would end in a traceback."""
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    here.chmod(0o700 if os.geteuid() == 0 else 0o000)
    with _as_nobody():
        (found,) = resolve_program("sleep").argv
        assert Path(found).name == "sleep"
        with pytest.raises(ProgramError, match="cannot be looked at"):
            resolve_program("./serve")
    here.chmod(0o755)


def test_our_own_worker_takes_no_module_from_the_current_folder(here: Path) -> None:
    """A random.py that happens to lie there would break the ten lines of the README."""
    assert resolve_program("flaky_worker").argv == (sys.executable, "-P", "-m", "flaky_worker")
    _file(here / "flaky_worker.py", "if __name__ == '__main__': print()")
    assert resolve_program("flaky_worker").argv == (sys.executable, "-m", "flaky_worker")


def test_a_package_with_main_is_run_as_a_module(here: Path) -> None:
    """`autohealer 10 flaky_worker` would not work in a checkout."""
    _file(here / "pack" / "__init__.py", "")
    _file(here / "pack" / "__main__.py", "print()")
    assert resolve_program("pack").argv == (sys.executable, "-m", "pack")


def test_a_package_without_main_is_not_a_program(here: Path) -> None:
    """A library would be launched and end at once, over and over."""
    _file(here / "pack" / "__init__.py", "")
    with pytest.raises(ProgramError, match="not a Python module with __main__"):
        resolve_program("pack")


def test_a_module_inside_a_package_is_found(here: Path) -> None:
    """`autohealer 3 pack.worker` would not work."""
    _file(here / "pack" / "__init__.py", "")
    _file(here / "pack" / "worker.py", "if __name__ == '__main__': print()")
    assert resolve_program("pack.worker").argv == (sys.executable, "-m", "pack.worker")


def test_a_module_that_is_only_imported_is_not_a_program(here: Path) -> None:
    """A library of the standard kind would hide a command of the same name."""
    _file(here / "serve.py", "x = 1")
    path = _file(here.parent / "bin" / "serve", mode=0o755)
    assert resolve_program("serve").argv == (str(path),)


def test_looking_for_a_module_runs_nothing(here: Path) -> None:
    """The worker's code would run inside the daemon."""
    _file(here / "pack" / "__init__.py", "raise SystemExit('it ran')")
    _file(here / "pack" / "__main__.py", "raise SystemExit('it ran')")
    assert is_runnable_module("pack")
    assert "pack" not in sys.modules


def test_a_folder_does_not_hide_a_module_of_its_name(here: Path) -> None:
    """A package in the current folder could not be given by name."""
    _file(here / "pack" / "__main__.py", "print()")
    assert resolve_program("pack").argv == (sys.executable, "-m", "pack")


@pytest.mark.parametrize("name", ["sys", "math", "email", "os.path", "class", "1a", "a-b", "", "."])
def test_what_only_looks_like_a_module_is_not_run(here: Path, name: str) -> None:
    """Built-in and library modules would be launched as workers."""
    assert is_runnable_module(name) is False


def test_a_tool_is_no_module_of_the_same_name() -> None:
    """A probe `test -e FILE` would run the tests of Python, for minutes."""
    assert resolve_command("test").argv[-1].endswith("bin/test")
    assert resolve_command("flaky_worker").argv[-1].endswith("flaky_worker")
    with pytest.raises(ProgramError):
        resolve_command("nosuchprogram")
