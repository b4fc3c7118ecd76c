"""Goal: no client, and no two clients together, can tell our server from Apache ZooKeeper.

Theory of operation: a small share of what `python -m tests.conformance.fuzz` does, with fixed seeds;
and proof that the fuzzer sees a fault when there is one, by servers that are wrong on purpose.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from autohealer.zkserver.protocol import Op
from tests.conformance.drawing import SLOTS, Generator
from tests.conformance.fuzz import apache_and, find_difference
from tests.conformance.operations import Act, Action, Request
from tests.conformance.shrinking import shrink
from tests.support.apache import apache_is_installed
from tests.support.embedded import EmbeddedZooKeeper
from tests.support.require import require

if TYPE_CHECKING:
    from collections.abc import Sequence

SEEDS = range(1, 151)
STEPS = 60
MUTANT_SEEDS = range(1, 101)
SHORT = 9
"""Actions left of a shrunk run: what sets the scene, what it does, and no noise."""

MUTANTS = {
    "the parent's event comes before the node's": """
from autohealer.zkserver.tree import Tree
plain = Tree._delete
Tree._delete = lambda *given: plain(*given)[::-1]
""",
    "the reply comes before the event": """
from autohealer.zkserver.machine import Machine
plain = Machine.take_effects
def rank(effect):
    return effect.body[:4] == b"\\xff" * 4 if hasattr(effect, "body") else 2
Machine.take_effects = lambda self: sorted(plain(self), key=rank)
""",
    "a watch on children outlives its node": """
from autohealer.zkserver import watches
watches._HEARING[watches.EventType.DELETED] = watches.WatcherKind.DATA
""",
    "a refused write uses up no zxid": """
from autohealer.zkserver.machine import Machine
Machine._skip_zxid = lambda self: None
""",
    "a client that comes back is not told of children it missed": """
from autohealer.zkserver import reads
reads._child_news = lambda node, since_zxid: None
""",
}
"""Faults, as what is run before the server."""


class MutantZooKeeper(EmbeddedZooKeeper):
    """The embedded server with a fault."""

    fault = ""

    def _command(self) -> Sequence[str]:
        python, _, _, *options = super()._command()
        start = "import sys\nfrom autohealer.zkserver.__main__ import main\nsys.exit(main())"
        return (python, "-c", self.fault + start, *options)


@pytest.mark.conformance
def test_random_sessions_see_no_difference(tmp_path: Path) -> None:
    """What a user tested on a laptop would not hold on an ensemble."""
    require("Apache ZooKeeper", apache_is_installed())
    with apache_and(EmbeddedZooKeeper, tmp_path) as pair:
        for seed in SEEDS:
            found = find_difference(pair, seed, STEPS)
            if found is not None:
                pytest.fail("\n\n".join(found))


@pytest.mark.conformance
@pytest.mark.parametrize("name", MUTANTS)
def test_a_fault_is_caught_and_shrunk(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fuzzer would call everything alike, or show a haystack."""
    require("Apache ZooKeeper", apache_is_installed())
    monkeypatch.setattr(MutantZooKeeper, "fault", MUTANTS[name])
    with apache_and(MutantZooKeeper, tmp_path) as pair:
        found = (find_difference(pair, seed, STEPS) for seed in MUTANT_SEEDS)
        happened, shrunk = next(report for report in found if report is not None)
    print(shrunk)
    assert ">> s" in happened
    assert ">> s" in shrunk
    assert len([line for line in shrunk.splitlines() if line.strip()[:1].isdigit()]) <= SHORT


def test_a_seed_says_it_all() -> None:
    """A failing seed could not be played again."""
    assert Generator(7).run(STEPS) == Generator(7).run(STEPS)
    assert Generator(7).run(STEPS) != Generator(8).run(STEPS)
    assert {action.slot for action in Generator(7).run(STEPS)} == set(range(SLOTS))


def test_nothing_is_left_that_could_be_left_out() -> None:
    """A failing run would be printed with sixty steps of noise around two."""
    noise = [Action(0, Act.HANG_UP)] * 20
    first, second = Action(1, Act.CLOSE), Action(2, request=_multi("/a", "/b", "/c"))
    left = shrink(
        [*noise, first, *noise, second, *noise],
        lambda actions: first in actions and any("/b" in action.text() for action in actions),
    )
    assert left == [first, Action(2, request=_multi("/b"))]


def _multi(*paths: str) -> Request:
    return Request(Op.MULTI, steps=tuple(Request(Op.DELETE, path) for path in paths))
