"""Read the configuration again and keep what it says now, or tell what that would change.

Theory of operation. A reload is one of three: it comes to nothing because of mistakes in the file, because a lock
cannot be had, or because the machine is short of what it takes to look for workers of new groups, and then nothing has
changed; it only tells; or it is done whole. Reloads wait for each other, so each
is compared with what the one before left. The file is read on a thread, because the loop heals meanwhile.

What the groups share (which ZooKeeper, who we are to it) stays as it was at the start; that it differs is told.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from autohealer.assembly.errors import PlatformError
from autohealer.assembly.groups import Groups
from autohealer.config import ConfigError
from autohealer.config.plan import ReloadPlan, plan_of
from autohealer.control.records import ReloadRecord
from autohealer.processes.limits import is_short_of_descriptors, raise_descriptor_limit
from autohealer.settings import DaemonSettings, GroupSettings
from autohealer.statedir.folders import StateDirUnusable
from autohealer.statedir.hold import Hold
from autohealer.statedir.lock import AlreadyRunning

NO_FILE = (
    "this daemon was started with a command line and has no configuration to read again: "
    "detach it and start it with other options, or keep its group in a file with `autohealer up`"
)
NO_THREAD = "no thread can be started now to read the configuration: try again"

NO_DESCRIPTORS = (
    "too few open files are left for new groups: raise the limit (ulimit -n, or LimitNOFILE= under systemd) and start "
    "the daemon again after `autohealer detach`, or take groups out first"
)


class Reloading:
    """Used from the event loop's thread only."""

    def __init__(
        self,
        settings: DaemonSettings,
        groups: Groups,
        hold: Callable[[str], Hold],
        logger: FilteringBoundLogger,
    ) -> None:
        """`hold` takes a group's folder and lock, as at the start."""
        self._settings = settings
        self._groups = groups
        self._hold = hold
        self._logger = logger
        self._turn = asyncio.Lock()

    async def reload(self, only_tell: bool) -> ReloadRecord:  # noqa: FBT001 - a command has one argument
        """Do it, or only tell what would be done."""
        async with self._turn:
            try:
                record = await self._reloaded(only_tell=only_tell)
            except ConfigError as error:
                record = ReloadRecord(refusal=str(error), mistakes=error.count)
            except (AlreadyRunning, PlatformError, StateDirUnusable) as error:
                record = ReloadRecord(refusal=str(error))
        if not only_tell:
            self._tell(record)
        return record

    async def _reloaded(self, *, only_tell: bool) -> ReloadRecord:
        """Raises `ConfigError`, `AlreadyRunning`, `PlatformError`, `StateDirUnusable`: nothing was changed."""
        if self._settings.config is None:
            return ReloadRecord(refusal=NO_FILE)
        try:
            wanted = await asyncio.to_thread(
                _read, self._settings.config, os.environ, self._settings.state_dir
            )
        except RuntimeError:
            return ReloadRecord(refusal=NO_THREAD)
        plan = plan_of(self._settings, wanted, self._groups.sizes)
        if self._groups.stop_is_asked:
            return ReloadRecord(refusal="the daemon is stopping: nothing is changed any more")
        for group in plan.new:
            if self._groups.is_leaving(group.name):
                sentence = (
                    f"group {group.name!r} is still being stopped: reload again when it is gone"
                )
                return ReloadRecord(refusal=sentence)
        if not only_tell:
            self._carry_out(plan, wanted)
        return ReloadRecord(tuple(plan.lines(is_done=not only_tell)))

    def _carry_out(self, plan: ReloadPlan, wanted: DaemonSettings) -> None:
        raise_descriptor_limit(wanted.replicas)
        if is_short_of_descriptors(len(plan.new)):
            raise PlatformError(NO_DESCRIPTORS)
        self._groups.change(plan.changed, self._held(plan.new), plan.removed)
        self._settings = replace(self._settings, groups=wanted.groups)

    def _held(self, new: Sequence[GroupSettings]) -> list[tuple[GroupSettings, Hold]]:
        """Each with its lock; without one of them with none.

        Raises `AlreadyRunning`, `PlatformError`, `StateDirUnusable`.
        """
        with ExitStack() as undo:
            holds = []
            for group in new:
                hold = self._taken(group.name)
                undo.callback(hold.give_up)
                holds.append((group, hold))
            undo.pop_all()
        return holds

    def _taken(self, group: str) -> Hold:
        try:
            return self._hold(group)
        except OSError as error:
            raise PlatformError(
                f"group {group!r} cannot be taken, for /proc cannot be read ({error.strerror}): reload again when the "
                "machine is less short of descriptors or memory"
            ) from error

    def _tell(self, record: ReloadRecord) -> None:
        if record.refusal:
            self._logger.error(
                "configuration_refused", why=record.refusal, then="everything is kept as it was"
            )
        else:
            self._logger.info("configuration_reloaded", changes=record.lines)


def _read(config: Path, environ: Mapping[str, str], state_dir: Path) -> DaemonSettings:
    """On a thread, which imports what it takes when it is first needed. Raises `ConfigError`."""
    from autohealer.config import read

    return read(config, environ, state_dir)
