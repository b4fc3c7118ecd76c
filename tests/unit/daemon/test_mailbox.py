"""The queue before the loop: whole, in order, bounded, and it waits only as long as told."""

from __future__ import annotations

import asyncio

import pytest

from autohealer.core.events import ReplicasSet, StopRequested, WorkersListed
from autohealer.core.model import Incarnation
from autohealer.daemon import mailbox
from autohealer.daemon.mailbox import Mailbox, MailboxOverflow
from tests.support.virtual_time import pass_time


def listed(*slots: int) -> WorkersListed:
    """A list of some slots' registrations."""
    return WorkersListed(frozenset(Incarnation(slot, 1) for slot in slots), frozenset())


async def test_facts_come_in_their_order_and_once() -> None:
    """An exit would be folded before the spawn it belongs to, or twice."""
    box = Mailbox()
    facts = [ReplicasSet(number) for number in range(5)]
    for fact in facts:
        box.put(fact)
    assert await box.drain(None) == facts
    assert await box.drain(1.0) == []


async def test_it_waits_just_as_long_as_told() -> None:
    """A deadline would be missed, or looked for again and again."""
    clock = asyncio.get_running_loop().time
    began = clock()
    assert await Mailbox().drain(2.5) == []
    assert clock() - began == pytest.approx(2.5, abs=1e-3)


async def test_no_time_at_all_is_no_wait() -> None:
    """An overdue decision would wait for a fact that never comes."""
    clock = asyncio.get_running_loop().time
    began = clock()
    assert await Mailbox().drain(0.0) == []
    assert clock() - began < 1e-3


async def test_a_fact_ends_the_wait() -> None:
    """An exit would be acted upon only at the next deadline."""
    box, loop = Mailbox(), asyncio.get_running_loop()
    began = loop.time()
    loop.call_later(0.5, box.put, StopRequested())
    assert await box.drain(None) == [StopRequested()]
    assert loop.time() - began == pytest.approx(0.5, abs=1e-3)


async def test_it_can_be_woken_without_a_fact() -> None:
    """A group would not notice that another one's replacement has freed the brake for it."""
    box, loop = Mailbox(), asyncio.get_running_loop()
    began = loop.time()
    loop.call_later(0.5, box.wake)
    assert await box.drain(None) == []
    assert loop.time() - began == pytest.approx(0.5, abs=1e-3)


async def test_a_newer_list_replaces_one_that_waits() -> None:
    """A busy registry would make the loop fold lists nobody needs any more."""
    box = Mailbox()
    for fact in (listed(1), listed(1, 2), listed(3)):
        box.put(fact)
    assert await box.drain(None) == [listed(3)]


async def test_lists_around_another_fact_are_both_kept() -> None:
    """The order of a list and a disconnect would be lost, and an unknown taken for an absence."""
    box = Mailbox()
    for fact in (listed(1), StopRequested(), listed(2)):
        box.put(fact)
    assert await box.drain(None) == [listed(1), StopRequested(), listed(2)]


async def test_one_taken_is_not_replaced() -> None:
    """A list folded already would be taken back."""
    box = Mailbox()
    box.put(listed(1))
    assert await box.drain(None) == [listed(1)]
    box.put(listed(2))
    assert await box.drain(None) == [listed(2)]


async def test_a_flood_ends_the_daemon_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken source of facts would eat the machine's memory."""
    monkeypatch.setattr(mailbox, "FACTS_MAX", 3)
    box = Mailbox()
    for number in range(3):
        box.put(ReplicasSet(number))
    with pytest.raises(MailboxOverflow, match="3 facts are waiting; the last is StopRequested"):
        box.put(StopRequested())
    await pass_time(0.0)
    with pytest.raises(MailboxOverflow):
        await box.drain(None)


async def test_what_breaks_elsewhere_ends_the_loop() -> None:
    """An exit that could not be told of, or a read that broke, would be lost and life go on with a wrong model."""
    box, loop = Mailbox(), asyncio.get_running_loop()
    loop.call_later(0.5, box.fail, OSError("it broke"))
    with pytest.raises(OSError, match="it broke"):
        await box.drain(None)


async def test_facts_that_follow_from_each_other_let_others_be_heard() -> None:
    """During a ramp or a storm the daemon would be deaf to everything else, its signals and watches included."""
    box, heard = Mailbox(), [0]

    def turn() -> None:
        heard[0] += 1
        asyncio.get_running_loop().call_soon(turn)

    asyncio.get_running_loop().call_soon(turn)
    for number in range(10):
        box.put(ReplicasSet(number))
        assert await box.drain(None) == [ReplicasSet(number)]
    assert heard[0] >= 10 * mailbox.TURNS
