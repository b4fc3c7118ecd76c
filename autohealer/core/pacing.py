"""How many launches, and how many endings, may be under way at once.

Theory of operation. Starting and ending are work for the processor. More of it at once than a few per core gains
nothing, and costs everybody the patience of their clients: work that is given up is done again. So each kind has a
window. It begins with a few places, grows by one with each that gets through about as fast as the fastest did, and
shrinks by one with each that takes much longer, down to those few. A launch that ends before it was ever ready halves
it, down to one: what cannot start at all is found out by a few processes, not by a thousand.

Under way is whatever has not got through, whatever its age. But one that waits for something else than the processor
(a model to be loaded, a job to be finished) must not hold the others back. Those under way are therefore reviewed
while others wait: when half of the processors have nothing to do, the window doubles, and all that have had time
enough are set aside and take no place any more. When the processors are busy, or nobody can tell, one of them is,
after a while in which none got through, and then another: the next one waits for seconds and not for minutes, and what
adds up so is nothing beside the crowd that a collapse takes.

Must never know: slots. All is arithmetic on a `Pace`.
"""

from __future__ import annotations

from dataclasses import replace

from autohealer.core.model import Pace
from autohealer.core.policy import Limits

GROWS_WITHIN = 2.0
SHRINKS_BEYOND = 4.0
"""Times the fastest: as fast as that, and much longer."""

IDLE_ENOUGH = 0.5
"""A machine whose processors are idle by half has room for more, and nobody waits for them."""

PATIENCE_LOOKS = 4
PATIENCE_TIMES = 3.0
"""On a busy machine one is set aside after this many looks, or this many times what the last one took, if more."""


def allowance(window: int, under_way: int) -> int:
    """How many more may begin now."""
    return max(0, window - under_way)


def through(pace: Pace, limits: Limits, took_s: float, now: float) -> Pace:
    """After one that got through in `took_s`."""
    best_s = min(took_s, pace.best_s)
    window = pace.window
    if took_s <= GROWS_WITHIN * best_s:
        window = max(window, min(window + 1, limits.most))
    elif took_s > SHRINKS_BEYOND * best_s:
        window = min(window, max(window - 1, limits.least))
    return replace(pace, window=window, best_s=best_s, last_s=took_s, moved_at=now)


def failed(pace: Pace) -> Pace:
    """After one that ended before it got through."""
    return replace(pace, window=max(1, pace.window // 2))


def pardoned(pace: Pace, limits: Limits) -> Pace:
    """After one whose failure was none."""
    return replace(pace, window=max(pace.window, min(pace.window + 1, limits.most)))


def review_at(pace: Pace, limits: Limits, oldest: float) -> float:
    """When to review those under way while others wait; the oldest began at `oldest`."""
    return max(oldest, pace.reviewed_at) + limits.look_s


def reviewed(
    pace: Pace, limits: Limits, oldest: float, now: float, idle: float | None
) -> tuple[Pace, int | None]:
    """The pace after a review, and how many of the oldest to set aside: None for all that are old enough."""
    pace = replace(pace, reviewed_at=now)
    if idle is not None and idle >= IDLE_ENOUGH:
        return replace(pace, window=max(pace.window, min(2 * pace.window, limits.most))), None
    patience_s = max(PATIENCE_LOOKS * limits.look_s, PATIENCE_TIMES * pace.last_s)
    if now - max(oldest, pace.moved_at) < patience_s:
        return pace, 0
    return replace(pace, moved_at=now), 1
