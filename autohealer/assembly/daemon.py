"""Put one daemon together and run it: what its groups share, and the groups themselves.

It starts things in the order in which they may fail without anything to undo, and takes them down in the reverse
order.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial

from structlog.typing import FilteringBoundLogger

from autohealer.assembly.agency import AGENT_SESSION_S
from autohealer.assembly.errors import PlatformError, StateDirError, WorkersFailed, ZooKeeperError
from autohealer.assembly.groups import Groups
from autohealer.assembly.keeper import end_task
from autohealer.assembly.reloading import Reloading
from autohealer.assembly.shared import Shared
from autohealer.assembly.signals import Reactions, brace, listen
from autohealer.assembly.unforeseen import Unforeseen
from autohealer.assembly.zookeeper import Choice, EmbeddedServers, choose
from autohealer.control.looks import Looks
from autohealer.control.requests import Commands
from autohealer.coordination.connections import Connections
from autohealer.coordination.granted import Granted
from autohealer.coordination.registry import Registry, RegistryForbidden
from autohealer.coordination.session import Session, SessionId, ZooKeeperUnreachable
from autohealer.daemon.neighbours import Neighbours
from autohealer.daemon.ports import Observer
from autohealer.processes.cgroup import why_not_enforced
from autohealer.processes.identity import boot_id, start_ticks
from autohealer.processes.limits import (
    raise_descriptor_limit,
    shortages,
    threads_are_to_be_had,
    workers_possible,
)
from autohealer.processes.platform import close_inherited_on_exec, missing_requirement
from autohealer.processes.reaper import Reaper
from autohealer.processes.sizes import Scales
from autohealer.settings import CONNECT_TIMEOUT_S, DaemonSettings
from autohealer.statedir.folders import StateDirUnusable
from autohealer.statedir.hold import Hold
from autohealer.statedir.lock import Holder
from autohealer.telemetry.systemd import SystemdNotifier

DAEMON_SESSION_TIMEOUT_S = 10.0
"""The daemon's own session owns nothing, so nobody waits for its end; a longer one means fewer pings."""

KEEPERS_PATIENCE_S = 1.0
"""How long a daemon that has found workers waits for ZooKeeper before it looks after them without."""

AS_FIRST_PROCESS = (
    "the daemon is the first process (PID 1) of its container: when it ends, the kernel ends everything in "
    "there, so it cannot leave workers running"
)

STRAYS_S = 2.0
"""How long the end waits for the last descendants of workers, which were killed, to be gone."""


def run_daemon(
    settings: DaemonSettings,
    logger: FilteringBoundLogger,
    observers: Sequence[Observer],
    redraw: Callable[[], None],
) -> None:
    """Keep the groups alive until told to stop; `redraw` is called when the terminal changed.

    Raises:
        PlatformError, StateDirError, ZooKeeperError, ZooKeeperUnreachable, AlreadyRunning: nothing was started.
        WorkersFailed: all ended, and not all well.
    """
    brace()
    if (missing := missing_requirement()) is not None:
        raise PlatformError(missing)
    close_inherited_on_exec()
    raise_descriptor_limit(settings.replicas)
    _tell_limits(settings.replicas, logger)
    asyncio.run(_run(settings, logger, observers, redraw))


def _tell_limits(replicas: int, logger: FilteringBoundLogger) -> None:
    """Say which limits are too low; where nothing could be kept at all, refuse. Raises `PlatformError`."""
    for sentence in shortages(replicas):
        if replicas and workers_possible() == 0:
            raise PlatformError(sentence)
        logger.warning("limit_too_low", why=sentence)
    if not threads_are_to_be_had():
        raise PlatformError(
            "no thread can be started: the limit of processes of this user or of its control group is used up; "
            "raise it (ulimit -u, or TasksMax= under systemd)"
        )


async def _run(
    settings: DaemonSettings,
    logger: FilteringBoundLogger,
    observers: Sequence[Observer],
    redraw: Callable[[], None],
) -> None:
    unforeseen = Unforeseen(logger)
    await unforeseen.guard(_keep(settings, logger, observers, redraw, unforeseen))


