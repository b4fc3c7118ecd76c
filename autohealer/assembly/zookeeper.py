"""Which ZooKeeper this daemon uses, and the embedded servers it answers for.

Theory of operation. Which one is decided before anything is adopted, and never fails: an address that was given is
used; `auto` goes where living workers of the groups are registered, else it looks at what listens. Whether it is there
is a later question, asked when it is known whether workers depend on it: with none, an embedded server that cannot be
had ends the start with a sentence; with some, they are kept, it is said, and it goes on being tried.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from autohealer.assembly.errors import ZooKeeperError
from autohealer.contract import adoption_token
from autohealer.core.model import Store
from autohealer.embedded.decider import obstacle
from autohealer.embedded.facts import Event, Listener, Say
from autohealer.embedded.folder import ServerFolder, ports_in
from autohealer.embedded.keeper import EmbeddedServer, ServerUnavailable
from autohealer.embedded.leftovers import Leftovers
from autohealer.embedded.probe import LOOPBACK, Seen, who_listens
from autohealer.processes.companion import Companion
from autohealer.processes.reaper import Reaper
from autohealer.processes.stores import zookeepers_of_workers
from autohealer.settings import (
    AutoTarget,
    DaemonSettings,
    EmbeddedTarget,
    EnsembleTarget,
    SettingsError,
    parse_target,
)
from autohealer.statedir.files import open_private

NOTE_BYTES_MAX = 4096

SPARE_FILES = 64
"""What the embedded server has open, or may need, beside its connections."""

_QUIET = frozenset(
    {Event.OUTDATED, Event.STARTED, Event.ADOPTED, Event.ANSWERS, Event.LEFT, Event.ENDED}
)
_LOUD = frozenset({Event.HANGS, Event.OBSTRUCTED})


@dataclass(frozen=True, slots=True)
class Choice:
    """Which ZooKeeper is used, and why; `embedded_port` is set where it is an embedded one.

    `user` is whose it must be, besides root's, where it was not named by the operator: what is found is not trusted.
    """

    connection: str
    why: str
    embedded_port: int | None = None
    user: int | None = None


# --- which one --------------------------------------------------------------------------------


async def choose(settings: DaemonSettings, secret: bytes) -> Choice:
    """Decide which ZooKeeper to use, and note it for the next daemon."""
    match settings.target:
        case EnsembleTarget(connection):
            choice = Choice(connection, "as told by --zookeeper or AUTOHEALER_ZOOKEEPER")
        case EmbeddedTarget(port):
            choice = _of_ours(_embedded(port, (await _look_at(port)).listener, nobody="as told"))
        case AutoTarget():
            choice = _of_ours(await _choose_by_looking(settings, secret))
    for group in settings.groups:
        _note(settings.folder_of(group), choice)
    return choice


async def _choose_by_looking(settings: DaemonSettings, secret: bytes) -> Choice:
    told = await _told_to_workers([group.name for group in settings.groups], secret)
    target = EmbeddedTarget() if told is None else _earlier_target(settings, told)
    if isinstance(target, EmbeddedTarget):
        listener = (await _look_at(target.port)).listener
        if listener is Listener.ZOOKEEPER:
            return Choice(f"{LOOPBACK}:{target.port}", "a ZooKeeper answers there (auto)")
        if told is None:
            return _embedded(target.port, listener, f"nothing answers on {LOOPBACK}:{target.port}")
        why = "embedded server: workers of an earlier daemon are registered there"
        return Choice(told, why, embedded_port=target.port)
    assert told is not None
    return Choice(told, await _why_there(told))


def _of_ours(choice: Choice) -> Choice:
    return replace(choice, user=os.geteuid())


async def _why_there(told: str) -> str:
    """Why workers' own address is used, and what keeps it from being trusted."""
    why = "workers of an earlier daemon are registered there (auto)"
    host, _, port = told.partition(":")
    seen = await _look_at(int(port)) if host == LOOPBACK and port.isdecimal() else None
    if seen is not None and seen.listener is Listener.FOREIGN:
        return f"{why}; but {obstacle(int(port), seen.listener, seen.why)}"
    return why


def _embedded(port: int, listener: Listener, nobody: str) -> Choice:
    match listener:
        case Listener.EMBEDDED:
            why = "an embedded server already runs there"
        case Listener.NOBODY:
            why = f"embedded server: {nobody}"
        case _:
            why = "embedded server: as told" if nobody == "as told" else "embedded server (auto)"
    return Choice(f"{LOOPBACK}:{port}", why, embedded_port=port)


async def _look_at(port: int) -> Seen:
    try:
        return await who_listens(port)
    except OSError as error:
        return Seen(Listener.UNSEEN, str(error))


async def _told_to_workers(groups: Sequence[str], secret: bytes) -> str | None:
    """The ZooKeeper most living workers of the groups were told of; None when there are none to be seen."""
    with suppress(OSError, RuntimeError):  # adoption will say what cannot be looked at
        found = await asyncio.to_thread(zookeepers_of_workers, groups, secret)
        return found.most_common(1)[0][0] if found else None
    return None


