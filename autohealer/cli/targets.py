"""Read a TARGET: which slots of which group somebody means.

    GROUP   GROUP/3   GROUP/0-3   GROUP/0,4-6   and, where one group runs, 3, 0-3 or nothing at all

A word that is a group's name means the group, also where it consists of digits.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from autohealer.settings import REPLICAS_MAX

_SLOTS = re.compile(r"\d{1,5}(?:-\d{1,5})?(?:,\d{1,5}(?:-\d{1,5})?)*")


class WrongTarget(ValueError):  # noqa: N818 - says what is the case
    """It cannot be told what is meant; the message is a sentence."""


@dataclass(frozen=True, slots=True)
class Target:
    """Slots of a group; None: all of them."""

    group: str
    slots: frozenset[int] | None = None


def parse_target(text: str | None, groups: Collection[str]) -> Target:
    """What is meant, where these groups run. Raises `WrongTarget`."""
    if text is None:
        return Target(_the_only(groups))
    if text in groups:
        return Target(text)
    group, slash, slots = text.rpartition("/")
    if slash and group in groups:
        return Target(group, _slots_in(slots))
    if not slash and _SLOTS.fullmatch(text):
        return Target(_the_only(groups), _slots_in(text))
    known = ", ".join(sorted(groups))
    raise WrongTarget(f"no group {group or text!r} runs here, only {known}")


@dataclass(frozen=True, slots=True)
class Named:
    """What somebody wants to look at: None where nothing narrows it."""

    group: str | None = None
    slots: frozenset[int] | None = None

    def has(self, slot: int | None) -> bool:
        """Whether a slot is meant; None is what befell the whole group."""
        return self.slots is None or slot in self.slots


def parse_named(text: str | None, option: str | None, groups: Collection[str]) -> Named:
    """What is meant by a TARGET, by --group or by both, where these groups ever ran. Raises `WrongTarget`.

    A group that never ran is left to those who know what there is.
    """
    if text is None:
        return Named(option)
    group, slash, slots = text.rpartition("/")
    if text in groups or not (slash or _SLOTS.fullmatch(text)):
        found = Named(text)
    else:
        found = Named(group or option, _slots_in(slots))
    if option not in {None, found.group}:
        raise WrongTarget(f"{text!r} and --group {option} are two different groups")
    return found


def _the_only(groups: Collection[str]) -> str:
    if len(groups) == 1:
        return next(iter(groups))
    names = ", ".join(sorted(groups))
    raise WrongTarget(
        f"there are several groups ({names}): name one, as in {min(groups)} or {min(groups)}/0-3"
    )


def _slots_in(text: str) -> frozenset[int]:
    if not _SLOTS.fullmatch(text):
        raise WrongTarget(f"{text!r} are no slots: write 3, 0-3 or 0,4-6")
    slots: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        run = range(int(first), int(last or first) + 1)
        if not run or run[-1] >= REPLICAS_MAX:
            raise WrongTarget(
                f"{part!r} are no slots: the first stands before the last, below {REPLICAS_MAX}"
            )
        slots.update(run)
    return frozenset(slots)
