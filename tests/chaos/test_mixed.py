"""A file of several kinds of programs under fire, and that its judges see what must not happen.

`python -m tests.chaos --mixed --faults 300 --server embedded|apache --seed S` is the long one.
"""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from tests.chaos.fleet import JARS, REPLICAS, Look
from tests.chaos.mixed import Doubles, churned, mixed_campaign, unchanged
from tests.support.eventually import eventually
from tests.support.require import require
from tests.support.servers import ZooKeeperServer

SEED = int(os.environ.get("AUTOHEALER_CHAOS_SEED", "20261127"))
BLOWS = 6
WITHIN_S = 10.0
WHOLE: dict[tuple[str, int], tuple[int, ...]] = {
    (group, slot): (10 * number + slot,)
    for number, (group, count) in enumerate(REPLICAS.items(), 1)
    for slot in range(count)
}


@pytest.mark.thorough
@pytest.mark.timeout(300)
def test_no_kind_of_program_suffers_from_what_hits_another(
    own_zookeeper: ZooKeeperServer, tmp_path: Path
) -> None:
    """A web server would be doubled after a restart of the daemon, or a worker ended for what befell a neighbour."""
    require("nginx", shutil.which("nginx") is not None)
    require("javac", shutil.which("javac") is not None)
    require("ZooKeeper's jars", all(Path(jar).exists() for jar in JARS.split(":")))
    print(f"AUTOHEALER_CHAOS_SEED={SEED}")
    with mixed_campaign(own_zookeeper, tmp_path, random.Random(SEED), print) as campaign:
        campaign.run(BLOWS)
    assert campaign.violations == []
    assert campaign.struck.total() == BLOWS


def test_what_is_whole_has_no_flaws() -> None:
    """The judge would cry wolf."""
    assert Look(WHOLE).flaws() == []
    assert churned(Look(WHOLE), Look(WHOLE), ()) == []


def test_a_slot_without_anybody_or_with_two_is_seen() -> None:
    """A campaign would end well although a slot is empty, doubled, or not wanted."""
    there = WHOLE | {("web", 1): (21, 99), ("web", 7): (5,)}
    del there["java", 0]
    assert Look(there).flaws() == [
        "java 0 is empty",
        "web 7 is not wanted",
        "web 1 is led by (21, 99)",
    ]


def test_who_changed_although_nothing_hit_it_is_seen() -> None:
    """Healthy workers could be restarted unnoticed, and who was to go could stay."""
    now = Look(WHOLE | {("web", 1): (99,), ("loop", 0): (98,)})
    assert churned(Look(WHOLE), now, {("loop", 0)}) == [
        "web 1 was (21,) and is (99,) although nothing hit it"
    ]
    assert unchanged(Look(WHOLE), now, {("loop", 0), ("sdk", 2)}) == ["sdk 2 is still (12,)"]


@pytest.mark.parametrize("lasts", [True, False])
def test_two_at_once_are_seen_if_it_is_more_than_a_change(lasts: bool) -> None:
    """A doubled worker would pass, or one that ends while the next one begins be taken for it."""
    looks = iter([Look(WHOLE), Look(WHOLE | {("web", 0): (20, 99)})])
    after = Look(WHOLE | {("web", 0): (20, 99) if lasts else (99,)})
    seen = 0

    def look() -> Look:
        nonlocal seen
        seen += 1
        return next(looks, after)

    with Doubles(look) as doubles:
        eventually(lambda: seen > 4, within_s=WITHIN_S)
    assert doubles.found == ({"web 0 was led by (20, 99) at once"} if lasts else set())
