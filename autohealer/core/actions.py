"""Orders: what is to be done, in the imperative, and the plan that carries them with their reasons."""

from __future__ import annotations

from dataclasses import dataclass

from autohealer.core.children import Bond, Child
from autohealer.core.model import Ending, Incarnation


@dataclass(frozen=True, slots=True)
class Spawn:
    """Launch a new incarnation into slot `key`."""

    key: int
    name: Incarnation
    reason: str


@dataclass(frozen=True, slots=True)
class Drain:
    """Ask an incarnation's whole process group to end (TERM)."""

    key: int
    name: Incarnation
    reason: str
    ending: Ending


@dataclass(frozen=True, slots=True)
class Kill:
    """End an incarnation's whole process group (KILL); `ending` is None for what one that ended by itself left."""

    key: int
    name: Incarnation
    reason: str
    ending: Ending | None


@dataclass(frozen=True, slots=True)
class Discard:
    """Delete the registration of an incarnation whose process is proven dead; `child`, where it has that name."""

    name: Incarnation
    child: Child | None = None


@dataclass(frozen=True, slots=True)
class Register:
    """Hold the registration of an incarnation that does not register itself, until it is withdrawn."""

    name: Incarnation


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Hold the registration of an incarnation no more: it is about to end, or has ended."""

    name: Incarnation


@dataclass(frozen=True, slots=True)
class Inspect:
    """Find out whose an unfamiliar registration is."""

    name: Incarnation | str


@dataclass(frozen=True, slots=True)
class Relist:
    """Ask for the list of registrations anew: what the slots `keys` hold is to be ended unless it shows theirs."""

    keys: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Remember:
    """Note for the next daemon which children are whose: these, and no others."""

    bonds: tuple[Bond, ...]


Action = Spawn | Drain | Kill | Register | Withdraw | Discard | Inspect | Relist | Remember


@dataclass(frozen=True, slots=True)
class Plan:
    """One decision: what to do now, which launches wait, and whether all is done.

    `deferred` are the slots whose launch has to wait, `staying` those whose ending has; `holds` says what is held back
    and why, in words.
    """

    actions: tuple[Action, ...] = ()
    deferred: tuple[int, ...] = ()
    staying: tuple[int, ...] = ()
    holds: tuple[str, ...] = ()
    finished: bool = False
