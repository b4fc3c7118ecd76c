"""What `logs` shows and says, of a state directory without a daemon."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from autohealer.cli.log_choice import choose, wanted_of
from autohealer.cli.main import app
from autohealer.outputspec import OutputTo
from autohealer.workerlogs.destination import Destination, write_destination


def write(base: Path, group: str, slots: dict[int, bytes]) -> Path:
    """What a group's workers wrote; the folder it is in."""
    folder = base / "groups" / group / "output"
    folder.mkdir(parents=True, exist_ok=True)
    for slot, text in slots.items():
        (folder / f"slot-{slot}.log").write_bytes(text)
    return folder


def logs(base: Path, *words: str, code: int = 0) -> bytes:
    """What is shown."""
    done = CliRunner().invoke(app, ["logs", "--state-dir", str(base), *words])
    assert done.exit_code == code, (done.output, done.exception)
    return done.stdout_bytes


def test_what_is_meant_is_shown(tmp_path: Path) -> None:
    """`logs web/1` would show other slots' lines, or `logs` not all groups'."""
    write(tmp_path, "web", {0: b"a\nb\n", 1: b"c\n", 2: b"d"})
    assert logs(tmp_path) == b"0 | a\n0 | b\n1 | c\n2 | d"
    assert logs(tmp_path, "1") == logs(tmp_path, "web/1") == b"c\n"
    assert logs(tmp_path, "web/0-1", "-n", "1", "--no-prefix") == b"b\nc\n"
    assert logs(tmp_path, "web/0", "web/2", "-n", "1") == b"0 | b\n2 | d"
    assert logs(tmp_path, "--grep", "[ac]", "--prefix") == b"0 | a\n1 | c\n"
    write(tmp_path, "queue", {0: b"e\n"})
    assert logs(tmp_path, "-n", "1") == b"queue/0 | e\nweb/0   | b\nweb/1   | c\nweb/2   | d"
    assert logs(tmp_path, "queue", "web/2") == b"queue/0 | e\nweb/2   | d"


def test_the_last_fifty_are_shown_and_all_that_are_looked_for(tmp_path: Path) -> None:
    """A hundred thousand lines would run over the screen, or what is looked for be left out."""
    write(tmp_path, "web", {0: b"x\n" * 80})
    assert logs(tmp_path) == b"x\n" * 50
    assert logs(tmp_path, "-n", "all") == logs(tmp_path, "--grep", "x") == b"x\n" * 80
    assert logs(tmp_path, "--since", "1h") == b"x\n" * 80
    assert logs(tmp_path, "--grep", "x", "-n", "3") == b"x\n" * 3
    assert logs(tmp_path, "-n", "0") == b""


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("nope",), 2, "no group 'nope' runs here, only web"),
        (("web/7",), 2, "group 'web' never had a slot 7: it has slots 0 to 1"),
        (("0-7",), 2, "never had a slot 2"),
        (("web/7", "-f"), 2, "never had a slot 7"),
        (("--grep", "("), 2, "--grep (: no regular expression"),
        (("-n", "few"), 2, "-n few: write a number of lines, or all"),
        (("-n", "-1"), 2, "-n -1: write a number of lines, or all"),
        (("--since", "soon"), 2, "--since soon: write 5m, 2h, or a time such as"),
        (("--since", "5x"), 2, "--since 5x: write"),
    ],
)
def test_a_mistake_is_told(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    code: int,
    sentence: str,
) -> None:
    """A typing error would look like a worker that says nothing."""
    write(tmp_path, "web", {0: b"", 1: b""})
    logs(tmp_path, *words, code=code)
    assert sentence in capfd.readouterr().err


def test_nothing_to_show_is_told_apart(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A group that was never there would look like one that is silent."""
    logs(tmp_path, code=6)
    assert "no group ever ran with the state directory" in capfd.readouterr().err
    folder = write(tmp_path, "web", {})
    logs(tmp_path)
    assert capfd.readouterr().err == "autohealer: nothing was written yet\n"
    (folder / "slot-0.pipe").touch()
    logs(tmp_path, "web/0")
    assert capfd.readouterr().err == "autohealer: nothing was written yet\n"
    write(tmp_path, "web", {0: b"a\n"})
    logs(tmp_path, "--grep", "b")
    assert capfd.readouterr().err == "autohealer: no such line was written so far\n"


@pytest.mark.parametrize(
    ("to", "sentence"),
    [
        (OutputTo.JOURNALD, "goes to the journal: `journalctl -t web-0 -t web-1`"),
        (OutputTo.STDOUT, "goes to the daemon's own standard output"),
        (OutputTo.NULL, "is thrown away"),
    ],
)
def test_where_else_output_goes_is_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], to: OutputTo, sentence: str
) -> None:
    """What is kept of it for last words would be taken for all there is."""
    write_destination(write(tmp_path, "web", {0: b"a\n", 1: b"b\n"}), Destination(to))
    assert logs(tmp_path, code=7) == b""
    assert sentence in capfd.readouterr().err
    write(tmp_path, "queue", {0: b"c\n"})
    assert logs(tmp_path) == b"c\n"
    assert sentence in capfd.readouterr().err


def test_times_are_known_from_the_note(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Workers' own times would be cut off, or those of the log process be shown unasked."""
    line = b"2026-11-27T10:00:00.123Z a\n"
    folder = write(tmp_path, "web", {0: line})
    assert logs(tmp_path) == logs(tmp_path, "-t") == line
    logs(tmp_path, "--since", "1h")
    assert "lines carry no times here" in capfd.readouterr().err
    write_destination(folder, Destination(is_stamped=True))
    assert logs(tmp_path) == b"a\n"
    assert logs(tmp_path, "-t") == line
    assert logs(tmp_path, "--since", "2026-11-27T10:00:00Z") == b"a\n"
    assert logs(tmp_path, "--since", "2026-11-27T10:00:01Z") == b""
    assert "carry no times" not in capfd.readouterr().err


def test_since_is_so_long_ago_or_a_time() -> None:
    """`--since 5m` would mean something else than five minutes ago, or a time another zone's."""
    ago = datetime.now(UTC) - timedelta(minutes=5)
    since = wanted_of(None, "5m", None).since
    assert since is not None
    assert abs(since - ago) < timedelta(seconds=30)
    at = wanted_of(None, "2026-11-27T10:00:00+01:00", None).since
    assert at == datetime(2026, 11, 27, 9, tzinfo=UTC)


def test_who_follows_all_groups_follows_those_that_come(tmp_path: Path) -> None:
    """A group that `reload` adds would not be followed, or one be that nobody meant."""
    write(tmp_path, "web", {0: b"", 1: b""})
    every = choose(tmp_path, [], follow=True)
    some = choose(tmp_path, ["web/0-5"], follow=True)
    write(tmp_path, "queue", {0: b""})
    assert every.meant_now() == {"web": None, "queue": None}
    assert some.meant_now() == {"web": frozenset(range(6))}


def test_a_file_that_cannot_be_read_is_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A planted link would show somebody else's file, or a traceback."""
    folder = write(tmp_path, "web", {})
    (folder / "slot-0.log").symlink_to(os.devnull)
    logs(tmp_path, code=5)
    assert "symbolic link" in capfd.readouterr().err
