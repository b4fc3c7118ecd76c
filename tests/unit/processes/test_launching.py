"""The launching thread: orders in their order, withdrawn before they were begun, told on the loop."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from autohealer.processes.launching import Launching, Outcome

WITHIN_S = 10.0


def test_the_loop_goes_on_while_a_launch_takes_its_time() -> None:
    """Exits would go unnoticed for as long as a busy machine needs to start a worker."""

    async def story() -> list[str]:
        launching, seen = Launching(asyncio.get_running_loop()), []
        may_end, told = threading.Event(), asyncio.Event()

        def launch() -> int:
            may_end.wait(WITHIN_S)
            return 7

        def tell(outcome: Outcome) -> None:
            seen.append(f"told {outcome} in {threading.current_thread().name}")
            told.set()

        launching.order(launch, tell)
        seen.append("the loop went on")
        may_end.set()
        await told.wait()
        launching.close(WITHIN_S)
        return seen

    assert asyncio.run(story()) == ["the loop went on", "told 7 in MainThread"]


def test_what_is_ordered_together_is_told_of_together() -> None:
    """Each of a thousand health commands would wake the daemon up for itself, at twice the price."""

    async def story() -> list[str]:
        loop = asyncio.get_running_loop()
        launching, seen = Launching(loop, together_s=WITHIN_S), list[str]()
        all_told = asyncio.Event()

        def launch(number: int) -> int:
            seen.append(f"launched {number}")
            return number

        def tell(outcome: Outcome) -> None:
            seen.append(f"told {outcome}")
            if outcome == 2:
                all_told.set()

        for number in range(3):
            launching.order(lambda number=number: launch(number), tell)  # type: ignore[misc]
        seen.append("ordered")
        await all_told.wait()
        launching.close(WITHIN_S)
        return seen

    launched, told = [[f"{verb} {number}" for number in range(3)] for verb in ("launched", "told")]
    assert asyncio.run(story()) == ["ordered", *launched, *told]


def test_those_launched_together_are_told_of_while_others_take_long() -> None:
    """A health command that has ended would count as one that hangs, for the sake of another."""

    async def story() -> list[Outcome]:
        launching, told = Launching(asyncio.get_running_loop(), together_s=0.001), list[Outcome]()
        may_end, first_told = threading.Event(), asyncio.Event()

        def tell(outcome: Outcome) -> None:
            told.append(outcome)
            first_told.set()

        def slowly(number: int) -> int:
            deadline = time.monotonic() + 0.002
            while time.monotonic() < deadline:
                pass
            return number

        launching.order(lambda: slowly(1), tell)
        launching.order(lambda: 2 if may_end.wait(WITHIN_S) else 3, tell)
        await first_told.wait()
        may_end.set()
        launching.close(WITHIN_S)
        return told

    assert asyncio.run(story()) == [1, 2]


def test_orders_are_carried_out_one_after_another_and_told_in_their_order() -> None:
    """A start of many would exec them all at once, or tell of them in disorder."""

    async def story() -> tuple[list[Outcome], int]:
        launching = Launching(asyncio.get_running_loop())
        told: list[Outcome] = []
        at_once, most = 0, 0

        def launch(number: int) -> int:
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            at_once -= 1
            return number

        for number in range(50):
            launching.order(lambda number=number: launch(number), told.append)  # type: ignore[misc]
        launching.close(WITHIN_S)
        return told, most

    assert asyncio.run(story()) == (list(range(50)), 1)


def test_one_that_was_not_begun_can_be_withdrawn_and_one_that_was_cannot() -> None:
    """What is told to end in the middle of a start would be launched all the same, or never be told of."""

    async def story() -> tuple[bool, bool, list[Outcome]]:
        launching = Launching(asyncio.get_running_loop())
        begun, may_end = threading.Event(), threading.Event()
        told: list[Outcome] = []

        def launch() -> int:
            begun.set()
            may_end.wait(WITHIN_S)
            return 1

        first = launching.order(launch, told.append)
        second = launching.order(lambda: 2, told.append)
        begun.wait(WITHIN_S)
        withdrawn = first.withdraw(), second.withdraw()
        may_end.set()
        launching.close(WITHIN_S)
        return *withdrawn, told

    assert asyncio.run(story()) == (False, True, [1])


def test_a_launch_that_fails_is_told_as_what_it_raised() -> None:
    """A missing program would end the thread, and nobody would be launched any more."""

    async def story() -> list[Outcome]:
        launching = Launching(asyncio.get_running_loop())
        told: list[Outcome] = []

        def fail() -> int:
            raise FileNotFoundError(2, "No such file or directory")

        launching.order(fail, told.append)
        launching.order(lambda: 3, told.append)
        launching.close(WITHIN_S)
        return told

    failed, launched = asyncio.run(story())
    assert isinstance(failed, FileNotFoundError)
    assert launched == 3


def test_without_a_thread_to_be_had_the_launch_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is out of threads would end the daemon instead of having it try again."""

    async def story() -> list[Outcome]:
        launching = Launching(asyncio.get_running_loop())
        told: list[Outcome] = []
        refused = asyncio.Event()

        def tell(outcome: Outcome) -> None:
            told.append(outcome)
            refused.set()

        launching.order(lambda: 3, tell)
        await refused.wait()
        monkeypatch.undo()
        launching.order(lambda: 4, told.append)
        launching.close(WITHIN_S)
        return told

    def no_more(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_more)
    failed, launched = asyncio.run(story())
    assert isinstance(failed, OSError)
    assert "can't start new thread" in str(failed)
    assert launched == 4
