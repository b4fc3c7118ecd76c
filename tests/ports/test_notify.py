"""What workers say at real sockets, who said it, and what follows when they say nothing."""

from __future__ import annotations

import array
import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from autohealer.core.events import Event, HealthReported, MoreTimeAsked
from autohealer.core.health import Check, Verdict
from autohealer.core.model import Incarnation
from autohealer.probes.notify import Listener, NotifyRules
from autohealer.probes.sockets import NotifyFolder
from tests.support.eventually import eventually_async

ONE, OTHER = Incarnation(0, 5), Incarnation(1, 5)
WITHIN_S = 20.0
LONG_S = 3600.0


@dataclass
class Group:
    """A listener in a folder, what it posted and what it said."""

    folder: Path
    start_s: float = LONG_S
    watchdog_s: float | None = None
    is_awaited: bool = True
    for_others: bool = False
    own_pids: set[int] = field(default_factory=lambda: {os.getpid()})
    facts: list[Event] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """As a daemon does."""
        self.listener = Listener(
            NotifyFolder(self.folder, for_others=self.for_others),
            NotifyRules(self.is_awaited, self.start_s, self.watchdog_s),
            lambda _name, pid: pid in self.own_pids,
            self.facts.append,
            self.said.append,
        )

    def launch(self, name: Incarnation = ONE) -> dict[str, str]:
        """A worker is launched; what it is told."""
        told = dict(self.listener.environment_for(name))
        self.listener.launched(name, os.getpid())
        return told

    def of(self, check: Check, name: Incarnation = ONE) -> list[Verdict]:
        """What was concluded from what a worker said."""
        mine = [f for f in self.facts if isinstance(f, HealthReported) and f.name == name]
        return [fact.verdict for fact in mine if fact.check is check]


@asynccontextmanager
async def group(folder: Path, **rules: float | bool | None) -> AsyncIterator[Group]:
    """One whose sockets are closed at the end."""
    made = Group(folder, **rules)  # type: ignore[arg-type]
    try:
        yield made
    finally:
        made.listener.close()


def say(told: dict[str, str], text: str, *descriptors: int) -> None:
    """As sd_notify does it."""
    address = told["NOTIFY_SOCKET"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as speaking:
        speaking.connect(f"\0{address[1:]}" if address.startswith("@") else address)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
        speaking.sendmsg([text.encode()], rights if descriptors else [])


async def test_who_says_that_it_is_ready_is(tmp_path: Path) -> None:
    """A worker would never be ready, or be so before it says it."""
    async with group(tmp_path / "notify") as made:
        told = made.launch()
        assert made.of(Check.NOTIFY) == []
        say(told, "READY=1\nSTATUS=at work")
        await eventually_async(lambda: made.of(Check.NOTIFY) == [Verdict.WELL], within_s=WITHIN_S)
        assert made.listener.statuses == {ONE: "at work"}
        say(told, "STOPPING=1")
        await eventually_async(
            lambda: made.of(Check.NOTIFY)[1:] == [Verdict.UNREADY], within_s=WITHIN_S
        )
        made.listener.ended(ONE)
        assert made.listener.statuses == {}
        assert (tmp_path / "notify").stat().st_mode & 0o777 == 0o700


async def test_what_it_says_before_anybody_listens_is_heard(tmp_path: Path) -> None:
    """A program that is quicker than its daemon would be given up."""
    async with group(tmp_path / "notify") as made:
        told = dict(made.listener.environment_for(ONE))
        say(told, "READY=1")
        made.listener.launched(ONE, os.getpid())
        await eventually_async(lambda: made.of(Check.NOTIFY) == [Verdict.WELL], within_s=WITHIN_S)


async def test_a_stranger_is_not_heard_and_told_of_once(tmp_path: Path) -> None:
    """Any program of the same user could declare a worker ready, or keep a dead one's watchdog fed."""
    script = (
        "import socket,sys; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM);"
        "[s.sendto(b'READY=1', sys.argv[1]) for _ in range(3)]; sys.stdin.read()"
    )
    async with group(tmp_path / "notify") as made:
        address = made.launch()["NOTIFY_SOCKET"]
        stranger = await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, address, stdin=subprocess.PIPE
        )
        await eventually_async(lambda: made.said, within_s=WITHIN_S)
        assert stranger.stdin is not None
        stranger.stdin.close()
        await stranger.wait()
        assert f"pid {stranger.pid}, which is none of its processes" in made.said[0]
        say({"NOTIFY_SOCKET": address}, "STATUS=done")
        await eventually_async(lambda: made.listener.statuses, within_s=WITHIN_S)
        assert made.of(Check.NOTIFY) == []
        assert len(made.said) == 1


@pytest.mark.parametrize("awkward", ["long", "other user"])
async def test_a_socket_is_reached_wherever_it_is(tmp_path: Path, awkward: str) -> None:
    """In a long state directory, or run as another user, a worker could say nothing."""
    folder = tmp_path / ("x" * 90) / "notify" if awkward == "long" else tmp_path / "notify"
    folder.parent.mkdir(exist_ok=True)
    async with group(folder, for_others=awkward == "other user") as made:
        told = made.launch()
        assert told["NOTIFY_SOCKET"].startswith("@autohealer/")
        assert len(told["NOTIFY_SOCKET"]) <= 107
        say(told, "READY=1")
        await eventually_async(lambda: made.of(Check.NOTIFY) == [Verdict.WELL], within_s=WITHIN_S)


