"""Put one daemon together and run it.

It makes the one clock, the one random generator and the one mailbox, starts things in the order in which
they may fail without anything to undo, and takes them down in the reverse order.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from importlib.metadata import version

from structlog.typing import FilteringBoundLogger

from autohealer.assembly.errors import PlatformError, StateDirError
from autohealer.assembly.zookeeper import Choice, EmbeddedServer, choose
from autohealer.contract import ENV_SESSION_TIMEOUT_S, ENV_ZOOKEEPER
from autohealer.control.records import StatusRecord
from autohealer.control.server import ControlServer
from autohealer.control.status import About, Health, status_of
from autohealer.coordination.registry import Registry
from autohealer.coordination.session import Session, ZooKeeperUnreachable
from autohealer.core.actions import Plan
from autohealer.core.events import DetachRequested, Event, ReplicasSet, StopRequested
from autohealer.core.model import Budget, Store, View
from autohealer.daemon.executor import Executor
from autohealer.daemon.loop import Loop
from autohealer.daemon.mailbox import Mailbox
from autohealer.daemon.ports import Observer
from autohealer.processes import vitals
from autohealer.processes.cgroup import WorkerCgroups
from autohealer.processes.identity import load_secret
from autohealer.processes.local import LocalProcesses
from autohealer.processes.lock import hold_group
from autohealer.processes.output import OutputFiles
from autohealer.processes.platform import (
    close_inherited_on_exec,
    missing_requirement,
    raise_descriptor_limit,
)
from autohealer.processes.reaper import Reaper
from autohealer.settings import (
    CONNECT_TIMEOUT_S,
    HISTORY_BYTES,
    ROTATE_BYTES,
    Settings,
)
from autohealer.telemetry.history import History
from autohealer.telemetry.narrator import Narrator
from autohealer.telemetry.systemd import SystemdNotifier, watchdog_heartbeat_s

DESCRIPTORS_BASE = 256
DESCRIPTORS_PER_WORKER = 2
"""A pidfd each, and as many again while trees are being ended or output is opened."""

DAEMON_SESSION_TIMEOUT_S = 10.0
"""The daemon's own session owns nothing, so nobody waits for its end; a longer one means fewer pings."""

KEEPERS_PATIENCE_S = 1.0
"""How long a daemon that has found workers waits for ZooKeeper before it looks after them without."""

FLUSH_S = 2.0
"""How long the end waits for the registrations of killed workers to be deleted."""


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
    asyncio.get_running_loop().set_exception_handler(
        lambda _loop, context: logger.error("internal_error", what=str(context))
    )
    async with AsyncExitStack() as undo:
        secret, output = _prepare_state(settings, logger, undo)
        choice = choose(settings.target)
        logger.info("zookeeper_chosen", address=choice.connection, why=choice.why)
        reaper = Reaper(asyncio.get_running_loop())
        reaper.start()
        undo.callback(reaper.close)
        daemon = _Daemon(settings, choice, secret, output, reaper, logger)
        daemon.listen_to_signals(undo)
        if choice.embedded_port is not None:
            embedded = EmbeddedServer(
                choice.embedded_port, settings.state_dir, secret, reaper, logger
            )
            undo.push_async_callback(_end_server, embedded, daemon)
            await embedded.start()
            daemon.subscribe(embedded.store_changed)
        await daemon.run(observers)


async def _end_server(embedded: EmbeddedServer, daemon: _Daemon) -> None:
    """The server goes with the last worker; as long as workers run on, so does what they are registered with."""
    if daemon.leaves_workers:
        embedded.release()
    else:
        await embedded.stop()


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


# --- the daemon -------------------------------------------------------------------------------


