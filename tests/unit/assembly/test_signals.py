"""The table of signals: every signal there is has a place in it."""

from __future__ import annotations

import signal

import pytest

from autohealer.assembly.signals import REACTIONS, Reaction


def test_every_signal_has_its_place() -> None:
    """A signal nobody thought of would end the daemon and leave its workers to nobody."""
    assert set(REACTIONS) == set(signal.valid_signals())


@pytest.mark.parametrize(
    "number", [n for n, reaction in REACTIONS.items() if reaction is Reaction.KERNEL]
)
def test_what_is_left_to_the_kernel_stops_kills_crashes_or_does_nothing(number: int) -> None:
    """A signal somebody sends would be left to end the daemon by mistake."""
    stops = {signal.SIGTSTP, signal.SIGSTOP, signal.SIGURG, signal.SIGKILL}
    crashes = {
        *(signal.SIGILL, signal.SIGTRAP, signal.SIGABRT, signal.SIGBUS),
        *(signal.SIGFPE, signal.SIGSEGV, signal.SIGSYS),
    }
    assert number in stops | crashes
