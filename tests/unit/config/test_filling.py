"""What groups get from elsewhere: from the environment, from files with variables, and from the defaults."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from autohealer.config import ConfigError, read
from autohealer.config.schema import schema
from autohealer.healthspec import ProbeSpec, parse_http, parse_tcp
from autohealer.settings import DaemonSettings

SLEEP = 'command = ["sleep", "9"]\n'


def settings_of(
    folder: Path, text: str, environ: Mapping[str, str] | None = None
) -> DaemonSettings:
    """What a file with that text says."""
    path = folder / "a.toml"
    path.write_text(text)
    return read(path, environ or {}, None)


def heads_of_mistakes(folder: Path, text: str) -> list[str]:
    """The first line of each mistake, without the folder."""
    with pytest.raises(ConfigError) as caught:
        settings_of(folder, text)
    assert caught.value.count == len(caught.value.mistakes)
    return [str(it).replace(f"{folder}/", "").splitlines()[0] for it in caught.value.mistakes]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${V}", "v"),
        ("a${V}b${V}", "avbv"),
        ("${NO:-x}", "x"),
        ("${EMPTY:-x}", "x"),
        ("${EMPTY}", ""),
        ("${V:-x}", "v"),
        ("${V:?why}", "v"),
        ("${NO:-${V}}", "v"),
        ("${NO:-{slot}}", "{slot}"),
        ("${TRAP}", "${V}"),
        ("$${V}", "${V}"),
        ("$V $1 $", "$V $1 $"),
        ("{slot} {print $1}", "{slot} {print $1}"),
    ],
)
def test_texts_are_filled_in_from_the_environment(text: str, value: str, tmp_path: Path) -> None:
    """A value would be wrong, looked through twice, or something meant for awk be taken for ours."""
    environ = {"V": "v", "EMPTY": "", "TRAP": "${V}"}
    whole = f"[group.a]\n{SLEEP}env = {{ A = '{text}' }}"
    (group,) = settings_of(tmp_path, whole, environ).groups
    assert group.launch.environment == (("A", value),)


PROBED = """
[defaults]
notify = true
watchdog = "30s"
[defaults.readiness]
http = "/ready"
period = "1s"
failures = 7
[defaults.liveness]
tcp = "{port}"
"""


def test_probes_of_the_defaults_are_asked_of_every_group(tmp_path: Path) -> None:
    """Whoever keeps ten servers would have to write the same three tables ten times."""
    text = f"{PROBED}[group.a]\nport = 1000\n{SLEEP}[group.b]\nport = 2000\n{SLEEP}notify = false\n"
    one, two = settings_of(tmp_path, text).groups
    assert one.health == two.health
    assert one.health.readiness == ProbeSpec(parse_http("/ready"), period_s=1.0, failures=7)
    assert one.health.liveness == ProbeSpec(parse_tcp("{port}"))
    assert (one.launch.notify, one.launch.watchdog_s) == (True, 30.0)
    assert (two.launch.notify, two.launch.watchdog_s) == (False, 30.0)


def test_a_probe_of_a_group_stands_in_place_of_the_whole_one_of_the_defaults(
    tmp_path: Path,
) -> None:
    """A group would be asked by a port of its own as often as the address of the others, or in both ways at once."""
    own = "[group.a.readiness]\ntcp = '80'\n[group.a.liveness]\n"
    (group,) = settings_of(tmp_path, f"{PROBED}[group.a]\n{SLEEP}{own}").groups
    assert group.health.readiness == ProbeSpec(parse_tcp("80"))
    assert group.health.liveness is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "[defaults.readiness]\ntcp = 'h:80'\nperiods = '1s'\n",
            "3:1: defaults.readiness.periods: unknown key, did you mean `period`?",
        ),
        (
            "[defaults.readiness]\nperiod = '1s'\n",
            "1:2: defaults.readiness: say exactly one of http, tcp and exec; here is none",
        ),
        (
            "[defaults]\nliveness.tcp = '{port}'\n",
            "2:10: defaults.liveness.tcp: {port} stands here, and group 'a' has no `port`",
        ),
        ("[defaults]\nport = 8000\n", "2:1: defaults.port: unknown key: each group says its own"),
        ("[defaults]\nwatchdog = 30\n", "2:1: defaults.watchdog: write a duration"),
        ("[defaults]\nnotify = 'yes'\n", "2:1: defaults.notify: write true or false"),
    ],
)
def test_a_mistake_in_a_probe_of_the_defaults_is_told_once_and_there(
    tmp_path: Path, text: str, told: str
) -> None:
    """A mistake would be looked for in each group."""
    whole = f"{text}[group.a]\n{SLEEP}[group.b]\n{SLEEP}"
    (head,) = heads_of_mistakes(tmp_path, whole)
    assert head.startswith(f"a.toml:{told}")


def test_a_probe_of_the_defaults_is_looked_at_though_every_group_has_its_own(
    tmp_path: Path,
) -> None:
    """The mistake would only be told on the day on which a group without a probe of its own is added."""
    text = f"[defaults.liveness]\ntcp = '1'\nhttp = '/'\n[group.a]\n{SLEEP}port = 8000\nliveness.http = '/'\n"
    (head,) = heads_of_mistakes(tmp_path, text)
    assert head.startswith("a.toml:2:1: defaults.liveness.tcp: say exactly one of http, tcp and")


@pytest.mark.parametrize("off", ["false", '"0s"', '"${OFF}"'])
def test_a_group_can_do_without_the_watchdog_of_the_defaults(tmp_path: Path, off: str) -> None:
    """One program that says nothing would be ended again and again, or no group could have a default."""
    text = f'[defaults]\nwatchdog = "30s"\n[group.a]\n{SLEEP}watchdog = {off}\n[group.b]\n{SLEEP}'
    one, two = settings_of(tmp_path, text, {"OFF": "false"}).groups
    assert (one.launch.watchdog_s, two.launch.watchdog_s) == (None, 30.0)
    assert (
        one.launch.revision
        == settings_of(tmp_path, f"[group.a]\n{SLEEP}").groups[0].launch.revision
    )


def test_a_probe_without_a_question_is_none_only_where_it_takes_one_away(tmp_path: Path) -> None:
    """A table that was forgotten half written would be a probe that nobody asks."""
    (head,) = heads_of_mistakes(tmp_path, f"[group.a]\n{SLEEP}[group.a.startup]\n")
    assert head.startswith("a.toml:3:2: group.a.startup: say exactly one of")


def test_defaults_are_what_groups_start_from(tmp_path: Path) -> None:
    """Each group would have to repeat them, or could not differ in one key of a table."""
    text = (
        "[defaults]\ngrace = '20s'\nenv = { A = '1', B = '1' }\nlimits = { nice = 5, nofile = 9 }\n"
        f"[group.a]\n{SLEEP}grace = '5s'\nenv.B = '2'\nlimits.nice = 7\n[group.b]\n{SLEEP}"
    )
    a, b = settings_of(tmp_path, text).groups
    assert (a.grace_s, b.grace_s) == (5, 20)
    assert a.launch.environment == (("A", "1"), ("B", "2"))
    assert (a.launch.nice, a.launch.limits.nofile, b.launch.nice) == (7, 9, 5)


def test_a_mistake_in_what_groups_start_from_is_told_once_and_there(tmp_path: Path) -> None:
    """Two groups would be blamed for what neither of them says."""
    text = f"[defaults]\nuser = 'no-such'\n[group.a]\n{SLEEP}[group.b]\n{SLEEP}"
    (told,) = heads_of_mistakes(tmp_path, text)
    assert told == "a.toml:2:1: defaults.user: there is no user 'no-such' on this machine"


def test_what_is_written_nearer_counts_more(tmp_path: Path) -> None:
    """A group could not override what all groups have; a dollar in a password would be lost."""
    (tmp_path / "all.env").write_text("A=file of all\nB=file of all\n")
    (tmp_path / "own.env").write_text("# ours\nB=own file\nexport C='$x ${y}'\nD=own file\n")
    text = (
        "[defaults]\nenv_file = 'all.env'\nenv = { D = 'all', E = 'all' }\n"
        f"[group.a]\n{SLEEP}env_file = ['own.env']\nenv = {{ E = 'own' }}\n[group.b]\n{SLEEP}"
    )
    a, b = settings_of(tmp_path, text).groups
    assert dict(a.launch.environment) == {
        "B": "own file",
        "C": "$x ${y}",
        "D": "own file",
        "E": "own",
    }
    assert dict(b.launch.environment) == {
        "A": "file of all",
        "B": "file of all",
        "D": "all",
        "E": "all",
    }


@pytest.mark.parametrize(
    ("line", "said"),
    [("nonsense", "write NAME=VALUE"), ("AUTOHEALER_SLOT=1", "AUTOHEALER_SLOT: names that begin")],
)
def test_a_line_that_is_no_variable_is_told(line: str, said: str, tmp_path: Path) -> None:
    """A password would be missing, and nobody know why."""
    (tmp_path / "x.env").write_text(f"A=1\n{line}\n")
    (told,) = heads_of_mistakes(tmp_path, f"[group.a]\n{SLEEP}env_file = ['x.env']\n")
    assert told.startswith(f"a.toml:3:13: group.a.env_file.0: x.env, line 2: {said}")


def test_groups_that_wait_for_each_other_in_a_circle_are_told(tmp_path: Path) -> None:
    """None of them would ever start, however many there are."""
    text = "".join(
        f"[group.{name}]\n{SLEEP}after = ['{other}']\n"
        for name, other in ("ab", "bc", "ca", "de", "ed")
    )
    told = heads_of_mistakes(tmp_path, text)
    assert len(told) == 2
    assert all("these would wait for each other for ever: " in head for head in told)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("nice = 3", "3:1: group.a.nice: unknown key: it belongs to [group.a.limits]"),
        ("limits.grace = '1s'", "3:8: group.a.limits.grace: unknown key: it belongs to [group.a]"),
        ("limits.core = 'much'", "3:8: group.a.limits.core: write a size with its unit"),
        ("limits.nofile = 99999999999", "3:8: group.a.limits.nofile: 99999999999 is too large"),
        ("grace = '1s!!2s'", "3:1: group.a.grace: write a duration with its unit"),
        ("restart = 3", "3:1: group.a.restart: this is a table: write [group.a.restart]"),
        (SLEEP, "3:1: group.a.command: a second time; the first is at a.toml:2:1"),
        ("x = " + "[" * 3000, ": not TOML: nested too deeply"),
        ("x = " + "1" * 5000, ": not TOML: exceeds the limit"),
    ],
)
def test_what_is_misplaced_or_immense_is_told(keys: str, said: str, tmp_path: Path) -> None:
    """One would look for a key in the wrong table, or at a traceback."""
    (told,) = heads_of_mistakes(tmp_path, f"[group.a]\n{SLEEP}{keys}\n")
    assert told.removeprefix("a.toml").removeprefix(":").startswith(said.removeprefix(":"))


def test_a_group_outside_its_table_is_recognised(tmp_path: Path) -> None:
    """Who forgets `group.` would be told only that the key is unknown."""
    (told,) = heads_of_mistakes(tmp_path, f"[web]\n{SLEEP}")
    assert told == "a.toml:1:2: web: unknown key, did you mean [group.web]?"


def test_where_state_is_kept_is_the_command_lines_word_then_the_files(tmp_path: Path) -> None:
    """The next daemon would not find the workers of the last one."""
    text = f"[daemon]\nstate_dir = 'here'\n[group.a]\n{SLEEP}"
    assert settings_of(tmp_path, text).state_dir == tmp_path / "here"
    assert read(tmp_path / "a.toml", {}, tmp_path / "there").state_dir == tmp_path / "there"


def test_a_file_without_end_is_refused(tmp_path: Path) -> None:
    """Reading it would fill the memory."""
    with pytest.raises(ConfigError, match="is larger than 1024 KiB"):
        settings_of(tmp_path, "#" * 2_000_000)


def test_editors_are_not_told_of_a_null() -> None:
    """They would offer what TOML does not have."""
    assert '"type": "null"' not in schema()
