"""What a configuration file without mistakes means."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from signal import Signals

import pytest

from autohealer.config import read
from autohealer.config.finding import find
from autohealer.config.schema import schema
from autohealer.core.health import Check
from autohealer.core.policy import Registrar, Restart
from autohealer.healthspec import ExecTarget, HealthSpec, HttpTarget, ProbeSpec, TcpTarget
from autohealer.launchspec import ResourceLimits, TreeLimits
from autohealer.outputspec import OutputSpec, OutputTo
from autohealer.settings import (
    AutoTarget,
    DaemonSettings,
    EmbeddedTarget,
    EnsembleTarget,
    GroupSettings,
    Target,
)

WHOLE = """
[daemon]
zookeeper = "embedded:2199"

[defaults]
grace = "20s"
env = { COMMON = "of all", WHO = "defaults" }

[group.web]
command = ["/bin/sleep", "{port}"]
replicas = 4
directory = "srv"
umask = "027"
env = { WHO = "${NAME:-nobody}", PRICE = "$5 for {slot}", SHELL_LIKE = "$${HOME}" }
env_file = "web.env"
port = 8000
register = "agent"
session_timeout = "6s"
registration_timeout = "1m30s"
min_ready = "250ms"
stop_signal = "SIGINT"
notify = true
watchdog = "30s"
after = ["queue"]

[group.web.restart]
policy = "on-failure"
initial = "200ms"
max = "1m"

[group.web.limits]
nofile = 100
core = 0
address_space = "1GiB"
nice = 5
memory_max = "512MiB"
memory_restart = "400MiB"
cpu_max = 1.5
oom_score_adj = 500

[group.web.startup]
tcp = "{port}"
delay = "2s"
period = "250ms"
timeout = "3s"
failures = 120

[group.web.readiness]
http = "/ready/{slot}"
successes = 2

[group.web.liveness]
exec = ["/bin/sh", "-c", "exit 0"]

[group.web.output]
to = "file"
max_size = "1MiB"
keep = 5
timestamps = true

