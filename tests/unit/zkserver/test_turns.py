"""Goal: who asks for little waits for one turn, and nobody waits for ever. Method: the queue alone."""

from __future__ import annotations

from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autohealer.zkserver.turns import MUCH_S, Turns

LITTLE_S = MUCH_S / 10
QUIET = 5000


def _turn(turns: Turns, cost_s: float = LITTLE_S, *, is_known: bool = True) -> int:
    """Serve one turn."""
    who = turns.take()
    assert who is not None
    turns.charge(who, cost_s, is_known=is_known)
    return who


def _known(turns: Turns, *who: int, cost_s: float = LITTLE_S) -> None:
    """Make them more than newcomers."""
    for each in who:
        turns.ask(each)
        assert _turn(turns, cost_s) == each


def _served(turns: Turns, count: int, cost_s: float = LITTLE_S) -> list[int]:
    """Serve some turns; who was served asks again."""
    order: list[int] = []
    for _ in range(count):
        order.append(_turn(turns, cost_s))
        turns.ask(order[-1])
    return order


@pytest.mark.parametrize("cost_s", [LITTLE_S, 10 * MUCH_S])
def test_those_who_always_ask_share_equally(cost_s: float) -> None:
    """The first of two busy clients would keep the other waiting."""
    turns = Turns()
    _known(turns, 1, 2, 3, cost_s=cost_s)
    for who in (1, 2, 3):
        turns.ask(who)
    assert _served(turns, 9, cost_s) == [1, 2, 3] * 3


def _waits_of_the_quiet(turns: Turns, cost_s: float, **asking: float) -> list[int]:
    """How many turns of others the quiet one waits for, each time."""
    order: list[int] = []
    turns.ask(QUIET)
    for _ in range(400):
        who = turns.take()
        assert who is not None
        turns.charge(who, LITTLE_S if who == QUIET else cost_s, is_known=cost_s > MUCH_S)
        turns.ask(who, at_least_s=0.0 if who == QUIET else asking.get("at_least_s", 0.0))
        order.append(who)
    return [len(list(run)) for who, run in groupby(order, lambda who: who == QUIET) if not who]


def test_a_thousand_newcomers_hold_up_nobody_who_works() -> None:
    """In a mass start the pings of those who work would wait, and their sessions end."""
    turns = Turns()
    _known(turns, QUIET)
    for who in range(1000):
        turns.ask(who)
    assert max(_waits_of_the_quiet(turns, LITTLE_S)) <= 2


def test_a_thousand_costly_requests_hold_up_nobody_who_asks_for_little() -> None:
    """A program with many connections and a costly request on each would end everybody's sessions."""
    turns = Turns()
    _known(turns, QUIET)
    for who in range(1000):
        turns.ask(who, at_least_s=50 * MUCH_S)
    waits = _waits_of_the_quiet(turns, 50 * MUCH_S, at_least_s=50 * MUCH_S)
    assert max(waits) == 1


def test_who_turned_out_costly_waits_with_the_costly() -> None:
    """Small requests for large replies would pass for small ones for ever."""
    turns = Turns()
    _known(turns, QUIET)
    _known(turns, *range(100), cost_s=50 * MUCH_S)
    for who in range(100):
        turns.ask(who)
    assert max(_waits_of_the_quiet(turns, 50 * MUCH_S)) == 1


def test_strangers_wait_with_the_costly() -> None:
    """On an open server another user's many small requests would hold up the owner's."""
    turns = Turns()
    _known(turns, QUIET, *range(100))
    for who in range(100):
        turns.ask(who, is_stranger=True)
    turns.ask(QUIET)
    assert QUIET in {_turn(turns), _turn(turns)}


def test_newcomers_are_served_oldest_first_and_get_their_part() -> None:
    """The oldest would give up and begin again; with a busy group no new worker would get its session."""
    turns = Turns()
    _known(turns, *range(5000, 5100))
    for who in (*range(50), *range(5000, 5100)):
        turns.ask(who)
    order: list[int] = []
    for _ in range(110):
        order.append(_turn(turns))
        if order[-1] >= 5000:
            turns.ask(order[-1])
    assert [who for who in order if who < 5000] == list(range(50))


def test_idle_time_is_not_saved_up() -> None:
    """A client that was quiet for an hour could keep all others waiting for as long."""
    turns = Turns()
    _known(turns, 1, 2, 3)
    turns.ask(1)
    turns.ask(2)
    _served(turns, 1000)
    turns.ask(3)
    assert _served(turns, 6).count(3) <= 3


def test_the_costly_are_not_kept_waiting_for_ever() -> None:
    """A list of many workers would never come while there are pings."""
    turns = Turns()
    _known(turns, 1, 2)
    turns.ask(1)
    turns.ask(2)
    turns.ask(3, at_least_s=2 * MUCH_S)
    assert 3 in _served(turns, 5)


def test_who_left_is_not_served() -> None:
    """The server would look for a client that is gone."""
    turns = Turns()
    _known(turns, 1, 2)
    for who in (1, 2, 3, 4):
        turns.ask(who)
    for who in (1, 3):
        turns.leave(who)
    assert turns.take() == 2
    turns.leave(2)
    turns.charge(2, LITTLE_S)
    assert [turns.take(), turns.take()] == [4, None]
    assert len(turns) == 0


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.floats(0, 2), st.booleans(), st.booleans()), max_size=60
    )
)
def test_whoever_asks_is_served_once(steps: list[tuple[int, float, bool, bool]]) -> None:
    """A client would hang, or be served twice for one request."""
    turns = Turns()
    waiting: set[int] = set()
    for who, cost_s, is_stranger, takes in steps:
        turns.ask(who, at_least_s=cost_s, is_stranger=is_stranger)
        waiting.add(who)
        assert len(turns) == len(waiting)
        if takes:
            taken = turns.take()
            assert taken in waiting
            waiting.remove(taken)
            turns.charge(taken, cost_s)
    assert {turns.take() for _ in range(len(waiting))} == waiting
    assert turns.take() is None
