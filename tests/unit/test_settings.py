"""What the operator may write, and the one sentence about what cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from autohealer.contract import is_group_name
from autohealer.core.intensity import Rate, rate_of
from autohealer.launchspec import LaunchSpec
from autohealer.settings import (
    REPLICAS_MAX,
    AutoTarget,
    EmbeddedTarget,
    EnsembleTarget,
    GroupSettings,
    NoStateDir,
    SettingsError,
    Target,
    default_state_dir,
    group_dir,
    group_of_program,
    parse_group,
    parse_replicas,
    parse_target,
)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("auto", AutoTarget()),
        ("embedded", EmbeddedTarget(2181)),
        ("embedded:12181", EmbeddedTarget(12181)),
        ("zk1", EnsembleTarget("zk1:2181")),
        ("zk1:2182", EnsembleTarget("zk1:2182")),
        ("zk1,zk2,zk3", EnsembleTarget("zk1:2181,zk2:2181,zk3:2181")),
        ("zk1:1,zk2:65535", EnsembleTarget("zk1:1,zk2:65535")),
        ("10.0.0.1:2181", EnsembleTarget("10.0.0.1:2181")),
        ("zk-1.example.com", EnsembleTarget("zk-1.example.com:2181")),
        ("[::1]", EnsembleTarget("[::1]:2181")),
        ("[fe80::1]:2182,zk2", EnsembleTarget("[fe80::1]:2182,zk2:2181")),
        ("zk1/apps", EnsembleTarget("zk1:2181/apps")),
        ("zk1:2182,zk2/apps/blue", EnsembleTarget("zk1:2182,zk2:2181/apps/blue")),
        ("zk1:02181", EnsembleTarget("zk1:2181")),
    ],
)
def test_a_zookeeper_may_be_written_so(text: str, target: Target) -> None:
    """An address as ZooKeeper's own tools take it would be refused or misread."""
    assert parse_target(text) == target


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/apps",
        ",",
        "zk1,",
        "zk1,,zk2",
        "zk1, zk2",
        "zk1:",
        "zk1:0",
        "zk1:65536",
        "zk1:999999",
        "zk1:port",
        "zk1:-1",
        "::1",
        "fe80::1:2181",
        "[::1",
        "[zk1]:2181",
        "http://zk1:2181",
        "user@zk1",
        "zk1/",
        "zk1//",
        "zk1/a//b",
        "zk1/a/",
        "zk1/..",
        "zk1/./a",
        "zk1/a\nb",
        "zk1\n",
        "embedded:",
        "embedded:0",
        "embedded:x",
        "embedded:65536",
        "embedded:-1",
    ],
)
def test_a_zookeeper_that_cannot_be_is_refused_in_one_sentence(text: str) -> None:
    """A typing error would become a connection that never comes, or a traceback."""
    with pytest.raises(SettingsError) as refusal:
        parse_target(text)
    assert repr(text) in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(("text", "replicas"), [("0", 0), ("1", 1), ("10", 10), ("10000", 10_000)])
def test_n_may_be_any_sensible_number(text: str, replicas: int) -> None:
    """A group of that size could not be kept."""
    assert parse_replicas(text) == replicas


@pytest.mark.parametrize(
    "text", ["", "ten", "1.5", "1e3", "-1", "10001", "9" * 30, "0x10", "--", "N"]
)
def test_an_absurd_n_is_refused(text: str) -> None:
    """A typing error would launch a million processes or end in a traceback."""
    with pytest.raises(SettingsError, match="worker"):
        parse_replicas(text)


def test_an_n_too_large_says_how_large_it_may_be() -> None:
    """The operator would have to guess the limit."""
    with pytest.raises(SettingsError, match=str(REPLICAS_MAX)):
        parse_replicas(str(REPLICAS_MAX + 1))


@pytest.mark.parametrize("text", ["web", "web-1", "a.b_c", "7", "_x", "x" * 64, "manually"])
def test_a_group_may_be_named_so(text: str) -> None:
    """A sensible name would be refused."""
    assert parse_group(text) == text


@pytest.mark.parametrize(
    "text", ["", "-web", ".web", "x" * 65, "a b", "a/b", "grüße", "manual", "manual-1", "web\n"]
)
def test_a_name_that_cannot_be_a_znode_prefix_is_refused(text: str) -> None:
    """Registrations would be unreadable, or taken for workers started by hand."""
    with pytest.raises(SettingsError, match="cannot name a group"):
        parse_group(text)


