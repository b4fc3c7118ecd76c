"""A newcomer writes a configuration, has it checked, and starts it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tests.integration.test_command_line import autohealer


def test_a_first_configuration_is_right_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A newcomer's first file would be full of mistakes that are not theirs."""
    monkeypatch.chdir(tmp_path)
    assert autohealer("check").returncode == 2
    done = autohealer("init")
    assert (done.returncode, done.stderr) == (0, "")
    file = tmp_path / "autohealer.toml"
    assert stat.S_IMODE(file.stat().st_mode) & 0o600 == 0o600
    done = autohealer("check")
    assert done.returncode == 0
    first, *groups = done.stdout.splitlines()
    assert first == f"{file}: 2 groups, 5 workers: ok"
    assert [line.split()[0] for line in groups] == ["flaky", "clock"]
    assert "after flaky" in groups[1]


def test_a_file_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    """Somebody's configuration would be lost."""
    file = tmp_path / "x.toml"
    file.write_text("# mine\n")
    done = autohealer("init", "-c", str(file))
    assert (done.returncode, file.read_text()) == (2, "# mine\n")
    assert f"{file} is there already" in done.stderr


def test_what_is_commented_out_in_the_first_configuration_is_right_too(tmp_path: Path) -> None:
    """Who takes the comment marks away would meet mistakes."""
    file = tmp_path / "autohealer.toml"
    assert autohealer("init", "-c", str(file)).returncode == 0
    lines = file.read_text().splitlines()
    begin = lines.index("# [group.web]")
    text = "\n".join(line.removeprefix("# ").removeprefix("#") for line in lines[begin:])
    (tmp_path / "srv").mkdir()
    (tmp_path / "web.env").touch()
    text = text.replace("/srv/web", str(tmp_path / "srv")).replace("www-data", "nobody")
    file.write_text(text.replace(".venv/bin/gunicorn", "sleep"))
    done = autohealer("check", "-c", str(file))
    assert done.stderr.count(": group.web.") == 1
    assert "DATABASE_URL is not set: where is the database" in done.stderr


def test_every_mistake_is_told_at_once_below_its_line(tmp_path: Path) -> None:
    """Each mistake would cost a run."""
    file = tmp_path / "autohealer.toml"
    file.write_text("[group.web]\ncommand = 'sleep 1'\ngrace = 10\nreplica = 2\n")
    done = autohealer("check", "-c", str(file))
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f'{file}:3:1: group.web.grace: write a duration with its unit, such as "10s" or "1m30s"',
        "    3 | grace = 10",
        "      | ^^^^^",
        f"{file}:4:1: group.web.replica: unknown key, did you mean `replicas`?",
        "    4 | replica = 2",
        "      | ^^^^^^^",
        "autohealer: 2 mistakes in the configuration: nothing was started",
    ]
