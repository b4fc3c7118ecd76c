"""Goal: who asks seldom waits for nobody, and nobody waits for ever. Method: the queue alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from autohealer.zkserver.turns import Turns


def _served(turns: Turns, count: int, cost_s: float = 1.0) -> list[int]:
    """Serve some turns; who was served asks again."""
    order: list[int] = []
    for _ in range(count):
        who = turns.take()
        assert who is not None
        turns.charge(who, cost_s)
        turns.ask(who)
        order.append(who)
    return order


def test_those_who_always_ask_share_equally() -> None:
    """The first of two busy clients would keep the other waiting."""
    turns = Turns()
    for who in (1, 2, 3):
        turns.ask(who)
    assert _served(turns, 9) == [1, 2, 3] * 3


def test_who_asks_seldom_is_next() -> None:
    """A worker's ping would wait for a turn of each of a thousand busy clients."""
    turns = Turns()
    for who in range(1000):
        turns.ask(who)
    _served(turns, 1500)
    turns.ask(5000)
    assert turns.take() == 5000


def test_idle_time_is_not_saved_up() -> None:
    """A client that was quiet for an hour could keep all others waiting for as long."""
    turns = Turns()
    turns.ask(1)
    turns.ask(2)
    _served(turns, 1000)
    turns.ask(3)
    assert _served(turns, 6).count(3) <= 3


def test_a_costly_turn_is_paid_for() -> None:
    """Who asks for what takes long would get most of the server."""
    turns = Turns()
    turns.ask(1)
    turns.ask(2)
    assert turns.take() == 1
    turns.charge(1, 3.0)
    turns.ask(1)
    assert _served(turns, 4) == [2, 2, 2, 1]


def test_newcomers_keep_their_order_behind_the_others() -> None:
    """In a mass start the pings of those who work would wait, or the oldest newcomer for younger ones."""
    turns = Turns()
    for who in range(10):
        turns.ask(who, 0.5)
    assert [turns.take(), turns.take()] == [0, 1]
    turns.ask(100)
    turns.ask(10, 0.5)
    order = [turns.take() for _ in range(10)]
    assert order == [100, *range(2, 10), 10]


def test_who_left_is_not_served() -> None:
    """The server would look for a client that is gone."""
    turns = Turns()
    turns.ask(1)
    turns.ask(2)
    turns.leave(1)
    turns.charge(1, 1.0)
    assert [turns.take(), turns.take()] == [2, None]
    assert len(turns) == 0


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 2), st.booleans()), max_size=60))
def test_whoever_asks_is_served_once(steps: list[tuple[int, float, bool]]) -> None:
    """A client would hang, or be served twice for one request."""
    turns = Turns()
    waiting: set[int] = set()
    for who, cost_s, takes in steps:
        turns.ask(who, cost_s)
        waiting.add(who)
        if takes:
            taken = turns.take()
            assert taken in waiting
            waiting.remove(taken)
            turns.charge(taken, cost_s)
    assert {turns.take() for _ in range(len(waiting))} == waiting
    assert turns.take() is None
