"""Put one daemon together and run it: what its groups share, and a keeper for the group it keeps.

It starts things in the order in which they may fail without anything to undo, and takes them down in the reverse
order.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack

from structlog.typing import FilteringBoundLogger

from autohealer.assembly.errors import PlatformError, StateDirError
from autohealer.assembly.keeper import Keeper, Shared
from autohealer.assembly.zookeeper import EmbeddedServers, choose
from autohealer.coordination.registry import Registry
from autohealer.coordination.session import Session, ZooKeeperUnreachable
from autohealer.daemon.neighbours import Neighbours
from autohealer.daemon.ports import Observer
from autohealer.processes.identity import load_secret
from autohealer.processes.lock import hold_group
from autohealer.processes.output import OutputFiles
from autohealer.processes.platform import (
    close_inherited_on_exec,
    missing_requirement,
    raise_descriptor_limit,
)
from autohealer.processes.reaper import Reaper
from autohealer.settings import CONNECT_TIMEOUT_S, ROTATE_BYTES, Settings

DESCRIPTORS_BASE = 256
DESCRIPTORS_PER_WORKER = 2
"""A pidfd each, and as many again while trees are being ended or output is opened."""

DAEMON_SESSION_TIMEOUT_S = 10.0
"""The daemon's own session owns nothing, so nobody waits for its end; a longer one means fewer pings."""

KEEPERS_PATIENCE_S = 1.0
"""How long a daemon that has found workers waits for ZooKeeper before it looks after them without."""


def run_daemon(
    settings: Settings, logger: FilteringBoundLogger, observers: Sequence[Observer]
) -> None:
    """Keep the group alive until told to stop.

    Raises:
        PlatformError, StateDirError, ZooKeeperError, ZooKeeperUnreachable, AlreadyRunning: nothing was started.
    """
    if (missing := missing_requirement()) is not None:
        raise PlatformError(missing)
    close_inherited_on_exec()
    raise_descriptor_limit(DESCRIPTORS_BASE + DESCRIPTORS_PER_WORKER * settings.replicas)
    asyncio.run(_keep(settings, logger, observers))


async def _keep(
    settings: Settings, logger: FilteringBoundLogger, observers: Sequence[Observer]
) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(
        lambda _loop, context: logger.error("internal_error", what=str(context))
    )
    async with AsyncExitStack() as undo:
        secret, output = _prepare_state(settings, logger, undo)
        choice = await choose(settings, secret)
        logger.info("zookeeper_chosen", address=choice.connection, why=choice.why)
        reaper = Reaper(loop)
        reaper.start()
        undo.callback(reaper.close)
        session = Session(choice.connection, DAEMON_SESSION_TIMEOUT_S)
        neighbours = Neighbours()
        session.subscribe(neighbours.store_changed)
        registry = Registry(session, random.Random(), time.monotonic)
        shared = Shared(session, neighbours, registry, choice.connection, secret, reaper, logger)
        keeper = Keeper(settings, shared, output)
        _listen_to_signals(keeper, undo)
        servers = EmbeddedServers(choice, settings.state_dir, secret, reaper, logger)
        undo.push_async_callback(_end_servers, servers, keeper)
        undo.push_async_callback(session.stop)
        undo.callback(registry.close)
        # Adoption first: whether there are workers decides what it means that ZooKeeper is not there.
        workers = keeper.adopt(undo)
        session.subscribe(servers.store_changed)
        await servers.start(workers=workers, patience_s=KEEPERS_PATIENCE_S)
        if await _connect(session, logger, workers):
            await keeper.claim_group()
        await keeper.run(observers)


async def _connect(session: Session, logger: FilteringBoundLogger, workers: int) -> bool:
    """Connect; workers that are there already are kept alive without a store until there is one: then, False."""
    try:
        await session.start(KEEPERS_PATIENCE_S if workers else CONNECT_TIMEOUT_S)
    except ZooKeeperUnreachable as error:
        if not workers:
            raise
        logger.warning("zookeeper_unreachable", why=str(error), workers_kept=workers)
        return False
    return True


async def _end_servers(servers: EmbeddedServers, keeper: Keeper) -> None:
    """A server goes with the last worker; as long as workers run on, so does what they are registered with."""
    if keeper.leaves_workers:
        await servers.release()
    else:
        await servers.stop()


def _listen_to_signals(keeper: Keeper, undo: AsyncExitStack) -> None:
    """From now on a signal is a stop request, even while things are still being started."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, keeper.request_stop)
        undo.callback(loop.remove_signal_handler, number)


def _prepare_state(
    settings: Settings, logger: FilteringBoundLogger, undo: AsyncExitStack
) -> tuple[bytes, OutputFiles]:
    """Make the folders, take the lock, read the secret."""
    folder = settings.group_dir
    try:
        (folder / "output").mkdir(parents=True, exist_ok=True, mode=0o700)
        undo.callback(os.close, hold_group(folder, settings.group))
        secret = load_secret(settings.state_dir / "secret")
    except OSError as error:
        raise StateDirError(
            f"the state directory {settings.state_dir} cannot be used ({error.strerror}): "
            "make it writable, or name another with --state-dir"
        ) from error
    output = OutputFiles(
        folder / "output",
        ROTATE_BYTES,
        lambda sentence: logger.warning("output_lost", why=sentence),
    )
    return secret, output