async def test_one_that_never_says_so_has_failed_to_start_in_time(tmp_path: Path) -> None:
    """A start that hangs would last for ever."""
    async with group(tmp_path / "notify", start_s=0.3) as made:
        told = made.launch()
        say(told, "EXTEND_TIMEOUT_USEC=1000000")
        began = asyncio.get_running_loop().time()
        await eventually_async(
            lambda: made.of(Check.NOTIFY) == [Verdict.UNHEALTHY], within_s=WITHIN_S
        )
        assert asyncio.get_running_loop().time() - began > 0.7
        say(told, "READY=1")
        await eventually_async(
            lambda: made.of(Check.NOTIFY)[1:] == [Verdict.WELL], within_s=WITHIN_S
        )


async def test_a_watchdog_that_is_not_fed_barks(tmp_path: Path) -> None:
    """A worker that hangs would hold its slot for ever; one that pings would be ended."""
    async with group(tmp_path / "notify", watchdog_s=0.5, is_awaited=False) as made:
        told = made.launch()
        assert told["WATCHDOG_USEC"] == "500000"
        for _ in range(12):
            say(told, "WATCHDOG=1")
            over = asyncio.Event()
            asyncio.get_running_loop().call_later(0.1, over.set)
            await over.wait()
        assert made.of(Check.WATCHDOG) == [Verdict.WELL]
        await eventually_async(
            lambda: made.of(Check.WATCHDOG)[1:] == [Verdict.UNHEALTHY], within_s=WITHIN_S
        )
        say(told, "WATCHDOG=1")
        await eventually_async(
            lambda: made.of(Check.WATCHDOG)[2:] == [Verdict.WELL], within_s=WITHIN_S
        )
        made.listener.quiet(ONE)
        say(told, "WATCHDOG=trigger")
        say(told, "WATCHDOG=1\nSTATUS=pinged")
        await eventually_async(lambda: made.listener.statuses, within_s=WITHIN_S)
        assert made.of(Check.WATCHDOG)[3:] == [Verdict.UNHEALTHY]


async def test_who_was_told_to_end_may_ask_for_more_time(tmp_path: Path) -> None:
    """A worker that is still saving its work would be killed when its grace is over; one that starts, told of."""
    async with group(tmp_path / "notify") as made:
        told = made.launch()
        say(told, "EXTEND_TIMEOUT_USEC=5000000\nSTATUS=starts")
        await eventually_async(lambda: made.listener.statuses, within_s=WITHIN_S)
        assert made.facts == []
        made.listener.quiet(ONE)
        say(told, "STOPPING=1\nEXTEND_TIMEOUT_USEC=2500000")
        await eventually_async(
            lambda: MoreTimeAsked(ONE, 2.5) in made.facts,
            within_s=WITHIN_S,
            view=lambda: made.facts,
        )


async def test_who_was_ready_stays_ready_over_a_daemons_end_and_is_heard_again(
    tmp_path: Path,
) -> None:
    """An upgrade would make every worker unready for ever, for none says so twice."""
    async with group(tmp_path / "notify", start_s=0.5, watchdog_s=0.3) as made:
        told, other = made.launch(), made.launch(OTHER)
        say(told, "READY=1")
        note = tmp_path / "notify" / "0-5.ready"
        await eventually_async(note.exists, within_s=WITHIN_S)
        made.listener.close()
        made.facts.clear()
        made.begin()
        made.listener.sweep({ONE, OTHER})
        made.listener.adopted(ONE, os.getpid(), told)
        made.listener.adopted(OTHER, os.getpid(), other)
        assert made.of(Check.NOTIFY) == [Verdict.WELL]
        assert made.of(Check.NOTIFY, OTHER) == []
        say(told, "STATUS=again")
        await eventually_async(lambda: made.listener.statuses.get(ONE), within_s=WITHIN_S)
        # It may have said so while nobody heard it; nobody is ended for that, nor for pings that go nowhere.
        await eventually_async(lambda: made.of(Check.NOTIFY, OTHER), within_s=WITHIN_S)
        assert made.of(Check.NOTIFY, OTHER) == [Verdict.WELL]
        taken_for_ready = tmp_path / "notify" / "1-5.ready"
        await eventually_async(taken_for_ready.exists, within_s=WITHIN_S)
        assert made.of(Check.WATCHDOG) == made.of(Check.WATCHDOG, OTHER) == []
        made.listener.ended(ONE)
        assert not note.exists()
        made.listener.sweep(set())
        assert list((tmp_path / "notify").iterdir()) == []


async def test_one_that_was_never_asked_to_speak_is_ready(tmp_path: Path) -> None:
    """With `notify` put into the file, workers that know nothing of it would count as starting for ever."""
    async with group(tmp_path / "notify", start_s=0.1, watchdog_s=0.1) as made:
        made.listener.adopted(ONE, os.getpid(), {})
        assert made.of(Check.NOTIFY) == made.of(Check.WATCHDOG) == [Verdict.WELL]


async def test_descriptors_that_come_with_a_message_are_closed(tmp_path: Path) -> None:
    """`systemd-notify` would wait for ever, and a worker could use up the daemon's descriptors."""
    async with group(tmp_path / "notify") as made:
        told = made.launch()
        hears, speaks = os.pipe()
        say(told, "BARRIER=1", speaks)
        os.close(speaks)
        os.set_blocking(hears, False)

        def is_closed() -> bool:
            try:
                return os.read(hears, 1) == b""
            except BlockingIOError:
                return False

        await eventually_async(is_closed, within_s=WITHIN_S)
        os.close(hears)
