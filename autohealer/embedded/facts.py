"""What the decider of the embedded server is told, and what it orders.

Times are not in the facts: `decide` is given the time with each. Pure: data only.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Listener(Enum):
    """What a port turned out to be."""

    NOBODY = "nobody"
    ZOOKEEPER = "zookeeper"
    EMBEDDED = "embedded"
    STRANGER = "stranger"
    SILENT = "silent"
    FOREIGN = "foreign"
    """Whatever it is, it is neither of this user nor of root, so it is not asked."""
    UNSEEN = "unseen"
    """It could not be looked at, for want of descriptors, threads or memory: nothing is known."""


# --- facts ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Begun:
    """Keep a server from now on; `may_give_up` while nobody depends on it yet."""

    may_give_up: bool


@dataclass(frozen=True, slots=True)
class Adopted:
    """A server of ours that no daemon answers for was found and is held; whether it was started as one would be now."""

    pid: int
    is_as_told: bool = True


@dataclass(frozen=True, slots=True)
class Looked:
    """The answer to `Look`; `is_claimed` when it is us who answers for the server, `why` where `UNSEEN`
    or `FOREIGN`."""

    listener: Listener
    is_claimed: bool
    why: str = ""


@dataclass(frozen=True, slots=True)
class Launched:
    """The answer to `Launch`."""

    pid: int


@dataclass(frozen=True, slots=True)
class NotLaunched:
    """The other answer to `Launch`, with the reason."""

    why: str


@dataclass(frozen=True, slots=True)
class Ended:
    """Our server is gone; `said` is the last line it wrote."""

    pid: int
    lived_s: float
    said: str


@dataclass(frozen=True, slots=True)
class SessionChanged:
    """The daemon's own session was connected or cut."""

    is_connected: bool


@dataclass(frozen=True, slots=True)
class TimePassed:
    """A moment the decider asked for has come, or any other."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """Nothing is to be done any more; what becomes of the server is not decided here."""


Fact = (
    Begun
    | Adopted
    | Looked
    | Launched
    | NotLaunched
    | Ended
    | SessionChanged
    | TimePassed
    | Stopped
)


# --- orders -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Look:
    """Claim the server if nobody has, adopt one that was left, ask the port; `Looked` answers."""


@dataclass(frozen=True, slots=True)
class Launch:
    """Start a server; `Launched` or `NotLaunched` answers."""


@dataclass(frozen=True, slots=True)
class Kill:
    """End our server, which hangs; `Ended` follows."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The start failed; the sentence is for the operator."""

    sentence: str


class Event(Enum):
    """What is worth a line in the log, by its name there."""

    STARTED = "embedded_server_started"
    ADOPTED = "embedded_server_adopted"
    ANSWERS = "embedded_server_answers"
    DIED = "embedded_server_died"
    HANGS = "embedded_server_hangs"
    NOT_LAUNCHED = "embedded_server_not_launched"
    OBSTRUCTED = "embedded_server_obstructed"
    UNSEEN = "embedded_server_unseen"
    OUTDATED = "embedded_server_outdated"
    LEFT = "embedded_server_left"
    ENDED = "embedded_server_ended"


@dataclass(frozen=True, slots=True)
class Say:
    """Tell the operator; `pid` and `why` where there are any."""

    event: Event
    pid: int | None = None
    why: str = ""


Order = Look | Launch | Kill | GiveUp | Say
