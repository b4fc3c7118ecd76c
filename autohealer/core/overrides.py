"""What the operator changed of a group's slots while it runs: which stand still, and who is to be replaced.

It says how things are to be, whoever hears it and however often: so it outlives the daemon that was told first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Overrides:
    """Nobody is kept in those that are `stopped`, or in any where `all_stopped`.

    `renew` has the newest generation that is to be replaced in a slot: whoever has that one, or an older one.
    """

    all_stopped: bool = False
    stopped: frozenset[int] = frozenset()
    renew: Mapping[int, int] = field(default_factory=dict)

    def stops(self, key: int) -> bool:
        """Whether nobody is to be kept in a slot."""
        return self.all_stopped or key in self.stopped


NO_OVERRIDES = Overrides()
