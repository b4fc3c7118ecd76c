"""When a row of answers means something else than before."""

from __future__ import annotations

import pytest

from autohealer.core.health import Check, Verdict
from autohealer.healthspec import ProbeSpec, TcpTarget
from autohealer.probes.answers import WELL, Tally, failed

BAD = failed("GET http://127.0.0.1:8000/ answered 500")


def _said(check: Check, answers: str, *, failures: int = 3, successes: int = 1) -> list[str]:
    """What each answer changes; `.` is one that fails in between."""
    spec = ProbeSpec(TcpTarget("x:1"), failures=failures, successes=successes)
    tally = Tally(check, spec)
    said = []
    for letter in answers:
        verdict = tally.count(WELL if letter == "w" else BAD, counts=letter != ".")
        said.append("-" if verdict is None else verdict.value)
    return said


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ("w", ["well"]),
        ("ww", ["well", "-"]),
        ("fff", ["-", "-", "bad"]),
        ("ffff", ["-", "-", "bad", "-"]),
        ("ffwff", ["-", "-", "well", "-", "-"]),
        ("wfffw", ["well", "-", "-", "bad", "well"]),
        ("......", ["-"] * 6),
        ("..f.f.f", ["-", "-", "-", "-", "-", "-", "bad"]),
    ],
)
def test_rows_of_answers_are_counted_as_kubernetes_does(answers: str, said: list[str]) -> None:
    """One slow answer would cost a restart, or a worker that fails for ever none."""
    for check, bad in ((Check.READINESS, "unready"), (Check.LIVENESS, "unhealthy")):
        assert _said(check, answers) == [word.replace("bad", bad) for word in said]


def test_as_many_successes_are_asked_for_as_were_said() -> None:
    """A worker that only now and then answers would count as ready."""
    assert _said(Check.READINESS, "wwwfww", successes=3) == ["-", "-", "well", "-", "-", "-"]
    assert _said(Check.READINESS, "wwfwww", successes=3, failures=1)[-1] == "well"


def test_what_is_wrong_is_told_with_how_often() -> None:
    """The log would not say what failed, or how often it did before somebody was ended for it."""
    tally = Tally(Check.LIVENESS, ProbeSpec(TcpTarget("x:1"), failures=2))
    tally.count(BAD, counts=True)
    assert tally.told(BAD) == f"liveness probe failed: {BAD.why}"
    assert tally.count(BAD, counts=True) is Verdict.UNHEALTHY
    assert tally.told(BAD) == f"liveness probe failed 2 times: {BAD.why}"
