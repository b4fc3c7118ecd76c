"""Who asks whether all is well gets a line a group and an answer that a script can use."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pydantic
import pytest

from autohealer.cli.daemons import Found
from autohealer.cli.showing import check_found, show_found
from autohealer.cli.targets import Named
from autohealer.control.client import Answer
from autohealer.control.records import StatusRecord
from autohealer.statedir.lock import Peer
from tests.support.statuses import SLOT, STATUS

READY = replace(SLOT, phase="ready", ready=True)
LATE = replace(SLOT, slot=1, phase="quarantined", ready=False, reason="broken")
TWO = replace(STATUS, ready=1, desired=2, replicas=2, declared=2, slots=(READY, LATE))
ALL = Named()


def found(*statuses: StatusRecord) -> Found:
    """As if daemons had answered so."""
    dump = pydantic.TypeAdapter(StatusRecord).dump_json
    return Found({it.group: Answer(dump(it), Peer(1, 1)) for it in statuses})


@pytest.mark.parametrize(
    ("status", "meant", "well", "line"),
    [
        (replace(TWO, slots=(READY,), desired=1, replicas=1), ALL, True, "web: 1/1 ready"),
        (TWO, ALL, False, "web: 1/2 ready: slot 1 is quarantined, broken"),
        (TWO, Named(slots=frozenset({0})), True, "web: 1/2 ready"),
        (TWO, Named(slots=frozenset({0, 2})), False, "web: 1/2 ready, not begun"),
        (replace(TWO, slots=()), ALL, False, "web: 1/2 ready, not begun"),
        (
            *(replace(TWO, slots=(READY, replace(LATE, phase="stopped")), desired=1), ALL),
            *(True, "web: 1/1 ready"),
        ),
        (
            *(replace(TWO, slots=(READY,), replicas=1, stopping=True), ALL),
            *(False, "web: 1/2 ready, stopping"),
        ),
    ],
)
def test_whether_all_is_well(
    status: StatusRecord,
    meant: Named,
    well: bool,
    line: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A container would be called healthy whose workers are not, or ended for one that was stopped on purpose."""
    assert check_found(found(status), meant) is well
    assert capsys.readouterr().out == f"{line}\n"


def test_every_group_is_told_of_whatever_the_first_one_is_like(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The second fault would only be found after the first was mended."""
    assert not check_found(found(TWO, replace(TWO, group="queue")), ALL)
    assert len(capsys.readouterr().out.splitlines()) == 2


@pytest.mark.parametrize("as_json", [True, False])
def test_only_the_slots_that_are_meant_are_shown(
    as_json: bool, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Whoever asks for one of a thousand slots would have to search for it."""
    assert show_found(found(TWO), Named(slots=frozenset({0})), as_json=as_json)
    text = capsys.readouterr().out
    assert "quarantined" not in text
    assert "exited with code 3" in text
