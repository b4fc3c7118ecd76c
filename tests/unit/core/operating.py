"""Steps of a story in which the operator stops, starts, restarts or retries slots of the model world."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from autohealer.core.events import OverridesSet, RetryAsked
from autohealer.core.overrides import Overrides

if TYPE_CHECKING:
    from tests.unit.core.world import World

SLOTS = 6


def _override(world: World, overrides: Overrides) -> None:
    """Other slots are to stand still; who starts one again asks for a new try."""
    for key in range(world.wanted):
        if world.overrides.stops(key) and not overrides.stops(key):
            del world.failures[key]
    world.overrides = overrides
    world.post(OverridesSet(overrides))


def _stop_one(world: World, number: int) -> None:
    stopped = world.overrides.stopped | {number % SLOTS}
    _override(world, replace(world.overrides, stopped=stopped))


def _stop_all(world: World, _number: int) -> None:
    _override(world, replace(world.overrides, all_stopped=True))


def _start(world: World, number: int) -> None:
    left = world.overrides.stopped - {number % SLOTS} if number % 2 else frozenset()
    _override(world, Overrides(stopped=left, renew=world.overrides.renew))


def _restart(world: World, number: int) -> None:
    """One, or all that there ever were."""
    newest: dict[int, int] = {}
    for name in world.processes:
        if name.slot == number % SLOTS or number % 2:
            newest[name.slot] = max(name.generation, newest.get(name.slot, 0))
    _try_again(world, newest)
    _override(world, replace(world.overrides, renew={**world.overrides.renew, **newest}))


def _retry(world: World, _number: int) -> None:
    _try_again(world, range(SLOTS))
    world.post(RetryAsked(frozenset(range(SLOTS))))


def _try_again(world: World, keys: range | dict[int, int]) -> None:
    """What waits in a slot waits no more; what lives there goes on as it is."""
    living = {process.name.slot for process in world.processes.values() if process.exists}
    for key in keys:
        if key not in living:
            del world.failures[key]


STEPS: dict[str, Callable[[World, int], None]] = {
    "stop_one": _stop_one,
    "stop_all": _stop_all,
    "start": _start,
    "restart": _restart,
    "retry": _retry,
}
