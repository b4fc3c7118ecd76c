"""The plan of a flaky worker's failure, as a pure function."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaky_worker.faults import (
    DEFAULT_MIX,
    VARIANTS,
    WHAT_HAPPENS,
    Kind,
    parse_mix,
    plan,
    seed_of_life,
)

seeds = st.integers()
weights = st.floats(min_value=1e-6, max_value=1e6)
mixes = st.dictionaries(st.sampled_from(Kind), weights, min_size=1)
means_s = st.floats(min_value=1e-3, max_value=1e6)


@given(seeds, mixes, means_s)
def test_the_same_seed_gives_the_same_life(
    seed: int, mix: dict[Kind, float], mean_life_s: float
) -> None:
    """A failure seen once could not be repeated from its printed seed."""
    assert plan(seed, mix, mean_life_s) == plan(seed, mix, mean_life_s)


@given(seeds, mixes, means_s)
def test_a_fault_is_one_that_was_asked_for_and_has_a_date(
    seed: int, mix: dict[Kind, float], mean_life_s: float
) -> None:
    """A worker would fail in a way nobody chose, or before it was born."""
    fault = plan(seed, mix, mean_life_s)
    assert fault.kind in mix
    assert fault.variant in VARIANTS.get(fault.kind, ("",))
    assert 0 <= fault.at_s < math.inf


@given(seeds, mixes, means_s, st.floats(min_value=0.1, max_value=10))
def test_a_longer_mean_stretches_the_same_life(
    seed: int, mix: dict[Kind, float], mean_life_s: float, factor: float
) -> None:
    """Changing --mean-life would also change how a seeded worker fails."""
    short, long = plan(seed, mix, mean_life_s), plan(seed, mix, mean_life_s * factor)
    assert (short.kind, short.variant) == (long.kind, long.variant)
    assert long.at_s == pytest.approx(short.at_s * factor)


@given(seeds, mixes, st.sampled_from([0.0, math.inf]))
def test_a_mean_of_zero_or_infinity_never_fails(
    seed: int, mix: dict[Kind, float], mean_life_s: float
) -> None:
    """`--mean-life 0` would fail at once instead of never."""
    fault = plan(seed, mix, mean_life_s)
    assert not fault.happens
    assert str(fault) == "never fails"


def test_lives_are_exponentially_distributed() -> None:
    """The mean life would not be the one asked for, or old workers would fail more than young ones."""
    lives_s = [plan(seed, DEFAULT_MIX, 20.0).at_s for seed in range(20_000)]
    assert statistics.fmean(lives_s) == pytest.approx(20, rel=0.03)
    assert statistics.median(lives_s) == pytest.approx(20 * math.log(2), rel=0.03)


def test_weights_are_proportions() -> None:
    """`--fail crash=3,kill` would not crash three times as often as it kills."""
    mix = parse_mix("crash=3,kill")
    kinds = [plan(seed, mix, 1.0).kind for seed in range(20_000)]
    assert kinds.count(Kind.CRASH) / len(kinds) == pytest.approx(0.75, abs=0.02)


@pytest.mark.parametrize(("kind", "variants"), VARIANTS.items())
def test_every_variant_occurs(kind: Kind, variants: tuple[str, ...]) -> None:
    """A variant would be documented and never seen."""
    assert {plan(seed, {kind: 1.0}, 1.0).variant for seed in range(200)} == set(variants)


@given(seeds)
def test_incarnations_have_lives_of_their_own(seed: int) -> None:
    """All workers of a seeded group would fail at the same moment, again and again."""
    lives = {
        seed_of_life(seed, str(slot), str(generation))
        for slot in range(10)
        for generation in range(10)
    }
    assert len(lives) == 100


@given(mixes)
def test_a_mix_reads_as_it_is_written(mix: dict[Kind, float]) -> None:
    """A weight given on the command line would be lost."""
    assert parse_mix(",".join(f"{kind.value}={weight!r}" for kind, weight in mix.items())) == mix


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "no way to fail called ''"),
        ("crush", "no way to fail called 'crush'"),
        ("crash,", "no way to fail called ''"),
        ("crash=", "weight of crash is ''"),
        ("crash=0", "weight of crash is '0'"),
        ("crash=nan", "weight of crash is 'nan'"),
        ("kill=-1", "weight of kill is '-1'"),
        ("kill=inf", "weight of kill is 'inf'"),
    ],
)
def test_a_bad_mix_is_explained(text: str, complaint: str) -> None:
    """A typo in --fail would be taken for something else or end in a traceback."""
    with pytest.raises(ValueError, match=complaint):
        parse_mix(text)


def test_every_kind_is_explained() -> None:
    """A way to fail would be missing from --help."""
    assert set(WHAT_HAPPENS) == set(Kind)
