"""Looks at the folders of all groups: on one thread, and only who was disturbed is woken."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress

from autohealer.control.looks import Looks

LOOK_S = 0.01
WITHIN_S = 20.0


async def cancelled(*tasks: asyncio.Task[None]) -> None:
    """Wait no more."""
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def test_only_who_was_disturbed_goes_on() -> None:
    """A socket that was removed would never be made again, or all groups would look after theirs each second."""

    async def story() -> None:
        looks = Looks(asyncio.ensure_future, LOOK_S)
        is_whole = {"web": True, "mail": True}
        web, mail = (
            asyncio.create_task(looks.until_disturbed(lambda name=name: is_whole[name]))  # type: ignore[misc]
            for name in is_whole
        )
        is_whole["web"] = False
        async with asyncio.timeout(WITHIN_S):
            await web
        assert not mail.done()
        await cancelled(mail)

    asyncio.run(story())


def test_all_are_looked_at_in_one_turn_of_a_thread() -> None:
    """A daemon of many groups would be woken for each of them, although nothing happens."""
    seen: list[tuple[str, str]] = []
    loops = threading.current_thread().name

    async def story() -> None:
        looks = Looks(asyncio.ensure_future, LOOK_S)
        enough = asyncio.Event()
        loop = asyncio.get_running_loop()

        def look(name: str) -> bool:
            seen.append((name, threading.current_thread().name))
            if len(seen) >= 9:
                loop.call_soon_threadsafe(enough.set)
            return True

        tasks = [
            asyncio.create_task(looks.until_disturbed(lambda name=name: look(name)))  # type: ignore[misc]
            for name in "abc"
        ]
        async with asyncio.timeout(WITHIN_S):
            await enough.wait()
        await cancelled(*tasks)

    asyncio.run(story())
    assert [name for name, _ in seen[:9]] == [*"abc"] * 3
    assert loops not in {thread for _, thread in seen}


def test_what_cannot_be_told_is_a_disturbance_and_one_of_several_is_enough() -> None:
    """A folder that can no longer be read would count as being there."""

    async def story() -> None:
        looks = Looks(asyncio.ensure_future, LOOK_S)

        def unreadable() -> bool:
            raise PermissionError

        async with asyncio.timeout(WITHIN_S):
            await looks.until_disturbed(lambda: True, unreadable)

    asyncio.run(story())
