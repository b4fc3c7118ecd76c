"""What holds in every story: random faults against the real core, judged by what is true.

Theory of operation. `world.World.round` holds every oracle: the incremental plan is the full one, no promise
of the invariants is broken, one live incarnation a slot, no generation twice, nothing concluded from a list that
is not fresh, no launch before its time, quiet without news. Here stories are drawn and their endings judged.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.core.operating import STEPS as OPERATING
from tests.unit.core.world import STEPS, Step, begin, heal, stop_all, tell

WEIGHTED = [
    *STEPS,
    *("advance", "exit", "register_all", "list", "connect", "unregister") * 3,
]
BY_THE_OPERATOR = [*OPERATING, *OPERATING, *("advance", "exit", "register_all") * 3]
stories = st.lists(st.tuples(st.sampled_from(WEIGHTED), st.integers(0, 40)), max_size=40)
sizes = st.integers(0, 6)
quick = settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


@quick
@given(seed=st.integers(0, 2**16), replicas=sizes, story=stories)
def test_whatever_happens_all_are_ready_again(seed: int, replicas: int, story: list[Step]) -> None:
    """Workers would be doubled, killed without cause or never come back after some odd sequence of faults."""
    world = begin(seed, replicas)
    tell(world, story)
    heal(world)


@quick
@given(seed=st.integers(0, 2**16), replicas=sizes, story=stories, twice=st.booleans())
def test_whatever_happened_a_stop_leaves_nothing(
    seed: int, replicas: int, story: list[Step], twice: bool
) -> None:
    """A stopped daemon would leave workers behind or never end."""
    world = begin(seed, replicas)
    tell(world, story)
    stop_all(world, twice=twice)


@quick
@given(
    seed=st.integers(0, 2**16),
    replicas=sizes,
    story=st.lists(st.tuples(st.sampled_from(BY_THE_OPERATOR), st.integers(0, 40)), max_size=40),
)
def test_whatever_the_operator_wants_comes_about(
    seed: int, replicas: int, story: list[Step]
) -> None:
    """A slot that he stops, starts and restarts in some odd sequence would stay empty, or be filled all the same."""
    world = begin(seed, replicas)
    tell(world, [("register_all", 1), *story])
    heal(world)


@pytest.mark.parametrize("replicas", [1, 7, 50])
def test_a_start_in_peace_reaches_n_at_once(replicas: int) -> None:
    """A first start would wait for something although every worker registers at once."""
    world = begin(0, replicas)
    began_at = world.now
    for _ in range(replicas):
        tell(world, [("register_all", 1)])
    assert world.view.ready_count() == replicas
    assert world.now - began_at < 0.001
