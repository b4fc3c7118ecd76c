"""Ways a store fails, and what must be true of a group of workers afterwards.

Theory of operation: every fault is a context manager that begins it and takes it back. Killing and
freezing go to the server; what happens to the network goes to the proxy in front of it.

Limits: an outage lasts at least as long as asked, longer on a busy machine.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from enum import Enum
from typing import TYPE_CHECKING, assert_never

from kazoo.exceptions import NoNodeError

from autohealer.contract import WORKERS_PATH, parse_znode_name
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kazoo.client import KazooClient

    from tests.support.daemon import Daemon
    from tests.support.proxy import ChaosProxy
    from tests.support.servers import ZooKeeperServer

SETTLES_WITHIN_S = 60.0
SLOW_S = 0.2
"""What a slow network adds to each direction: a conversation that took one millisecond takes 400."""


class Fault(Enum):
    """How the store is away."""

    KILLED = "killed and restarted"
    FROZEN = "frozen"
    CUT = "cut off"
    BLACKHOLED = "blackholed"
    SLOW = "slow"


@contextmanager
def outage(fault: Fault, server: ZooKeeperServer, proxy: ChaosProxy) -> Iterator[None]:
    """Have the store fail for the duration of a block."""
    match fault:
        case Fault.KILLED:
            server.kill()
            yield
            server.start()
        case Fault.FROZEN:
            server.freeze()
            yield
            server.resume()
        case Fault.CUT:
            proxy.refuse()
            proxy.cut()
            yield
            proxy.heal()
        case Fault.BLACKHOLED:
            proxy.blackhole()
            yield
            proxy.heal()
        case Fault.SLOW:
            proxy.delay(to_server_s=SLOW_S, to_client_s=SLOW_S)
            yield
            proxy.heal()
        case _:
            assert_never(fault)


def lasts(seconds: float) -> None:
    """Let time pass while a fault lasts; the test waits for nothing here."""
    until = time.monotonic() + seconds
    eventually(lambda: time.monotonic() >= until, within_s=seconds + 30)


def holds_of(daemon: Daemon) -> str:
    """What the status says is held back, and why."""
    status = daemon.status()
    return "" if status is None else "; ".join(status.holds)


def settles(daemon: Daemon) -> dict[int, int]:
    """Wait until the group is whole and nothing is held back any more; slot to pid."""
    eventually(
        lambda: daemon.is_whole() and not holds_of(daemon),
        within_s=SETTLES_WITHIN_S,
        view=daemon.view,
    )
    return daemon.pids()


def replaced_locally(daemon: Daemon, slot: int, old: int) -> int:
    """Wait until a slot runs another process, registered or not; its pid."""

    def successor() -> int:
        rows = (row for row in daemon.slots() if row.slot == slot)
        return next((row.pid for row in rows if row.pid not in {None, old} and row.pid), 0)

    return eventually(successor, within_s=20, view=daemon.view)


def is_exactly_what_runs(daemon: Daemon, pids: dict[int, int]) -> None:
    """Assert that these processes and no others carry the group's name."""
    assert sorted(p.pid for p in daemon.workers_alive()) == sorted(pids.values())


def registered_slots(client: KazooClient, group: str) -> list[int]:
    """The slot of every registration of a group, in order."""
    try:
        names = [parse_znode_name(label) for label in client.get_children(WORKERS_PATH)]
    except NoNodeError:
        return []
    return sorted(name.slot for name in names if name is not None and name.group == group)


def is_exactly_what_is_registered(client: KazooClient, daemon: Daemon) -> None:
    """Assert that each slot is registered once."""
    assert registered_slots(client, daemon.group) == list(range(daemon.replicas))


def ended_by_us(daemon: Daemon) -> list[object]:
    """The slots whose live worker the daemon ended, one entry for each time."""
    return [line["slot"] for line in daemon.log("worker_killed") + daemon.log("worker_draining")]


def died(daemon: Daemon) -> list[object]:
    """The slots whose worker exited, one entry for each time."""
    return [line["slot"] for line in daemon.log("worker_exited")]


def have_a_history(client: KazooClient) -> None:
    """Write so much that an empty store's zxid stays far below what everybody has seen."""
    client.create("/history")
    for written in [client.set_async("/history", b"") for _ in range(500)]:
        written.get(timeout=30)
