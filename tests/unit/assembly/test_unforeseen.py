"""What nobody foresaw ends the work, wherever it happens; what passes by itself does not."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Callable, Iterator

import pytest
import structlog

from autohealer.assembly.unforeseen import Unforeseen
from autohealer.telemetry.formats import LogFormat
from autohealer.telemetry.logs import configure

Blow = Callable[[Unforeseen, asyncio.AbstractEventLoop], object]


class Surprise(Exception):  # noqa: N818 - no error of anybody's
    """Nobody foresaw this."""


def surprise() -> None:
    """Raise where nobody catches."""
    raise Surprise


async def surprise_soon() -> None:
    """Raise in a task."""
    raise Surprise


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """What one test sets up must not reach the next."""
    hook = threading.excepthook
    yield
    threading.excepthook = hook
    structlog.reset_defaults()


class Work:
    """Something that goes on until it is undone."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.is_undone = False

    async def run(self, unforeseen: Unforeseen, blow: Blow) -> None:
        """Be hit, and wait for ever."""
        blow(unforeseen, asyncio.get_running_loop())
        try:
            await asyncio.Event().wait()
        finally:
            assert unforeseen.has_happened
            self.is_undone = True

    async def guarded(self, blow: Blow) -> None:
        """Run under guard."""
        unforeseen = Unforeseen(configure(LogFormat.JSON, self.lines.append, on_terminal=False))
        async with asyncio.timeout(20):
            await unforeseen.guard(self.run(unforeseen, blow))


def on_a_thread() -> None:
    """Raise in a thread of its own."""
    threading.Thread(target=surprise).start()


@pytest.mark.parametrize(
    "blow",
    [
        lambda unforeseen, _loop: unforeseen.start(surprise_soon()),
        lambda _unforeseen, loop: loop.call_soon(surprise),
        lambda _unforeseen, loop: loop.call_later(0.01, surprise),
        lambda _unforeseen, _loop: on_a_thread(),
        lambda _unforeseen, loop: loop.call_exception_handler(
            {"message": "x", "exception": Surprise()}
        ),
    ],
    ids=["task", "callback", "timer", "thread", "unretrieved"],
)
def test_an_exception_nobody_foresaw_ends_the_work_and_is_seen(blow: Blow) -> None:
    """The daemon would live on with a wrong model, or without its control socket, and nobody would know."""
    work = Work()
    with pytest.raises(Surprise):
        asyncio.run(work.guarded(blow))
    assert work.is_undone
    assert len([line for line in work.lines if "internal_error" in line]) == 1


def test_trouble_without_an_exception_ends_it_too() -> None:
    """What asyncio only has a sentence for would be overheard."""
    work = Work()
    with pytest.raises(RuntimeError, match="a task was lost"):
        asyncio.run(
            work.guarded(
                lambda _u, loop: loop.call_exception_handler({"message": "a task was lost"})
            )
        )


def test_the_work_and_its_own_error_come_through() -> None:
    """A stop, or a refusal in one sentence, would become an internal error."""

    async def guard(work: Callable[[], object]) -> None:
        unforeseen = Unforeseen(configure(LogFormat.JSON, print, on_terminal=False))

        async def run() -> None:
            work()

        await unforeseen.guard(run())
        assert not unforeseen.has_happened

    asyncio.run(guard(lambda: None))
    with pytest.raises(Surprise):
        asyncio.run(guard(surprise))


def test_a_connection_there_is_no_descriptor_for_is_said_once_and_ends_nothing() -> None:
    """A thousand clients of the control socket would end the daemon, or write 4,000 log lines a second."""
    lines: list[str] = []

    async def run() -> None:
        unforeseen = Unforeseen(configure(LogFormat.JSON, lines.append, on_terminal=False))
        context: dict[str, object] = {
            "message": "socket.accept() out of system resource",
            "exception": OSError(errno.EMFILE, "Too many open files"),
            "socket": "a socket",
        }

        async def work() -> None:
            for _ in range(100):
                asyncio.get_running_loop().call_exception_handler(context)

        await unforeseen.guard(work())

    asyncio.run(run())
    assert len(lines) == 1
    assert "Too many open files" in lines[0]
