"""What may be asked of a running daemon and its groups, who asks, and why that comes to nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from signal import Signals

from autohealer.control.records import ChangeRecord, ReloadRecord


@dataclass(frozen=True, slots=True)
class Scale:
    """Keep so many workers; None: as many as the configuration says."""

    replicas: int | None


@dataclass(frozen=True, slots=True)
class Stop:
    """Drain these slots and keep them empty; None: all, those of a later scale included."""

    slots: frozenset[int] | None


@dataclass(frozen=True, slots=True)
class Start:
    """Fill these slots again, also those that wait for a pause or are done; None: all."""

    slots: frozenset[int] | None


@dataclass(frozen=True, slots=True)
class Restart:
    """Replace the workers of these slots, each ready before the next; None: all."""

    slots: frozenset[int] | None


@dataclass(frozen=True, slots=True)
class Signal:
    """Send a signal to the processes of these slots, not to what they started; None: all."""

    signal: Signals
    slots: frozenset[int] | None


Change = Scale | Stop | Start | Restart | Signal


@dataclass(frozen=True, slots=True)
class Asked:
    """A change, the user who asks, and the version of the group's changes that they have seen; None: whichever."""

    change: Change
    by: str
    version: int | None = None


class Refused(Exception):  # noqa: N818 - says what is the case
    """Nothing was changed; the message is a sentence about why."""

    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.status = status


@dataclass(frozen=True, slots=True)
class Commands:
    """What may be asked of a daemon: to end and leave its workers, to end everything, to read its configuration again.

    `reload` only tells what it would do where it is called with True. `operate` changes the group of a name, or raises
    `Refused`.
    """

    detach: Callable[[], None]
    stop: Callable[[], None]
    reload: Callable[[bool], Awaitable[ReloadRecord]]
    operate: Callable[[str, Asked], Awaitable[ChangeRecord]]
