"""How much of something that is limited each user has, and may still take.

Theory of operation. The server's own user and root may take all there is. Strangers, who come in only where the
server was opened to all, may have half of it together and an eighth each: whatever they do, half is left for the
workers and for those who would put things right.

Must never know: what it is, who the users are.
Limits: counts only what it is told.
"""

from __future__ import annotations

from collections import Counter

STRANGERS_PART = 2
"""All strangers together may have this part of it: a half."""

STRANGER_PART = 8
"""One of them may have this part: four must join before they are bounded together."""


class Share:
    """What is had of one thing; a `stranger` is a user's id, None the server's own user and root."""

    def __init__(self, at_most: int) -> None:
        self._at_most = at_most
        self._strangers = 0
        self._of: Counter[int] = Counter()
        self.taken = 0

    def room(self, stranger: int | None) -> int:
        """How much this user may still take; below 0 when too much was taken already."""
        left = self._at_most - self.taken
        if stranger is None:
            return left
        return min(
            left,
            self._at_most // STRANGERS_PART - self._strangers,
            max(1, self._at_most // STRANGER_PART) - self._of[stranger],
        )

    def of(self, stranger: int | None) -> int:
        """How much a stranger has; of the others all that is not a stranger's."""
        return self.taken - self._strangers if stranger is None else self._of[stranger]

    def take(self, stranger: int | None, amount: int) -> None:
        """Note that so much more is had, even if it is too much; a negative amount was given back."""
        self.taken += amount
        if stranger is not None:
            self._strangers += amount
            self._of[stranger] += amount
            if not self._of[stranger]:
                del self._of[stranger]