[group.queue]
command = "sleep '1 2'"
"""


def read_text(folder: Path, text: str, **environ: str) -> DaemonSettings:
    """The settings a text makes."""
    file = folder / "autohealer.toml"
    file.write_text(text)
    return read(file, environ, folder / "state")


def group_of(settings: DaemonSettings, name: str) -> GroupSettings:
    """One of its groups."""
    (group,) = [group for group in settings.groups if group.name == name]
    return group


def test_every_key_means_something(tmp_path: Path) -> None:
    """A key would be accepted and ignored."""
    (tmp_path / "srv").mkdir()
    (tmp_path / "web.env").write_text("# a comment\nFROM_FILE='a b'\nWHO=file\nexport X=1\n")
    settings = read_text(tmp_path, WHOLE, NAME="somebody", HOME="/nowhere")
    assert settings.target == EmbeddedTarget(2199)
    assert settings.state_dir == tmp_path / "state"
    assert settings.config == tmp_path / "autohealer.toml"
    web, queue = group_of(settings, "web"), group_of(settings, "queue")
    assert (web.replicas, web.grace_s, web.session_timeout_s) == (4, 20.0, 6.0)
    assert (web.registration_timeout_s, web.min_ready_s, web.stop_signal) == (
        90.0,
        0.25,
        Signals.SIGINT,
    )
    assert (web.restart, web.policy().restart) == (Restart.ON_FAILURE, Restart.ON_FAILURE)
    assert (web.after, web.backoff_initial_s, web.backoff_max_s) == (("queue",), 0.2, 60.0)
    assert web.output == OutputSpec(OutputTo.FILE, 2**20, 5, timestamps=True)
    launch = web.launch
    assert launch.argv == ("/bin/sleep", "{port}")
    assert launch.registrar is Registrar.AGENT
    assert dict(launch.environment) == {
        "COMMON": "of all",
        "WHO": "somebody",
        "FROM_FILE": "a b",
        "X": "1",
        "PRICE": "$5 for {slot}",
        "SHELL_LIKE": "${HOME}",
    }
    assert (launch.directory, launch.umask, launch.port) == (str(tmp_path / "srv"), 0o027, 8000)
    assert launch.limits == ResourceLimits(nofile=100, core_bytes=0, address_space_bytes=2**30)
    assert launch.tree_limits == TreeLimits(2**29, 1.5)
    assert web.memory_restart_bytes == 400 * 2**20
    assert (launch.nice, launch.oom_score_adj) == (5, 500)
    assert (launch.notify, launch.watchdog_s) == (True, 30.0)
    assert web.health == HealthSpec(
        ProbeSpec(TcpTarget("127.0.0.1:{port}"), 2.0, 0.25, 3.0, 120),
        ProbeSpec(HttpTarget("http://127.0.0.1:{port}/ready/{slot}"), successes=2),
        ProbeSpec(ExecTarget(("/bin/sh", "-c", "exit 0")), 0.0, 10.0, 1.0, 3, 1),
    )
    assert queue.health == HealthSpec()
    assert web.policy().health.checks == set(Check) - {Check.RUNNING}
    assert queue.launch.argv[1:] == ("1 2",)
    assert (queue.replicas, queue.grace_s, queue.launch.registrar) == (1, 20.0, Registrar.AGENT)
    assert "nothing shows that the program registers itself" in queue.registrar_why


def test_files_are_included_in_the_order_of_their_names(tmp_path: Path) -> None:
    """Snippets of several packages could not be put together."""
    (tmp_path / "conf.d").mkdir()
    for name in ("b", "a"):
        (tmp_path / "conf.d" / f"{name}.toml").write_text(f'[group.{name}]\ncommand = "sleep 1"\n')
    text = 'include = ["conf.d/*.toml", "none.d/*.toml"]\n[group.main]\ncommand = "sleep 1"\n'
    settings = read_text(tmp_path, text)
    assert [group.name for group in settings.groups] == ["main", "a", "b"]


def test_a_number_may_come_from_the_environment(tmp_path: Path) -> None:
    """How many workers there are could not be said from outside."""
    text = '[group.a]\ncommand = "sleep 1"\nreplicas = "${N:-2}"\n'
    assert group_of(read_text(tmp_path, text), "a").replicas == 2
    assert group_of(read_text(tmp_path, text, N="5"), "a").replicas == 5


def test_a_program_is_found_from_the_groups_folder(tmp_path: Path) -> None:
    """What runs would depend on where `up` was typed."""
    (tmp_path / "srv").mkdir()
    (tmp_path / "srv" / "worker.py").write_text("import autohealer.worker\n")
    text = '[group.a]\ncommand = "worker.py --fast"\ndirectory = "srv"\n'
    launch = group_of(read_text(tmp_path, text), "a").launch
    assert launch.argv == (sys.executable, str(tmp_path / "srv" / "worker.py"), "--fast")
    assert launch.registrar is Registrar.SELF


@pytest.mark.parametrize(
    ("line", "environ", "target"),
    [
        ("", {}, AutoTarget()),
        ("", {"AUTOHEALER_ZOOKEEPER": "zk1"}, EnsembleTarget("zk1:2181")),
        ('zookeeper = "zk2/app"', {"AUTOHEALER_ZOOKEEPER": "zk1"}, EnsembleTarget("zk2:2181/app")),
    ],
)
def test_the_file_says_which_zookeeper_before_the_environment(
    tmp_path: Path, line: str, environ: dict[str, str], target: Target
) -> None:
    """Workers would be registered elsewhere than the file says."""
    text = f'[daemon]\n{line}\n[group.a]\ncommand = "sleep 1"\n'
    assert read_text(tmp_path, text, **environ).target == target


def test_the_file_here_comes_before_that_of_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a project's folder something else would be started."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "autohealer.toml").touch()
    assert find(None) == Path("autohealer.toml")
    assert find(Path("x.toml")) == Path("x.toml")


def test_the_revision_follows_what_a_launch_depends_on(tmp_path: Path) -> None:
    """Workers would be taken for outdated for a change of their number, or for current after one of what runs."""
    text = '[group.a]\ncommand = "sleep 1"\n'

    def revision(more: str) -> str:
        return group_of(read_text(tmp_path, f"{text}{more}\n"), "a").launch.revision

    same = {revision(""), revision("replicas = 3"), revision('grace = "1s"'), revision("env = {}")}
    assert len(same) == 1
    others = {
        *(revision('env = { A = "1" }'), revision('env = { A = "2" }'), revision("port = 80")),
        *(revision('umask = "027"'), revision('register = "self"')),
        *(revision("limits = { nofile = 9 }"), revision("limits = { nproc = 9 }")),
    }
    assert len(others) == 7
    assert not others & same


def test_the_schema_in_the_docs_is_the_present_one() -> None:
    """An editor would mark what is right and miss what is wrong: `autohealer check --schema` writes it anew."""
    shipped = Path(__file__).parents[3] / "docs" / "autohealer.schema.json"
    assert json.loads(shipped.read_text()) == json.loads(schema())