class _Daemon:
    """Everything between a connected store and its end."""

    def __init__(
        self,
        settings: Settings,
        choice: Choice,
        secret: bytes,
        output: OutputFiles,
        reaper: Reaper,
        logger: FilteringBoundLogger,
    ) -> None:
        self._settings = settings
        self._choice = choice
        self._output = output
        self._logger = logger
        self._holds: tuple[str, ...] = ()
        self._is_blind = False
        policy = settings.policy()
        self._view = View(
            policy=policy,
            budget=Budget(tokens=float(policy.budget_burst)),
            # Microseconds since the epoch: no generation is given out twice, whatever was lost or wiped.
            generation_base=time.time_ns() // 1000,
            now=time.monotonic(),
        )
        self._mailbox = Mailbox()
        rng = random.Random()
        post = self._mailbox.put
        self._session = Session(choice.connection, DAEMON_SESSION_TIMEOUT_S, post)
        self._registry = Registry(self._session, settings.group, post, rng, time.monotonic)
        self._processes = LocalProcesses(
            settings.argv,
            _worker_environment(os.environ, choice, settings),
            settings.group,
            secret,
            output,
            reaper,
            post,
            rng,
            WorkerCgroups.find(),
        )
        self._history = History(
            settings.group_dir,
            HISTORY_BYTES,
            self._last_output,
            lambda sentence: logger.warning("history_lost", why=sentence),
        )
        self._executor = Executor(self._processes, self._registry, post, rng)

    @property
    def leaves_workers(self) -> bool:
        """Whether workers may outlive this daemon now: it was detached, or it failed."""
        return self._is_blind or bool(self._view.key_of)

    def subscribe(self, listener: Callable[[Store], None]) -> None:
        """Call `listener` at every change of the daemon's own session."""
        self._session.subscribe(listener)

    async def run(self, observers: Sequence[Observer]) -> None:
        """Until everything is gone, as asked. Raises `ZooKeeperUnreachable` before anything is started."""
        async with AsyncExitStack() as undo:
            self._mailbox.put(ReplicasSet(self._settings.replicas))
            undo.push_async_callback(self._session.stop)
            undo.callback(self._registry.close)
            undo.callback(self._processes.release)
            undo.callback(self._executor.cancel)
            await self._connect(workers=self._adopt())
            undo.push_async_callback(self._registry.flush, FLUSH_S)
            background = [
                asyncio.ensure_future(self._serve_control()),
                asyncio.ensure_future(self._rotate_output()),
            ]
            undo.push_async_callback(_cancel, background)
            await self._loop(observers).run()

    async def _connect(self, workers: int) -> None:
        """Connect; workers that are there already are kept alive without a store until there is one."""
        try:
            await self._session.start(KEEPERS_PATIENCE_S if workers else CONNECT_TIMEOUT_S)
        except ZooKeeperUnreachable as error:
            if not workers:
                raise
            self._logger.warning("zookeeper_unreachable", why=str(error), workers_kept=workers)

    def _adopt(self) -> int:
        """How many workers of an earlier daemon live."""
        try:
            return self._processes.adopt_all()
        except OSError as error:
            self._is_blind = True
            raise PlatformError(
                f"it cannot be told which workers of an earlier daemon live ({error.strerror}), and launching now "
                "might double them: try again when the machine is less short of descriptors or memory"
            ) from error

    def _loop(self, observers: Sequence[Observer]) -> Loop:
        return Loop(
            view=self._view,
            mailbox=self._mailbox,
            executor=self._executor,
            clock=time.monotonic,
            observers=(
                Narrator(self._logger, self._last_output),
                self._history,
                self._remember_holds,
                SystemdNotifier(os.environ.get("NOTIFY_SOCKET")),
                *observers,
            ),
            heartbeat_s=watchdog_heartbeat_s(os.environ),
        )

    def listen_to_signals(self, undo: AsyncExitStack) -> None:
        """From now on a signal is a stop request, even while things are still being started."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._mailbox.put, StopRequested())
            undo.callback(loop.remove_signal_handler, number)

    def _last_output(self, slot: int) -> list[str]:
        return self._processes.last_output.get(slot, [])

    def _remember_holds(self, _facts: Sequence[Event], plan: Plan, _view: View) -> None:
        self._holds = plan.holds

    async def _serve_control(self) -> None:
        server = ControlServer(
            self._settings.group_dir, self._status, lambda: self._mailbox.put(DetachRequested())
        )
        try:
            await server.start()
        except OSError as error:
            # Healing matters more than being asked about it.
            self._logger.warning("control_socket_failed", why=str(error))
            return
        try:
            await asyncio.Event().wait()
        finally:
            await server.stop()

    async def _rotate_output(self) -> None:
        while True:
            grown = self._output.find_grown()
            if grown:
                with suppress(
                    RuntimeError
                ):  # no thread can be started now; the next look tries again
                    await asyncio.to_thread(self._output.cut, grown)
            await asyncio.sleep(self._output.seconds_to_next_look())

    def _status(self) -> StatusRecord:
        about = About(
            self._settings.group, os.getpid(), version("autohealer"), self._choice.connection
        )
        return status_of(about, self._view, time.monotonic(), self._holds, _examine)


def _examine(pid: int) -> Health | None:
    found = vitals.sample(pid)
    return None if found is None else Health(found.state, found.rss_bytes, found.cpu_s)


def _worker_environment(
    inherited: Mapping[str, str], choice: Choice, settings: Settings
) -> dict[str, str]:
    return dict(inherited) | {
        ENV_ZOOKEEPER: choice.connection,
        ENV_SESSION_TIMEOUT_S: f"{settings.session_timeout_s:g}",
    }


async def _cancel(tasks: Sequence[asyncio.Future[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
