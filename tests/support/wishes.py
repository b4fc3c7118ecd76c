"""What the operator wants of slots, as a history tells it: how many, which stand still, who is to be replaced.

Must never know: the daemon's view, its decisions.
"""

from __future__ import annotations

from dataclasses import dataclass

from autohealer.core.model import Incarnation
from autohealer.core.overrides import NO_OVERRIDES, Overrides
from tests.support.history import Overridden, Wanted


@dataclass(slots=True)
class Wishes:
    """As of the last record that told of it."""

    replicas: int = 0
    overrides: Overrides = NO_OVERRIDES

    def take(self, record: Wanted | Overridden) -> None:
        """Something else is wanted from now on."""
        match record:
            case Wanted(_, replicas):
                self.replicas = replicas
            case Overridden(_, overrides):
                self.overrides = overrides

    @property
    def wanted(self) -> list[int]:
        """The slots that are to be filled."""
        return [slot for slot in range(self.replicas) if not self.overrides.stops(slot)]

    @property
    def kept(self) -> int:
        """How many these are."""
        return len(self.wanted)

    def wants(self, slot: int) -> bool:
        """Whether a slot is to be filled."""
        return 0 <= slot < self.replicas and not self.overrides.stops(slot)

    def rests(self, slot: int) -> bool:
        """Whether a slot stands still although as many are wanted."""
        return 0 <= slot < self.replicas and self.overrides.stops(slot)

    def asks(self, name: Incarnation) -> bool:
        """Whether an incarnation is to be replaced as it is."""
        return name.generation <= self.overrides.renew.get(name.slot, 0)
