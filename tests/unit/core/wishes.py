"""What an operator wants of slots, as facts, and what comes of it."""

from __future__ import annotations

from autohealer.core.events import OverridesSet
from autohealer.core.model import Exit
from autohealer.core.overrides import Overrides
from tests.unit.core.notation import Scene

ALL_STOPPED = OverridesSet(Overrides(all_stopped=True))
AS_BEFORE = OverridesSet(Overrides())
WELL = Exit(code=0)


def stops(*keys: int) -> OverridesSet:
    """The operator wants these slots stopped."""
    return OverridesSet(Overrides(stopped=frozenset(keys)))


def restarts(at: Scene, *keys: int) -> OverridesSet:
    """The operator wants whoever was launched last in these slots replaced."""
    return OverridesSet(Overrides(renew={key: at.view.slots[key].generation for key in keys}))


def phases(at: Scene) -> str:
    """Where the slots stand, in order."""
    return " ".join(slot.phase.value for _, slot in sorted(at.view.slots.items()))


def comes_up(at: Scene, key: int) -> list[str]:
    """Who was launched in a slot runs and registers, and serves for long enough; what is decided then."""
    at.decide(at.spawned(key))
    at.decide(at.lists(at.name(key)))
    return at.after(1.0)


def goes(at: Scene, key: int) -> list[str]:
    """Who was asked to end does so and is registered no more."""
    at.decide(at.lists(without=[key]))
    return at.decide(at.dies(key, number=15))