def _earlier_target(settings: DaemonSettings, told: str) -> EmbeddedTarget | EnsembleTarget:
    """What is behind an address: as noted by the daemon that chose it, else as the state directory suggests."""
    notes = [_read_note(settings.folder_of(group)) for group in settings.groups]
    for noted in notes:
        if isinstance(noted, EmbeddedTarget) and told == f"{LOOPBACK}:{noted.port}":
            return noted
    if EnsembleTarget(told) not in notes:
        for port in ports_in(settings.state_dir):
            if told == f"{LOOPBACK}:{port}":
                return EmbeddedTarget(port)
    return EnsembleTarget(told)


def _note(folder: Path, choice: Choice) -> None:
    """In the words of `--zookeeper`. A full disk costs the note, and then the state directory is asked."""
    port = choice.embedded_port
    text = choice.connection if port is None else f"embedded:{port}"
    draft = folder / f"zookeeper.{os.getpid()}"
    with suppress(OSError):
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            with os.fdopen(open_private(draft, flags), "w", encoding="utf-8") as note:
                note.write(f"{text}\n")
            draft.rename(folder / "zookeeper")
        except OSError:
            draft.unlink()
            raise


def _read_note(folder: Path) -> EmbeddedTarget | EnsembleTarget | None:
    try:
        with (folder / "zookeeper").open(encoding="utf-8", errors="replace") as note:
            target = parse_target(note.read(NOTE_BYTES_MAX).strip())
    except (OSError, SettingsError):
        return None
    return None if isinstance(target, AutoTarget) else target


# --- the embedded ones ------------------------------------------------------------------------


class EmbeddedServers:
    """The one in use, if it is embedded, and what earlier daemons left on other ports."""

    def __init__(
        self,
        choice: Choice,
        settings: DaemonSettings,
        secret: bytes,
        reaper: Reaper,
        logger: FilteringBoundLogger,
    ) -> None:
        self._port = choice.embedded_port
        self._state_dir = settings.state_dir
        self._replicas = settings.replicas
        self._logger = logger
        make = partial(_make_process, secret, reaper, settings.zookeeper_open)
        say = partial(_say, logger)
        self._leftovers = Leftovers(make, say)
        self._server = (
            None
            if self._port is None
            else EmbeddedServer(
                ServerFolder(self._state_dir, self._port), make, partial(say, self._port)
            )
        )

    async def start(self, *, workers: int, patience_s: float) -> None:
        """Return when the one in use answers; with workers, after `patience_s` at the latest.

        What will not do for so many workers is told.

        Raises:
            ZooKeeperError: it cannot be had, and nobody depends on it.
        """
        await self._leftovers.start(self._state_dir, self._port)
        if self._server is None:
            return
        if sentence := too_few_files(self._replicas, resource.getrlimit(resource.RLIMIT_NOFILE)[1]):
            self._logger.warning("limit_too_low", why=sentence)
        try:
            await self._server.start(may_give_up=not workers, patience_s=patience_s)
        except ServerUnavailable as error:
            raise ZooKeeperError(str(error)) from error

    def store_changed(self, store: Store) -> None:
        """The daemon's own session tells whether a server is there at all."""
        if self._server is not None:
            self._server.session_changed(is_connected=store is Store.CONNECTED)

    async def stop(self) -> None:
        """End those that are ours."""
        if self._server is not None:
            await self._server.stop()
        await self._leftovers.stop()

    async def release(self) -> None:
        """Leave them for the next daemon."""
        if self._server is not None:
            await self._server.release()
        await self._leftovers.release()


def too_few_files(replicas: int, limit: int) -> str:
    """A sentence if the hard limit of open files keeps the embedded server from serving so many workers."""
    possible = limit - SPARE_FILES
    if limit == resource.RLIM_INFINITY or possible > replicas:
        return ""
    return (
        f"the hard limit of open files, {limit}, lets the embedded ZooKeeper server take {max(0, possible)} "
        f"connections, too few for {replicas} workers and this daemon: raise it (ulimit -Hn, or LimitNOFILE= under "
        "systemd), or use an Apache ZooKeeper with --zookeeper HOST:PORT"
    )


def _make_process(
    secret: bytes,
    reaper: Reaper,
    is_open: bool,  # noqa: FBT001 - bound in advance
    folder: ServerFolder,
    on_end: Callable[[int, float], None],
) -> Companion:
    return Companion(
        argv=(
            # -P: what lies in the working directory is none of its modules.
            *(sys.executable, "-P", "-m", "autohealer.zkserver"),
            *("--port", str(folder.port), "--data-dir", str(folder.data)),
            *("--log", str(folder.log)),
            *(("--open-to-all",) if is_open else ()),
        ),
        environment=os.environ,
        token=adoption_token(secret, f"zkserver:{folder.port}"),
        pid_note=folder.pid_note,
        reaper=reaper,
        on_end=on_end,
    )


def _say(logger: FilteringBoundLogger, port: int, say: Say) -> None:
    told: dict[str, object] = {"port": port}
    if say.pid is not None:
        told["pid"] = say.pid
    if say.why:
        told["said" if say.event is Event.DIED else "why"] = say.why
    if say.event in _LOUD:
        logger.error(say.event.value, **told)
    elif say.event in _QUIET:
        logger.info(say.event.value, **told)
    else:
        logger.warning(say.event.value, **told)
