"""Every mistake of a configuration file, where it is, and what is said of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autohealer.config import ConfigError, read
from autohealer.config.finding import find
from autohealer.outputspec import OutputTo
from tests.support.otheruser import STRANGER

GROUP = '[group.web]\ncommand = "sleep 1"\n'

MISTAKES = [
    ("", "no group is in it: write [group.NAME], and its command below"),
    ("[group.web\n", ":1:11: not TOML: expected ']' at the end of a table declaration"),
    (
        "[group.web]\ncommand = sleep\n",
        ":2:11: not TOML: invalid value (text stands in quotes, such as",
    ),
    (f"{GROUP}{GROUP}", ":3:2: group.web: a second time; the first is at"),
    ("[group.web]\n", ":1:2: group.web: `command` is missing"),
    ('[grup.web]\ncommand = "sleep 1"\n', "grup: unknown key, did you mean `group`?"),
    ('[group."a b"]\ncommand = "sleep 1"\n', "this cannot name a group: use up to 64 letters"),
    (f"{GROUP}comand = 1\n", ":3:1: group.web.comand: unknown key, did you mean `command`?"),
    (
        f"{GROUP}grace = 10\n",
        ':3:1: group.web.grace: write a duration with its unit, such as "10s"',
    ),
    (f'{GROUP}grace = "-1s"\n', "write a duration with its unit"),
    (f'{GROUP}session_timeout = "1ms"\n', "session_timeout: 1ms is too short: at least 500ms"),
    (f'{GROUP}grace = "99999999h"\n', "grace: 99999999h is too long: at most 1d"),
    (f'{GROUP}replicas = "3"\n', "group.web.replicas: write a whole number, without quotes"),
    (f"{GROUP}replicas = 10001\n", "10001 is too large: at most 10000"),
    (f"{GROUP}replicas = true\n", "group.web.replicas:"),
    (f"{GROUP}umask = 27\n", 'write a umask in octal digits and in quotes, such as "027"'),
    (f'{GROUP}umask = "1777"\n', '1777 is no umask: at most "777"'),
    (f'{GROUP}stop_signal = "TREM"\n', "TREM is no signal, did you mean `TERM`?"),
    (f'{GROUP}stop_signal = "STOP"\n', "STOP ends no program"),
    (
        f'{GROUP}user = "nobodyy"\n',
        "there is no user 'nobodyy' on this machine, did you mean `nobody`?",
    ),
    (f'{GROUP}register = "sel"\n', "group.web.register:"),
    (f"{GROUP}env = {{ A = 1 }}\n", ':3:9: group.web.env.A: write it in quotes: "1"'),
    (
        f'{GROUP}env = {{ AUTOHEALER_X = "1" }}\n',
        "names that begin with AUTOHEALER_ are given by autohealer",
    ),
    (f'{GROUP}env = {{ A = "${{NOPE}}" }}\n', "NOPE is not set: set it, or write ${NOPE:-default}"),
    (f'{GROUP}env = {{ A = "${{NOPE:?where}}" }}\n', "NOPE is not set: where"),
    (f'{GROUP}env = {{ A = "${{NOPE" }}\n', "`${` is not closed"),
    (f'{GROUP}env = {{ A = "${{1x}}" }}\n', "${1x} names no variable"),
    (f'{GROUP}env_file = "none.env"\n', "none.env cannot be read: No such file or directory"),
    (f'{GROUP}directory = "/nonexistent"\n', "group.web.directory: /nonexistent does not exist"),
    (f"{GROUP}port = 70000\n", "70000 is too large: at most 65535"),
    (f"{GROUP}port = 65535\nreplicas = 2\n", "the last of 2 workers would have port 65536"),
    (
        f'{GROUP}port = 80\n[group.b]\ncommand = "sleep 1"\nport = 80\n',
        "ports 80 are in part those of",
    ),
    (
        '[group.web]\ncommand = "sleep {port}"\n',
        "{port} stands here, and group 'web' has no `port`",
    ),
    ('[group.web]\ncommand = "sleep 1 | cat"\n', "| is for a shell, and none runs"),
    (
        '[group.web]\ncommand = "sleep \'1"\n',
        "this cannot be split into words (no closing quotation)",
    ),
    (
        f'{GROUP}restart.policy = "on_failure"\n',
        'write one of "always", "on-failure", "never", did you mean `on-failure`?',
    ),
    (f'{GROUP}venv = "none"\n', "none is no virtual environment: it has no bin/python"),
    (f'{GROUP}limits.memory_max = "1kB"\n', "memory_max: too small for any program"),
    (f'{GROUP}limits.memory_restart = "1kB"\n', "memory_restart: too small for any program"),
    (
        f'{GROUP}limits = {{ memory_restart = "2GiB", memory_max = "1GiB" }}\n',
        "memory_restart: not below memory_max, at which the kernel ends a worker",
    ),
    (f"{GROUP}limits.cpu_max = 0\n", "cpu_max: 0 is too small: more than 0"),
    (
        f'{GROUP}limits.cpu_max = "1.5"\n',
        "write a number of processors, such as 1.5, without quotes",
    ),
    (f'{GROUP}output.to = "journal"\n', 'write one of "file", "stdout", "journald", "null"'),
    (f'{GROUP}output.max_size = "1kB"\n', "too small to be of use: at least 4096 bytes"),
    (f"{GROUP}output.keep = 101\n", "101 is too large: at most 100"),
    (
        f'{GROUP}output.to = "null"\noutput.timestamps = true\n',
        "group.web.output.timestamps: this is for files, and output goes to null",
    ),
    ("[group.web]\ncommand = []\n", "this is empty: say what to run"),
    ('[group.web]\ncommand = ["sleep", 1]\n', ":2:21: group.web.command.1:"),
    ('[group.web]\ncommand = "nosuchprogram"\n', "no program 'nosuchprogram'"),
    (f'{GROUP}after = ["wbe"]\n', "there is no group 'wbe'"),
    (f'{GROUP}after = ["web"]\n', "these would wait for each other for ever: web after web"),
    (
        f"{GROUP}[group.web.limits]\nnofile = -1\n",
        "group.web.limits.nofile: -1 is too small: at least 0",
    ),
    (f'{GROUP}[group.web.restart]\ninitial = "2s"\nmax = "1s"\n', "is shorter than the first"),
    (
        f'{GROUP}[group.web.output]\nmax_size = "1kB"\n',
        "too small to be of use: at least 4096 bytes",
    ),
    (
        f"{GROUP}[group.web.liveness]\nperiod = '1s'\n",
        ":3:2: group.web.liveness: say exactly one of http, tcp and exec; here is none",
    ),
    (
        f"{GROUP}[group.web.readiness]\nhttp = 'http://x/'\ntcp = 'x:1'\n",
        ":5:1: group.web.readiness.tcp: say exactly one of http, tcp and exec; here is http and tcp",
    ),
    (
        f"{GROUP}[group.web.liveness]\nhttp = 'localhost'\n",
        ":4:1: group.web.liveness.http: 'localhost' is no address",
    ),
    (f"{GROUP}[group.web.liveness]\ntcp = 'a:b'\n", "group.web.liveness.tcp: 'a:b' is no address"),
    (
        f"{GROUP}[group.web.liveness]\ntcp = '{{port}}'\n",
        "{port} stands here, and group 'web' has no `port`",
    ),
    (f"{GROUP}[group.web.startup]\nhttp = '/up'\n", "group 'web' has no `port`"),
    (f"{GROUP}[group.web.startup]\nexec = 'nosuchprogram'\n", "no program 'nosuchprogram'"),
    (
        f"{GROUP}[group.web.liveness]\ntcp = 'x:1'\nsuccesses = 2\n",
        "one success is enough for a liveness probe",
    ),
    (f"{GROUP}[group.web.liveness]\ntcp = 'x:1'\nperiod = 10\n", "write a duration with its unit"),
    (f"{GROUP}[group.web.livenes]\ntcp = 'x:1'\n", "did you mean `liveness`?"),
    (f"{GROUP}timeout = '1s'\n", "timeout: unknown key"),
    (f"{GROUP}notify = 'yes'\n", "write true or false, without quotes"),
    (f"{GROUP}watchdog = true\n", "write a duration with its unit"),
    (f"{GROUP}watchdog = 0\n", "write a duration with its unit"),
    (f"{GROUP}watchdog = 30\n", "write a duration with its unit"),
    (f"[daemon]\nzookeeper = 'a b'\n{GROUP}", "daemon.zookeeper:"),
    (
        f"[daemon]\nzookeeper = 'z:1'\nzookeeper_open = true\n{GROUP}",
        "the embedded server is not used",
    ),
    (f"[defaults]\nreplicas = 2\n{GROUP}", "defaults.replicas: unknown key"),
    (f'include = ["none.toml"]\n{GROUP}', "there is no"),
]


def mistakes_of(folder: Path, text: str) -> list[str]:
    """What is said of a text, one string for each mistake."""
    file = folder / "autohealer.toml"
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    try:
        read(file, {"HOME": str(folder)}, folder / "state")
    except ConfigError as error:
        return [str(mistake) for mistake in error.mistakes]
    return []


@pytest.mark.parametrize(("text", "said"), MISTAKES)
def test_a_mistake_is_told_once_and_where_it_is(tmp_path: Path, text: str, said: str) -> None:
    """One would search a file for a word that the program knows."""
    found = mistakes_of(tmp_path, text)
    assert len(found) == 1, found
    assert said in found[0]
    assert found[0].startswith(str(tmp_path / "autohealer.toml"))


def test_all_mistakes_are_told_at_once_with_the_line_and_a_caret(tmp_path: Path) -> None:
    """Each mistake would cost a run."""
    text = '[defaults]\ngrace = 10\n[group.web]\ncomand = ["gunicorn", 8]\nport = 70000\n'
    found = mistakes_of(tmp_path, text)
    file = tmp_path / "autohealer.toml"
    told = (
        f'{file}:2:1: defaults.grace: write a duration with its unit, such as "10s" or "1m30s"',
        "    2 | grace = 10",
        "      | ^^^^^",
        f"{file}:4:1: group.web.comand: unknown key, did you mean `command`?",
        '    4 | comand = ["gunicorn", 8]',
        "      | ^^^^^^",
        f"{file}:5:1: group.web.port: 70000 is too large: at most 65535",
        "    5 | port = 70000",
        "      | ^^^^",
    )
    assert "\n".join(found).split("\n") == list(told)


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"\x00"])
def test_a_file_that_cannot_be_read_is_a_mistake(tmp_path: Path, content: bytes | None) -> None:
    """A traceback would be the answer to a typing error in a name."""
    file = tmp_path / "autohealer.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"autohealer\.toml"):
        read(file, {}, tmp_path)


def test_no_file_at_all_says_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One would not know which file to write."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ConfigError, match=r"write one by `autohealer init`, or name one with -c FILE"
    ):
        find(None)


def test_only_groups_may_stand_in_an_included_file(tmp_path: Path) -> None:
    """A snippet could change which ZooKeeper everything uses."""
    (tmp_path / "a.toml").write_text(f"[daemon]\nzookeeper = 'auto'\n{GROUP}")
    found = mistakes_of(tmp_path, 'include = ["*.toml"]\n')
    assert len(found) == 1
    assert "a.toml:1:2: daemon: only [group.*] tables may stand in an included file" in found[0]


def test_a_group_in_two_files_names_both_places(tmp_path: Path) -> None:
    """Which of two groups counts would depend on the names of files."""
    (tmp_path / "a.toml").write_text(GROUP)
    found = mistakes_of(tmp_path, f'include = ["a.toml"]\n{GROUP}')
    assert len(found) == 1
    assert (
        f"a.toml:1:2: group.web: a second time; the first is at {tmp_path}/autohealer.toml:2:2"
        in found[0]
    )


@pytest.mark.parametrize("line", ['user = "root"', "[group.web.limits]\nnice = -5"])
def test_what_needs_root_is_told_to_others(
    tmp_path: Path, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each launch would fail, and nobody say why before."""
    monkeypatch.setattr(os, "geteuid", lambda: STRANGER)
    found = mistakes_of(tmp_path, f"{GROUP}{line}\n")
    assert len(found) == 1
    assert "needs root" in found[0]


