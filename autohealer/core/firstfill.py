"""What the first launch into a slot waits for, and the end of a stop: knowing who is there already.

Theory of operation. A daemon that has just started, or wants a slot it never filled, may not know a live worker of
that slot yet: one that could not be found among processes, but is registered. So while the store is connected nothing
is launched before the first list, and no slot is filled for the first time before the unfamiliar registrations that
claim it have been looked into. Both end by themselves: a store that never lists and a registration that nobody can
read delay a start and do not prevent it.

A stop that comes that early waits as long, lest a worker outlive it that nobody had found yet.

What this daemon has filled or adopted before is never waited for: from an exit to its replacement there is no wait.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from autohealer.core.model import NEVER, NO_CONNECTION, Store, View


@dataclass(frozen=True, slots=True)
class Gate:
    """From when on slots may be filled for the first time: all (`opens`), and some of them (`opens_for`, by slot)."""

    own: Mapping[int, object]
    opens: float
    opens_for: Mapping[int, float]

    def may_fill_from(self, key: int) -> float:
        """The instant from which a slot may be filled, as far as this goes."""
        if key in self.own:
            return NEVER
        return max(self.opens, self.opens_for.get(key, NEVER))

    def is_open(self, now: float) -> bool:
        """Whether nothing has to wait here."""
        return self.opens <= now and not self.opens_for


def gate_of(view: View) -> Gate:
    """What first launches wait for now."""
    return Gate(view.own, _first_list_until(view), _looked_into_until(view))


def is_first_list_awaited(view: View) -> bool:
    """Whether a connected store may still tell in time who is there."""
    return view.now < _first_list_until(view)


def _first_list_until(view: View) -> float:
    if view.store is not Store.CONNECTED or view.listed_under != NO_CONNECTION:
        return NEVER
    return view.store_since + view.policy.first_list_s


def _looked_into_until(view: View) -> dict[int, float]:
    """A claim is waited for until it is answered, even if its registration or the store goes: its owner may live."""
    until: dict[int, float] = {}
    for name, seen_at in view.claims.items():
        until[name.slot] = max(until.get(name.slot, NEVER), seen_at + view.policy.settle_s)
    return {slot: at for slot, at in until.items() if at > view.now}


def next_patience_over(view: View) -> float | None:
    """When waiting for the first list, or for a look at a registration, ends next; None: nothing is awaited."""
    awaited = [*_looked_into_until(view).values()]
    if is_first_list_awaited(view):
        awaited.append(_first_list_until(view))
    return min(awaited, default=None)


def drop_old_claims(view: View) -> None:
    """Those nobody waits for any more."""
    patience_s = view.policy.settle_s
    view.claims = {n: at for n, at in view.claims.items() if view.now - at < patience_s}
