"""Where workers serve as their registrations say, asked of both kinds of ZooKeeper."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from autohealer.contract import WorkerRecord, encode_record
from autohealer.coordination import addresses
from autohealer.coordination.addresses import Addresses
from autohealer.core.model import Incarnation
from tests.ports.registry_stages import GROUP, NAME, WITHIN_S, label_of, real_stage
from tests.support.clients import connected
from tests.support.eventually import eventually_async
from tests.support.proxy import ChaosProxy
from tests.support.servers import ZooKeeperServer, ZooKeeperUnderTest

PATH = f"/workers/{label_of(3, 17)}"
MUTE = Incarnation(4, 18)


def _record(address: str) -> bytes:
    return encode_record(WorkerRecord(4711, 12, "boot", "host", address=address))


async def _becomes(asked: Addresses, told: Mapping[Incarnation, str]) -> None:
    """Ask until this is the answer."""

    def ask() -> asyncio.Task[Mapping[Incarnation, str]]:
        return asyncio.get_running_loop().create_task(asked.of([NAME, MUTE]))

    asking = ask()

    def is_so() -> bool:
        nonlocal asking
        if not asking.done():
            return False
        answer, asking = asking.result(), ask()
        return answer == told

    await eventually_async(is_so, within_s=WITHIN_S, view=lambda: asking)
    await asking


async def test_an_address_is_known_and_follows_what_is_published(
    zookeeper: ZooKeeperUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status would send somebody to where a worker served before, or show nothing of one that says so later."""
    monkeypatch.setattr(addresses, "PATIENCE_S", WITHIN_S)
    async with real_stage(zookeeper.connection, (label_of(3, 17), label_of(4, 18))) as stage:
        await stage.lists(NAME, MUTE)
        asked = Addresses(stage.real, GROUP)
        assert await asked.of([NAME, MUTE, Incarnation(5, 19)]) == {}
        with connected(zookeeper.connection) as client:
            client.set(PATH, _record("10.0.0.1:80"))
            await _becomes(asked, {NAME: "10.0.0.1:80"})
            client.set(PATH, _record("10.0.0.2:80"))
            await _becomes(asked, {NAME: "10.0.0.2:80"})
            client.delete(PATH)
        await _becomes(asked, {})


async def test_nothing_is_read_twice_while_nothing_changes(
    zookeeper: ZooKeeperUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A status every second of a thousand workers would be a thousand reads a second."""
    monkeypatch.setattr(addresses, "PATIENCE_S", WITHIN_S)
    async with real_stage(zookeeper.connection, (label_of(3, 17),)) as stage:
        await stage.lists(NAME)
        asked = Addresses(stage.real, GROUP)
        reads: list[Incarnation] = []
        read = asked._read

        def noted(name: Incarnation) -> addresses._Reading:
            reads.append(name)
            return read(name)

        monkeypatch.setattr(asked, "_read", noted)
        for _ in range(3):
            await asked.of([NAME])
        assert reads == [NAME]


async def test_a_store_that_does_not_answer_holds_nobody_up(
    own_zookeeper: ZooKeeperServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status would hang just when somebody looks for what is wrong; or tell of an earlier connection's addresses."""
    with ChaosProxy(own_zookeeper.address) as proxy:
        async with real_stage(proxy.address, (label_of(3, 17),)) as stage:
            await stage.lists(NAME)
            asked = Addresses(stage.real, GROUP)
            proxy.delay(to_client_s=1.0)
            assert await asked.of([NAME]) == {}
            proxy.delay(to_client_s=0.0)
            with connected(own_zookeeper.address) as client:
                client.set(PATH, _record("10.0.0.1:80"))
            await _becomes(asked, {NAME: "10.0.0.1:80"})
            connection = stage.real.connection
            proxy.cut()
            await eventually_async(
                lambda: stage.real.connection not in {None, connection}, within_s=WITHIN_S
            )
            await _becomes(asked, {NAME: "10.0.0.1:80"})