async def _keep(
    settings: DaemonSettings,
    logger: FilteringBoundLogger,
    observers: Sequence[Observer],
    redraw: Callable[[], None],
    unforeseen: Unforeseen,
) -> None:
    async with AsyncExitStack() as undo:
        holds = _prepare_state(settings, logger, undo)
        secret = holds[0].secret
        choice = await _chosen(settings, secret, logger)
        reaper = _reaper(undo)
        session, neighbours, registry = _store(choice, settings, logger)
        granted = Granted(session, lambda asked_s: _session(choice, settings, asked_s))
        shared = Shared(
            settings,
            session,
            neighbours,
            registry,
            Connections(session.client.hosts, speaks_tls=settings.credentials.tls is not None),
            granted,
            lambda resumes, said: _session(choice, settings, AGENT_SESSION_S, said, resumes),
            choice.connection,
            secret,
            reaper,
            logger,
            unforeseen,
            choice.user,
            Scales(unforeseen.start),
            Looks(unforeseen.start),
            _commands(lambda: (groups, reloading), logger),
        )
        groups = Groups(shared)
        for group, hold in zip(settings.groups, holds, strict=True):
            groups.add(group, hold)
        reloading = Reloading(settings, groups, partial(_hold, settings, logger), logger)
        _listen(settings, groups, reloading, unforeseen, redraw, logger)
        servers = EmbeddedServers(choice, settings, secret, reaper, logger)
        undo.push_async_callback(_end_servers, servers, groups, unforeseen)
        undo.push_async_callback(session.stop)
        undo.callback(registry.close)
        # Adoption first: whether there are workers decides what it means that ZooKeeper is not there.
        workers = groups.adopt(undo)
        session.subscribe(servers.store_changed)
        undo.push_async_callback(end_task, unforeseen.start(granted.watch()))
        await servers.start(workers=workers, patience_s=KEEPERS_PATIENCE_S)
        if await _connect(session, logger, workers):
            if not workers:
                await _be_admitted(registry)
            await groups.claim()
        notifier = SystemdNotifier(os.environ.get("NOTIFY_SOCKET"), lambda: groups.names)
        await groups.run((notifier, *observers))
        await _see_off(groups, reaper)


async def _see_off(groups: Groups, reaper: Reaper) -> None:
    """When all groups have ended. Raises `WorkersFailed`."""
    if not groups.leaves_workers:
        await reaper.end_strays(STRAYS_S)
    if groups.failed:
        raise WorkersFailed(f"all workers are done, and {groups.failed} of them failed")


def _reaper(undo: AsyncExitStack) -> Reaper:
    reaper = Reaper(asyncio.get_running_loop())
    reaper.start()
    undo.callback(reaper.close)
    return reaper


async def _chosen(settings: DaemonSettings, secret: bytes, logger: FilteringBoundLogger) -> Choice:
    """Which ZooKeeper; told, and for each group where it was not said: a Python, and who registers its workers."""
    choice = await choose(settings, secret)
    logger.info("zookeeper_chosen", address=choice.connection, why=choice.why)
    for group in settings.groups:
        launch = group.launch
        tell = logger if settings.config is None else logger.bind(group=group.name)
        if group.python_why:
            tell.info("python_chosen", python=launch.argv[0], why=group.python_why)
        if unenforced := why_not_enforced(launch.tree_limits):
            tell.warning("limits_not_enforced", why=unenforced)
        if group.registrar_why:
            who = launch.registrar.value
            tell.info("registrar_chosen", register=who, why=group.registrar_why)
    return choice


def _commands(
    kept: Callable[[], tuple[Groups, Reloading]], logger: FilteringBoundLogger
) -> Commands:
    """What may be asked of a daemon; `kept` is called when somebody asks."""
    return Commands(
        lambda: _detach(kept()[0], logger),
        lambda: _stop(kept()[0], logger),
        lambda only_tell: kept()[1].reload(only_tell),  # noqa: PLW0108 - nothing is kept yet
        lambda group, asked: kept()[0].operate(group, asked),  # noqa: PLW0108 - as before
    )


