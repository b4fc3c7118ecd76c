"""Deliberate bugs in what asks workers for their health and hears what they say, to be noticed like the other ones."""

from __future__ import annotations

from autohealer.core import epidemic
from autohealer.core.health import Finding, Health
from autohealer.core.model import Incarnation, View
from autohealer.probes.messages import parse_message
from autohealer.probes.notify import Listener, _Speaker
from autohealer.probes.sockets import letters_at
from tests.unit.core.test_mutants import Patch

BEGIN = Listener._begin
PINGED = Listener._pinged


def _ends_nobody(view: View) -> list[int]:
    """Lets the sick live."""
    return []


def _ends_whoever_cannot_serve(health: Health) -> Finding | None:
    """Takes who is not ready for sick."""
    return next(iter(health.findings), None)


def _believes_anybody(listener: Listener, name: Incarnation) -> None:
    """Takes every message for the worker's own."""
    for letter in letters_at(listener._sockets[name]):
        listener._is_of(name, letter.sender)
        listener._heard(name, parse_message(letter.text))


def _waits_half_as_long(listener: Listener, speaker: _Speaker) -> None:
    """Ends a worker before the time is over that it has to say that it is ready."""
    rules = listener.rules
    listener.rules = type(rules)(rules.is_awaited, rules.start_s / 2, rules.watchdog_s)
    BEGIN(listener, speaker)
    listener.rules = rules


def _bites_early(listener: Listener, speaker: _Speaker) -> None:
    """Ends a worker although its watchdog has time left."""
    PINGED(listener, speaker)
    if speaker.watchdog_s is not None:
        speaker.ping_by = listener._loop.time() + speaker.watchdog_s / 4


def _hears_no_ping(listener: Listener, speaker: _Speaker) -> None:
    """Has no watchdog."""


MUTANTS: dict[str, list[Patch]] = {
    "never ends the sick": [(epidemic, "due", _ends_nobody)],
    "ends whoever cannot serve": [(Health, "ailment", property(_ends_whoever_cannot_serve))],
    "believes anybody": [(Listener, "_read", _believes_anybody)],
    "gives half the time to start": [(Listener, "_begin", _waits_half_as_long)],
    "has a watchdog that bites early": [(Listener, "_pinged", _bites_early)],
    "has a watchdog that never bites": [(Listener, "_time_is_over", _hears_no_ping)],
}
