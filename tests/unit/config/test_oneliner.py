"""What options say of a group is what a file says, with the same mistakes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from signal import Signals

import pytest

from autohealer.config import read
from autohealer.config.oneliner import Said, group_of_options
from autohealer.outputspec import OutputSpec, OutputTo
from autohealer.settings import GroupSettings, SettingsError


def group_of(said: Said, *sets: str, command: tuple[str, ...] = ("sleep", "1")) -> GroupSettings:
    """What options make of two sleepers."""
    return group_of_options("web", 2, command, said, sets)


def test_options_and_a_file_make_the_same_of_a_group(tmp_path: Path) -> None:
    """A one-liner that becomes a file would mean something else there."""
    (tmp_path / "web.env").write_text("FROM_FILE=1\n")
    said: Said = {
        "register": "agent",
        "grace": "20s",
        "min_ready": "250ms",
        "directory": str(tmp_path),
        "env": ["A=1", "B={slot}=x"],
        "env_file": [str(tmp_path / "web.env")],
        "user": None,
        "umask": "027",
        "port": "8000",
        "stop_signal": "INT",
        "output.to": "stdout",
        "limits.memory_restart": "400MiB",
    }
    sets = ("limits.nofile=100", "limits.core=1KiB", "restart.max=1m", "output.timestamps=true")
    (tmp_path / "autohealer.toml").write_text(f"""
        [group.web]
        command = ["sleep", "1"]
        replicas = 2
        register = "agent"
        grace = "20s"
        min_ready = "250ms"
        directory = "{tmp_path}"
        env = {{ A = "1", B = "{{slot}}=x" }}
        env_file = "{tmp_path}/web.env"
        umask = "027"
        port = 8000
        stop_signal = "INT"
        [group.web.output]
        to = "stdout"
        timestamps = true
        [group.web.limits]
        nofile = 100
        core = "1KiB"
        memory_restart = "400MiB"
        [group.web.restart]
        max = "1m"
    """)
    settings = group_of(said, *sets)
    assert (settings,) == read(tmp_path / "autohealer.toml", {}, tmp_path / "state").groups
    assert settings.output == OutputSpec(OutputTo.STDOUT, timestamps=True)
    assert settings.stop_signal is Signals.SIGINT


@pytest.mark.parametrize(
    ("said", "sets", "sentence"),
    [
        ({"umask": "999"}, (), '--umask: write a umask in octal digits, such as "027"'),
        ({"limits.memory_restart": "much"}, (), "--memory-restart: write a size"),
        ({"port": "http"}, (), "--port: write a whole number"),
        ({"directory": "/nonexistent"}, (), "--directory: /nonexistent does not exist"),
        ({"env": ["A"]}, (), "--env A: write NAME=VALUE"),
        ({"env": ["AUTOHEALER_X=1"]}, (), "--env: names that begin with AUTOHEALER_"),
        ({"env_file": ["/nonexistent"]}, (), "--env-file: /nonexistent cannot be read"),
        ({"user": "nobodyy"}, (), "--user: there is no user 'nobodyy' on this machine"),
        ({"stop_signal": "TREM"}, (), "--stop-signal: TREM is no signal, did you mean `TERM`?"),
        ({"output.to": "journal"}, (), '--output: write one of "file", "stdout"'),
        ({}, ("limits.nofil=1",), "--set limits.nofil: unknown key, did you mean `nofile`?"),
        ({}, ("limits.nofile=many",), "--set limits.nofile: write a whole number"),
        ({}, ("limits.nofile",), "--set limits.nofile: write KEY=VALUE"),
        ({}, ("replicas=3",), "--set replicas: it is the N of the command line"),
        ({"umask": "027"}, ("umask.x=1",), "--set umask.x: umask is no table"),
        ({"min_ready": "5"}, (), "--min-ready: write a duration with its unit"),
    ],
    ids=str,
)
def test_a_mistake_names_its_option(said: Said, sets: tuple[str, ...], sentence: str) -> None:
    """It would not be told which of many options is wrong."""
    with pytest.raises(SettingsError) as caught:
        group_of(said, *sets)
    assert str(caught.value).startswith(sentence)


def test_a_port_that_nobody_gave_is_told() -> None:
    """A program would be given `{port}` as it stands."""
    with pytest.raises(SettingsError, match="stands here, and group 'web' has no `port`"):
        group_of({}, command=("sleep", "{port}"))


def test_why_the_daemon_registers_is_told_in_words_of_options() -> None:
    """The start would name a key of a file that is not there."""
    assert "--register self" in group_of({"register": "auto"}).registrar_why


_START = """
import sys
from autohealer.cli import main
from autohealer.config.oneliner import group_of_options
group_of_options("web", 2, ["sleep", "1"], {"register": None, "env": None}, [])
from autohealer.cli import keeping
from autohealer.assembly import daemon
print([name for name in ("pydantic", "tree_sitter", "aiohttp", "autohealer.config.form") if name in sys.modules])
"""


def test_a_one_liner_without_options_imports_nothing_that_checks_them() -> None:
    """Its first worker would start a quarter of a second later than it can."""
    done = subprocess.run(
        [sys.executable, "-c", _START], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_a_group_of_which_nothing_is_said_is_the_same_as_with_a_default_said() -> None:
    """The way without checks would have defaults of its own."""
    assert group_of({}) == group_of({"grace": "10s"})
    with pytest.raises(SettingsError, match=r"\{port\} stands here"):
        group_of({}, command=("sleep", "{port}"))
