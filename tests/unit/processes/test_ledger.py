"""What was launched is known to the next daemon, and to nobody else's."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from autohealer.core.model import Incarnation
from autohealer.processes.ledger import ENTRIES_MAX, LEDGER_NAME, Launch, Ledger
from tests.support.eventually import eventually

WITHIN_S = 10.0
FIRST = Launch(Incarnation(0, 17), 4711, 100, "blue")
SECOND = Launch(Incarnation(1, 17), 4712, 101)


def ledger_in(folder: Path, warnings: list[str] | None = None) -> Ledger:
    """A daemon's ledger."""
    return Ledger(folder, print if warnings is None else warnings.append)


def noted(folder: Path, *launches: Launch) -> None:
    """Have a daemon note launches and end."""
    ledger = ledger_in(folder)
    for launch in launches:
        ledger.note(launch)
    ledger.close(WITHIN_S)


def test_the_next_daemon_knows_what_was_launched(tmp_path: Path) -> None:
    """A worker whose environment is gone could not be adopted."""
    noted(tmp_path, FIRST, SECOND)
    assert ledger_in(tmp_path).read() == {FIRST.name: FIRST, SECOND.name: SECOND}
    assert (tmp_path / LEDGER_NAME).stat().st_mode & 0o777 == 0o600


def test_what_it_was_launched_from_is_known_over_several_daemons(tmp_path: Path) -> None:
    """A worker whose environment is gone would never be replaced when another program is wanted."""
    noted(tmp_path, FIRST)
    for _ in range(2):
        ledger = ledger_in(tmp_path)
        ledger.read()
        assert ledger.revision_of(FIRST.name) == "blue"
        ledger.begin([Launch(FIRST.name, FIRST.pid, FIRST.start_ticks)])
        ledger.close(WITHIN_S)
    assert ledger.revision_of(SECOND.name) == ""


def test_a_line_of_an_earlier_version_is_understood(tmp_path: Path) -> None:
    """An upgrade would orphan every worker whose environment is gone."""
    noted(tmp_path, FIRST)
    path = tmp_path / LEDGER_NAME
    fields = json.loads(path.read_text())
    del fields["revision"]
    path.write_text(json.dumps(fields) + "\n")
    assert ledger_in(tmp_path).read() == {FIRST.name: replace(FIRST, revision="")}


def test_without_a_file_nothing_is_known(tmp_path: Path) -> None:
    """The first daemon could not start."""
    assert ledger_in(tmp_path).read() == {}


@pytest.mark.parametrize("field", ["boot", "pidns"])
def test_another_boots_or_namespaces_pids_are_not_ours(tmp_path: Path, field: str) -> None:
    """After a reboot, or in another container, a stranger's process would be adopted and ended."""
    noted(tmp_path, FIRST)
    path = tmp_path / LEDGER_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: 1}) + "\n")
    assert ledger_in(tmp_path).read() == {}


def test_a_line_cut_short_by_a_crash_costs_itself_only(tmp_path: Path) -> None:
    """One torn line would keep every later daemon from starting, or hide all workers."""
    noted(tmp_path, FIRST)
    with (tmp_path / LEDGER_NAME).open("ab") as file:
        file.write(b'{"slot":1,"gener\n[]\nnull\n{"slot":"x"}\n')
    noted(tmp_path, SECOND)
    assert ledger_in(tmp_path).read() == {FIRST.name: FIRST, SECOND.name: SECOND}


def test_a_start_forgets_all_that_is_gone(tmp_path: Path) -> None:
    """The file would grow from daemon to daemon."""
    noted(tmp_path, FIRST, SECOND)
    ledger = ledger_in(tmp_path)
    ledger.begin([SECOND])
    ledger.close(WITHIN_S)
    assert ledger_in(tmp_path).read() == {SECOND.name: SECOND}


def test_a_crash_loop_does_not_fill_the_disk(tmp_path: Path) -> None:
    """A worker that dies every second would fill the disk in a year."""
    ledger = ledger_in(tmp_path)
    ledger.note(FIRST)
    for generation in range(2 * ENTRIES_MAX):
        launch = Launch(Incarnation(1, generation), 5000, generation)
        ledger.note(launch)
        ledger.forget(launch.name)
    ledger.close(WITHIN_S)
    assert len((tmp_path / LEDGER_NAME).read_text().splitlines()) <= ENTRIES_MAX + 2
    assert ledger_in(tmp_path).read()[FIRST.name] == FIRST


def test_a_folder_that_cannot_be_written_is_said_once(tmp_path: Path) -> None:
    """A full disk would end the daemon, or fill the log with itself."""
    warnings: list[str] = []
    ledger = ledger_in(tmp_path / "gone", warnings)
    for _ in range(3):
        ledger.note(FIRST)
    ledger.close(WITHIN_S)
    assert len(warnings) == 1
    assert "cannot be written" in warnings[0]


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    """A daemon run by root would write into a file that somebody else chose."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / LEDGER_NAME).symlink_to(victim)
    noted(tmp_path, FIRST)
    assert victim.read_text() == "precious"


def test_notes_wait_for_nothing(tmp_path: Path) -> None:
    """A disk that hangs would hold every replacement up."""
    os.mkfifo(tmp_path / LEDGER_NAME)  # opening it blocks until somebody reads
    ledger = ledger_in(tmp_path)
    for _ in range(100):
        ledger.note(FIRST)
    reader = os.open(tmp_path / LEDGER_NAME, os.O_RDONLY | os.O_NONBLOCK)
    eventually(lambda: b"4711" in (_read(reader)), within_s=WITHIN_S)
    os.close(reader)
    ledger.close(WITHIN_S)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1 << 16)
    except BlockingIOError:
        return b""