def _detach(groups: Groups, logger: FilteringBoundLogger) -> None:
    """End and leave the workers; not as the first process of a container, with which everything in it ends."""
    if os.getpid() == 1:
        logger.warning("detach_refused", why=AS_FIRST_PROCESS)
    else:
        groups.request_detach()


def _stop(groups: Groups, logger: FilteringBoundLogger) -> None:
    """Everything is to end, as somebody asked over a control socket; only a signal may ask twice."""
    if not groups.stop_is_asked:
        logger.info("stop_requested")
        groups.request_stop()


def _session(
    choice: Choice,
    settings: DaemonSettings,
    timeout_s: float,
    said: Callable[[str], None] | None = None,
    resumes: SessionId | None = None,
) -> Session:
    """A session that shows who we are, and on an embedded server believes its user alone."""
    session = Session(choice.connection, timeout_s, settings.credentials, said, resumes)
    if choice.user is not None:
        session.trust_only(choice.user)
    return session


def _store(
    choice: Choice, settings: DaemonSettings, logger: FilteringBoundLogger
) -> tuple[Session, Neighbours, Registry]:
    """What all groups have of ZooKeeper: a session, who hears of it, and the list of `/workers`."""
    session = _session(
        choice,
        settings,
        DAEMON_SESSION_TIMEOUT_S,
        lambda sentence: logger.warning("zookeeper_refuses", why=sentence),
    )
    neighbours = Neighbours()
    session.subscribe(neighbours.store_changed)
    registry = Registry(
        session,
        random.Random(),
        time.monotonic,
        lambda sentence: logger.warning("zookeeper_permissions", why=sentence),
    )
    return session, neighbours, registry


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


async def _be_admitted(registry: Registry) -> None:
    """Where nobody of ours could register there is nothing to begin with. Raises `ZooKeeperError`."""
    try:
        await registry.be_admitted(CONNECT_TIMEOUT_S)
    except RegistryForbidden as error:
        raise ZooKeeperError(str(error)) from error


async def _end_servers(servers: EmbeddedServers, groups: Groups, unforeseen: Unforeseen) -> None:
    """A server goes with the last worker; as long as workers run on, so does what they are registered with."""
    if groups.leaves_workers or unforeseen.has_happened:
        await servers.release()
    else:
        await servers.stop()


def _prepare_state(
    settings: DaemonSettings, logger: FilteringBoundLogger, undo: AsyncExitStack
) -> list[Hold]:
    """Make the folders, take the locks, read the secret: of every group or of none."""
    holds = []
    try:
        for group in settings.groups:
            hold = _hold(settings, logger, group.name)
            undo.callback(hold.close)
            holds.append(hold)
    except OSError as error:
        raise PlatformError(f"/proc cannot be read ({error.strerror})") from error
    except StateDirUnusable as error:
        raise StateDirError(str(error)) from error
    return holds


def _hold(settings: DaemonSettings, logger: FilteringBoundLogger, group: str) -> Hold:
    """Take one group. Raises `AlreadyRunning`, `StateDirUnusable`; `OSError` when /proc cannot be read."""
    pid = os.getpid()
    hold = Hold(settings.state_dir, group, Holder(pid, start_ticks(pid) or 0, boot_id()))
    if hold.nameless is not None:
        logger.warning("state_dir_unnamed", why=hold.nameless)
    return hold


def _listen(
    settings: DaemonSettings,
    groups: Groups,
    reloading: Reloading,
    unforeseen: Unforeseen,
    redraw: Callable[[], None],
    logger: FilteringBoundLogger,
) -> None:
    """React to signals; where there is a configuration HUP has it read again."""

    async def reload() -> None:
        await reloading.reload(only_tell=False)

    def start() -> None:
        unforeseen.start(reload())

    reactions = Reactions(groups.request_stop, redraw, logger, start if settings.config else None)
    listen(asyncio.get_running_loop(), reactions)
