"""One answer of a worker, and when a row of them means something else than before.

Theory of operation. As in Kubernetes: so many failures in a row make a probe fail, so many successes in a row make it
well. Before it was well for the first time it is also asked in between, so that nobody waits for a whole period to be
found ready; what fails in between does not count.

Must never know: who is asked, how, or when.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass

from autohealer.core.health import Check, Verdict
from autohealer.healthspec import ProbeSpec


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether it went well, and if not, why, in words that follow `failed: `."""

    is_well: bool
    why: str = ""


WELL = Answer(is_well=True)


def failed(why: str) -> Answer:
    """An answer that tells what is wrong."""
    return Answer(is_well=False, why=why)


class CouldNotAsk(Exception):  # noqa: N818 - says what is the case
    """The daemon was out of something, or late itself: that says nothing of the worker."""


_OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EAGAIN})


def raise_if_ours(error: Exception) -> None:
    """Raises `CouldNotAsk` where an error says that this daemon, not the worker, lacks something."""
    if isinstance(error, OSError) and error.errno in _OURS:
        raise CouldNotAsk(str(error)) from error


@dataclass(slots=True)
class Tally:
    """The answers to one probe of one worker."""

    check: Check
    spec: ProbeSpec
    successes: int = 0
    failures: int = 0
    said: Verdict | None = None

    @property
    def was_well(self) -> bool:
        """Whether it ever was; only then it is known to have begun."""
        return self.said is not None and self.said is not self._bad

    def count(self, answer: Answer, *, counts: bool) -> Verdict | None:
        """What the answer changes, if it does; `counts`: it was asked when it was due, not in between."""
        if answer.is_well:
            self.successes, self.failures = self.successes + 1, 0
            return self._change(Verdict.WELL, is_enough=self.successes >= self.spec.successes)
        self.successes, self.failures = 0, self.failures + counts
        return self._change(self._bad, is_enough=self.failures >= self.spec.failures)

    def told(self, answer: Answer) -> str:
        """What is wrong, in words."""
        times = f" {self.failures} times" if self.failures > 1 else ""
        return f"{self.check.value} probe failed{times}: {answer.why}"

    @property
    def _bad(self) -> Verdict:
        return Verdict.UNREADY if self.check is Check.READINESS else Verdict.UNHEALTHY

    def _change(self, verdict: Verdict, *, is_enough: bool) -> Verdict | None:
        if not is_enough or self.said is verdict:
            return None
        self.said = verdict
        return verdict
