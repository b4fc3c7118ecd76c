"""What the daemon relies on in its session."""

from __future__ import annotations

import threading
import time

import pytest

from autohealer.coordination.session import BEGIN_AGAIN_S, Session, ZooKeeperUnreachable
from autohealer.core.model import Store
from tests.support.apache import ApacheZooKeeper
from tests.support.eventually import eventually_async
from tests.support.ports import free_port
from tests.support.scarcity import no_descriptor_left
from tests.support.servers import ZooKeeperUnderTest

WITHIN_S = 20.0


async def test_no_server_is_said_with_its_address() -> None:
    """A wrong address would end in a traceback of kazoo's."""
    address = f"127.0.0.1:{free_port()}"
    session = Session(address, 10.0)
    with pytest.raises(
        ZooKeeperUnreachable, match=f"no ZooKeeper answered at {address} within 0.5 s"
    ):
        await session.start(0.5)
    await session.stop()


@pytest.mark.parametrize(
    ("addresses", "words"),
    [
        ("nowhere.invalid:2181", "the name nowhere.invalid does not resolve"),
        ("a.invalid,b.invalid:2181/app", "none of the names a.invalid, b.invalid resolve"),
    ],
)
async def test_a_name_that_does_not_resolve_is_said_at_once(addresses: str, words: str) -> None:
    """A typing error in the address would cost five seconds and look like a server that is down."""
    session = Session(addresses, 10.0)
    began_s = time.monotonic()
    with pytest.raises(ZooKeeperUnreachable, match=words):
        await session.start(60.0)
    assert time.monotonic() - began_s < WITHIN_S
    await session.stop()


async def test_one_name_that_resolves_is_enough(zookeeper: ZooKeeperUnderTest) -> None:
    """An ensemble of which one host left the name service would be given up."""
    session = Session(f"nowhere.invalid:1,{zookeeper.connection}", 10.0)
    await session.start(WITHIN_S)
    await session.stop()


@pytest.mark.parametrize("asked_s", [0.1, 6.0, 600.0])
async def test_how_long_the_session_lasts_is_the_servers_word(
    zookeeper: ZooKeeperUnderTest, asked_s: float
) -> None:
    """A claim would be waited for too short, or a worker's real time-out would be said wrongly."""
    session = Session(zookeeper.connection, asked_s)
    told: list[Store] = []
    session.subscribe(told.append)
    assert session.timeout_s == asked_s
    await session.start(WITHIN_S)
    await eventually_async(lambda: told == [Store.CONNECTED], within_s=WITHIN_S)
    # 20 ticks of half a second, in the tests
    longest_s = 10.0 if isinstance(zookeeper.server, ApacheZooKeeper) else 60.0
    assert session.timeout_s == min(max(asked_s, 1.0), longest_s)
    await session.stop()


async def test_one_begun_without_descriptors_is_told_of_and_begins_again(
    zookeeper: ZooKeeperUnderTest,
) -> None:
    """A reload while descriptors were short would end the daemon, or register a new group's programs never."""
    said: list[str] = []
    told: list[Store] = []
    session = Session(zookeeper.connection, 10.0, said=said.append)
    session.subscribe(told.append)
    with no_descriptor_left():
        with pytest.raises(ZooKeeperUnreachable, match="Too many open files"):
            await session.start(2.2 * BEGIN_AGAIN_S)
        assert len(said) == 1, "once, though tried several times"
    await eventually_async(lambda: told == [Store.CONNECTED], within_s=WITHIN_S)
    assert not session.trouble
    await session.stop()


async def test_one_that_could_not_begin_can_be_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon would end by an error of a library's, instead of as it was told to."""
    errors: list[object] = []
    monkeypatch.setattr(threading, "excepthook", errors.append)
    session = Session("127.0.0.1:1", 10.0)
    with no_descriptor_left(), pytest.raises(ZooKeeperUnreachable):
        await session.start(0.1)
    await session.stop()
    assert not errors