KEYS = [
    "command",
    "replicas",
    "env",
    "grace",
    "port",
    "after",
    "limits",
    "restart",
    "register",
    "x",
]
VALUES = st.recursive(
    st.one_of(st.booleans(), st.integers(), st.floats(), st.text(max_size=9)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KEYS), inner, max_size=3)
    ),
    max_leaves=6,
)


def _as_toml(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case dict():
            return "{" + ", ".join(f"{key} = {_as_toml(it)}" for key, it in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_as_toml, value)) + "]"
        case str():
            return '"' + "".join(f"\\U{ord(char):08x}" for char in value) + '"'
        case _:
            return str(value)


@given(
    tables=st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=5),
    table=st.sampled_from(["group.a", "daemon", "defaults"]),
)
def test_whatever_stands_in_a_file_is_a_configuration_or_a_list_of_mistakes(
    tmp_path_factory: pytest.TempPathFactory, tables: dict[str, object], table: str
) -> None:
    """Somebody's mistake would be answered with a traceback."""
    lines = [f"{key} = {_as_toml(value)}" for key, value in tables.items()]
    mistakes_of(tmp_path_factory.getbasetemp(), "\n".join([f"[{table}]", *lines, ""]))


@given(text=st.text(max_size=200))
def test_any_text_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """Somebody's mistake would be answered with a traceback."""
    mistakes_of(tmp_path_factory.getbasetemp(), text)


def test_what_the_defaults_say_of_files_is_no_mistake_of_a_group_without(tmp_path: Path) -> None:
    """One group that is to be silent would forbid sizes in the defaults."""
    file = tmp_path / "autohealer.toml"
    file.write_text(f'[defaults.output]\nkeep = 5\n{GROUP}output.to = "null"\n')
    (group,) = read(file, {}, tmp_path / "state").groups
    assert group.output.to is OutputTo.NULL


def test_a_machine_without_a_journal_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What workers write would be lost without a word."""
    monkeypatch.setattr("autohealer.config.outputs.JOURNAL", str(tmp_path / "none"))
    file = tmp_path / "autohealer.toml"
    file.write_text(f'{GROUP}output.to = "journald"\n')
    with pytest.raises(ConfigError, match=r"group\.web\.output\.to: there is no journal on this"):
        read(file, {}, tmp_path / "state")
