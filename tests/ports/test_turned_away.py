"""Knocking at servers while workers wait to register."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from autohealer.coordination.turned_away import TurnedAway, doors_are_shut, next_pause_s
from autohealer.core.actions import Plan
from autohealer.core.model import Phase, Store
from tests.support.eventually import eventually_async
from tests.support.ports import HOST, free_port
from tests.unit.core.notation import Scene

PATIENCE_S = 0.05
WITHIN_S = 10.0


class Doorman:
    """A server that closes connections at once, or waits for a word."""

    def __init__(self, *, is_shut: bool) -> None:
        self.is_shut = is_shut
        self.knocks = 0
        self.address = (HOST, 0)

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[Doorman]:
        """Listen for the duration of a block."""
        server = await asyncio.start_server(self._receive, HOST)
        self.address = (HOST, server.sockets[0].getsockname()[1])
        async with server:
            yield self

    async def _receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.knocks += 1
        if not self.is_shut:
            await reader.read()
        writer.close()


async def test_doors_are_shut_when_nobody_opens_and_somebody_closes() -> None:
    """A server that is down, or one member of an ensemble that is full, would be taken for a limit that is reached."""
    nobody = (HOST, free_port())
    async with Doorman(is_shut=True).at_work() as shut, Doorman(is_shut=False).at_work() as is_open:
        assert await doors_are_shut([shut.address])
        assert await doors_are_shut([nobody, shut.address])
        assert not await doors_are_shut([nobody])
        assert not await doors_are_shut([is_open.address])
        assert not await doors_are_shut([shut.address, is_open.address])


class Group:
    """A group of whose workers one has not registered, and what is said of it."""

    def __init__(self, door: Doorman, scene: str = "0:starting 1:ready") -> None:
        self.said: list[str] = []
        self.view = Scene(scene).view
        self.away = TurnedAway([door.address], asyncio.create_task, self.said.append, PATIENCE_S)

    def decide(self) -> None:
        """What the loop does after each decision."""
        self.away((), Plan(), self.view)

    def has(self, starting: int) -> None:
        """So many wait to register from now on."""
        self.view.counts[Phase.STARTING] = starting


async def test_workers_that_are_turned_away_are_told_of_once() -> None:
    """The log would say "never registered" of healthy workers, or the same line over and over."""
    async with Doorman(is_shut=True).at_work() as door:
        group = Group(door)
        group.decide()
        await eventually_async(lambda: door.knocks >= 3, within_s=WITHIN_S)
        group.decide()
        assert len(group.said) == 1
        assert "1 worker waits to register" in group.away.sentence
        assert "2 workers and the daemon need 3 connections" in group.said[0]
        group.has(starting=0)
        await eventually_async(lambda: group.away.sentence == "", within_s=WITHIN_S)
        group.away.close()


async def test_a_server_that_takes_connections_again_is_believed() -> None:
    """Status would go on blaming a limit that somebody has raised."""
    async with Doorman(is_shut=True).at_work() as door:
        group = Group(door)
        group.decide()
        await eventually_async(lambda: group.away.sentence != "", within_s=WITHIN_S)
        door.is_shut = False
        await eventually_async(lambda: group.away.sentence == "", within_s=WITHIN_S)
        group.away.close()


async def test_nobody_knocks_while_nobody_waits_or_zookeeper_is_away() -> None:
    """An idle daemon would wake up for nothing, and an outage be taken for a limit."""
    async with Doorman(is_shut=True).at_work() as door:
        idle, away = Group(door, "0:ready 1:ready"), Group(door)
        away.view.room.store = Store.SUSPENDED
        for group in (idle, away):
            group.decide()
        patient = Group(door)
        patient.decide()
        await eventually_async(lambda: door.knocks >= 1, within_s=WITHIN_S)
        assert (idle.said, away.said) == ([], [])
        for group in (idle, away, patient):
            group.away.close()


def test_who_begins_to_wait_later_is_not_overlooked() -> None:
    """In a slow start the first worker registers and the last one is turned away: it would be ended without a word."""
    assert next_pause_s(8.0, 2.0, waiting=1, late=0) == 2.0
    assert next_pause_s(8.0, 2.0, waiting=1, late=1) == 16.0
    assert next_pause_s(8.0, 2.0, waiting=0, late=0) == 16.0
    assert next_pause_s(50.0, 2.0, waiting=9, late=9) == 60.0
