"""When and how a flaky worker fails: a pure function of a seed.

Theory of operation: one seed gives one life. How long it lasts is exponentially distributed, so an
old worker is as likely to fail in the next second as a young one, and how it ends is drawn from a
weighted mix. Only `Random.random` is used, whose sequence Python promises to keep between versions.

Must never know: processes, clocks, the environment.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Kind(Enum):
    """A way to fail; the value is its name on the command line."""

    CRASH = "crash"
    KILL = "kill"
    FREEZE = "freeze"
    HANG = "hang"
    HOLD_GIL = "hold-gil"
    LOSE_SESSION = "lose-session"
    LEAK = "leak"
    IGNORE_TERM = "ignore-term"
    SLOW_START = "slow-start"
    NEVER_REGISTER = "never-register"
    FORK = "fork"


WHAT_HAPPENS: Mapping[Kind, str] = {
    Kind.CRASH: "an uncaught exception, or exit code 3",
    Kind.KILL: "it sends itself SIGKILL, SIGSEGV or SIGABRT",
    Kind.FREEZE: "it stops itself (SIGSTOP), until somebody sends SIGCONT",
    Kind.HANG: "its main thread is stuck for ever while its session lives on",
    Kind.HOLD_GIL: "it holds the interpreter's lock for ever: no thread runs, so its session expires",
    Kind.LOSE_SESSION: "its ZooKeeper session ends, and it works on unregistered",
    Kind.LEAK: "it grows in steps up to --leak-limit, then dies of MemoryError",
    Kind.IGNORE_TERM: "it works on and ignores SIGTERM from then on",
    Kind.SLOW_START: "it registers only then, and works on",
    Kind.NEVER_REGISTER: "it never registers at all",
    Kind.FORK: "it leaves a process of its own behind, then crashes",
}

VARIANTS: Mapping[Kind, Sequence[str]] = {
    Kind.CRASH: ("exception", "exit-3"),
    Kind.KILL: ("SIGKILL", "SIGSEGV", "SIGABRT"),
    Kind.FORK: ("same-session", "own-session"),
}

DEFAULT_MIX: Mapping[Kind, float] = {Kind.CRASH: 1.0}


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong, in which variant if its kind has several, and how old the worker is then."""

    kind: Kind
    variant: str
    at_s: float

    @property
    def happens(self) -> bool:
        """Whether this worker ever fails."""
        return self.at_s < math.inf

    def __str__(self) -> str:
        if not self.happens:
            return "never fails"
        variant = f" ({self.variant})" if self.variant else ""
        return f"{self.kind.value}{variant} after {self.at_s:.1f} s"


def plan(seed: int, mix: Mapping[Kind, float], mean_life_s: float) -> Fault:
    """Draw one life; a mean of 0 or infinity means that it never fails."""
    rng = Random(seed)
    age, kind, variant = rng.random(), rng.random(), rng.random()
    drawn = _weighted(kind, mix)
    variants = VARIANTS.get(drawn, ("",))
    never = mean_life_s in (0, math.inf)
    return Fault(
        kind=drawn,
        variant=variants[int(variant * len(variants))],
        at_s=math.inf if never else -mean_life_s * math.log(1 - age),
    )


def seed_of_life(seed: int, slot: str, generation: str) -> int:
    """Give each incarnation that shares a seed a life of its own, the same one every time."""
    digest = hashlib.sha256(f"{seed}/{slot}/{generation}".encode()).digest()
    return int.from_bytes(digest[:4])


def parse_mix(text: str) -> Mapping[Kind, float]:
    """Read `KIND[=WEIGHT][,KIND[=WEIGHT]...]`.

    Raises:
        ValueError: in one sentence, what cannot be read.
    """
    mix: dict[Kind, float] = {}
    for part in text.split(","):
        name, equals, weight = part.strip().partition("=")
        mix[_kind(name)] = _weight(name, weight) if equals else 1.0
    return mix


def _kind(name: str) -> Kind:
    try:
        return Kind(name)
    except ValueError:
        known = ", ".join(kind.value for kind in Kind)
        raise ValueError(f"there is no way to fail called {name!r}, only {known}") from None


def _weight(name: str, text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not 0 < weight < math.inf:
        raise ValueError(f"the weight of {name} is {text!r}, which is not a positive number")
    return weight


def _weighted(draw: float, mix: Mapping[Kind, float]) -> Kind:
    rest = draw * sum(mix.values())
    for kind, weight in mix.items():
        rest -= weight
        if rest < 0:
            return kind
    return kind
