"""The nouns of binding: children of `/workers` that programs made under names of their own, and whose they are.

A *bond* joins an incarnation to its child. A *sight* is what a look at a child has shown. Who is *awaited* has no child
yet, or none any more.

Must never know: what follows from that (see `binding`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from autohealer.core.model import Incarnation, Place

FOREVER = float("inf")
NOTHING_IS_NEWER = 2**63
"""A floor below which every child was made: of an incarnation of which nobody knows when it was launched."""


class Child(NamedTuple):
    """One child of `/workers` for ever: its name (its label, where that is too long), creation (czxid) and session."""

    label: str
    czxid: int
    owner: int


@dataclass(frozen=True, slots=True)
class Sight:
    """What a look at a child has shown.

    `maker` is the incarnation of this group that is proven to have made it; `is_foreign` says that somebody else is;
    `is_silent` that its session was not connected anywhere just then, `is_remote` that it was from another machine, or
    from a network of its own.
    """

    child: Child
    maker: Incarnation | None = None
    is_foreign: bool = False
    is_silent: bool = False
    is_remote: bool = False


@dataclass(frozen=True, slots=True)
class Bond:
    """An incarnation and the child that is its registration, or none: not yet, or no more.

    What was made later than `born` (a zxid) was made since its launch, later than `floor` since it has been without a
    child. `owner` is the session of its last child, 0 before the first.
    """

    name: Incarnation
    born: int
    floor: int
    child: Child | None = None
    owner: int = 0


class Awaited(NamedTuple):
    """A child is awaited that is newer than `floor`, of a session not older than `born`; others wait until then."""

    born: int
    floor: int
    until: float


@dataclass(slots=True)
class Bindings:
    """What a group knows of children with names of their own.

    `present` are the labels of the last list, `newest` is the zxid of the last change it could show, `asked_at` when it
    was asked for. `looking` are those that a look was ordered at and that have not been seen yet. A list counts once
    those of them that it showed (`unseen`) have been; `counts_at` is when the one was asked for that is to count next.
    `doubtful` are those that an earlier daemon noted, or that may have been made anew under their name since `wiped_at`
    (a zxid; 0: it is not known when). `dead` are noted incarnations that are proven gone. `is_changed`: the bonds are
    to be noted. `sighted_at` is when each was looked at first; at `due` one will have been alone for long enough to be
    bound without a proof. `unclear` says what cannot be decided.
    """

    bonds: dict[Incarnation, Bond] = field(default_factory=dict)
    sights: dict[str, Sight] = field(default_factory=dict)
    present: frozenset[str] = frozenset()
    newest: int = 0
    looking: set[str] = field(default_factory=set)
    asked_at: float = float("-inf")
    counts_at: float = float("-inf")
    unseen: frozenset[str] = frozenset()
    doubtful: set[str] = field(default_factory=set)
    wiped_at: int = 0
    dead: set[Incarnation] = field(default_factory=set)
    relisted_at: float = float("-inf")
    is_changed: bool = False
    sighted_at: dict[str, float] = field(default_factory=dict)
    due: float = FOREVER
    unclear: str = ""


@dataclass(slots=True)
class Nursery:
    """What the groups of one daemon share, since they share `/workers`: who is awaited, and which children are bound.

    `unseen_since` is when one died last that may have made a child which no list has shown.
    """

    awaited: dict[Place, Awaited] = field(default_factory=dict)
    bound: dict[str, str] = field(default_factory=dict)
    """The group of each child that is bound, by label."""
    unseen_since: float = float("-inf")
