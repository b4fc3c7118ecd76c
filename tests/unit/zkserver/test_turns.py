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


def test_newcomers_are_served_oldest_first_and_hold_up_nobody() -> None:
    """In a mass start the pings of those who work would wait, or the oldest newcomer for younger ones."""
    turns = Turns()
    for who in range(1000):
        turns.ask(who, is_new=True)
    for round_ in range(100):
        for who in (5001, 5002):
            turns.ask(who)
        order = [_take_one(turns) for _ in range(4)]
        assert set(order[:3]) >= {5001, 5002}, round_
    assert [_take_one(turns) for _ in range(3)] == [200, 201, 202]


def test_those_who_work_leave_newcomers_half() -> None:
    """With a busy group no new worker would ever get its session."""
    turns = Turns()
    for who in range(5000, 5100):
        turns.ask(who)
    for who in range(50):
        turns.ask(who, is_new=True)
    order: list[int] = []
    for _ in range(100):
        order.append(_take_one(turns))
        if order[-1] >= 5000:
            turns.ask(order[-1])
    newcomers = [who for who in order if who < 5000]
    assert newcomers == list(range(50))
    assert order.index(49) > 90


def _take_one(turns: Turns, cost_s: float = 1.0) -> int:
    who = turns.take()
    assert who is not None
    turns.charge(who, cost_s)
    return who


def test_who_left_is_not_served() -> None:
    """The server would look for a client that is gone."""
    turns = Turns()
    for who in (1, 2, 3, 4):
        turns.ask(who, is_new=who > 2)
    for who in (1, 3):
        turns.leave(who)
    assert turns.take() == 2
    turns.leave(2)
    turns.charge(2, 1.0)
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
    for who, cost_s, is_new, takes in steps:
        turns.ask(who, is_new=is_new)
        waiting.add(who)
        assert len(turns) == len(waiting)
        if takes:
            taken = turns.take()
            assert taken in waiting
            waiting.remove(taken)
            turns.charge(taken, cost_s)
    assert {turns.take() for _ in range(len(waiting))} == waiting
    assert turns.take() is None