@pytest.mark.parametrize(
    ("program", "group"),
    [
        ("flaky_worker", "flaky_worker"),
        ("/opt/app/worker.py", "worker"),
        ("./FlakyWorker.jar", "FlakyWorker"),
        ("run.sh", "run"),
        ("my worker", "my_worker"),
        ("package.module", "package.module"),
        ("..", "workers"),
        ("manual", "workers"),
        ("manual-thing", "workers"),
        ("---", "workers"),
        ("grüße", "gr__e"),
        ("x" * 200, "x" * 64),
    ],
)
def test_a_group_is_named_after_its_program(program: str, group: str) -> None:
    """Status would be about a group the operator cannot recognise, or starting would fail on an odd name."""
    assert group_of_program(program) == group
    assert is_group_name(group)


@pytest.mark.parametrize(
    ("command", "group"),
    [
        ("python3 a.py", "a"),
        ("/usr/bin/python3.11 -u a.py --port 1", "a"),
        ("python3 -W ignore a.py", "a"),
        ("python -m package.worker", "package.worker"),
        ("java -Xmx1g -jar a.jar", "a"),
        ("nice -n 5 python3 a.py", "a"),
        ("env A=1 ./b.sh", "b"),
        ("sh -c true", "sh"),
        ("python3", "python3"),
        ("flaky_worker a.py", "flaky_worker"),
    ],
)
def test_a_group_is_named_after_what_an_interpreter_runs(
    command: str, group: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`python3 a.py` and `python3 b.py` would be one group, and the second be refused."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.py", "b.sh"):
        (tmp_path / name).touch()
    program, *arguments = command.split()
    assert group_of_program(program, arguments) == group


def _settings(replicas: int, session_timeout_s: float = 4.0) -> GroupSettings:
    return GroupSettings(
        "web",
        replicas,
        LaunchSpec(("/bin/true",)),
        session_timeout_s=session_timeout_s,
        registration_timeout_s=7.0,
        grace_s=3.0,
    )


def test_the_policy_follows_the_settings() -> None:
    """An option would be accepted and ignored."""
    policy = _settings(10).policy()
    assert (policy.registration_timeout_s, policy.grace_s) == (7.0, 3.0)
    assert (policy.rejoin_grace_s, policy.settle_s) == (0.5, 6.0)
    assert rate_of(policy, 10) == Rate(burst=40.0, per_s=10.0)


@pytest.mark.parametrize(("session_timeout_s", "grace_s"), [(1.0, 0.25), (2.0, 0.5), (60.0, 0.5)])
def test_a_rejoin_is_awaited_briefly(session_timeout_s: float, grace_s: float) -> None:
    """A frozen worker would be kept long after its session is gone."""
    assert _settings(1, session_timeout_s).policy().rejoin_grace_s == grace_s


@pytest.mark.parametrize("replicas", [0, 1, REPLICAS_MAX])
def test_every_group_may_restart_at_some_pace(replicas: int) -> None:
    """A group of none or one would divide by nothing, or never be restarted."""
    policy = _settings(replicas).policy()
    rate = rate_of(policy, replicas)
    assert rate.per_s >= 1.0
    assert rate.burst >= replicas


def test_a_group_has_a_folder_of_its_own() -> None:
    """Two groups would share a lock."""
    assert group_dir(Path("/state"), "web") == Path("/state/groups/web")


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"STATE_DIRECTORY": "/var/lib/a"}, "/var/lib/a"),
        ({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b", "XDG_STATE_HOME": "/x"}, "/var/lib/a"),
        ({"XDG_STATE_HOME": "/x"}, "/x/autohealer"),
        ({"HOME": "/h"}, "/h/.local/state/autohealer"),
        ({"HOME": "/h", "XDG_STATE_HOME": ""}, "/h/.local/state/autohealer"),
        ({"HOME": "/h", "XDG_STATE_HOME": "relative"}, "/h/.local/state/autohealer"),
    ],
)
def test_where_state_is_kept(
    environment: dict[str, str], folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """systemd's sandbox would refuse the folder, or two daemons would not find each other's lock."""
    for name in ("STATE_DIRECTORY", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert default_state_dir() == Path(folder)


@pytest.mark.parametrize(
    ("home", "sentence"),
    [("", "is not in the password database"), ("relative", "is not an absolute path")],
)
def test_without_a_home_the_option_is_named(
    home: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`docker run -u 12345` would answer every command with a traceback."""
    for name in ("STATE_DIRECTORY", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", home)
    monkeypatch.setattr("os.getuid", lambda: 54321)
    with pytest.raises(NoStateDir, match=sentence) as refusal:
        default_state_dir()
    assert "--state-dir" in str(refusal.value)
