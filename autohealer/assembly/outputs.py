"""Where the output of one group's workers goes: into files they hold themselves, through a log process, or nowhere.

Theory of operation. Files need nobody, and only their sizes are looked after here. Where more is wanted (times, several
older files, the journal, our own standard output), and where a program opens its output anew, which would empty a
file, workers write into pipes that a log process reads. It outlives the daemon and is taken over by the next one; one
that ended is launched anew and finds what was not written. One that was told other things is ended first, and so is
one that writes to an earlier daemon's standard output.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from autohealer.contract import adoption_token
from autohealer.logprocess.layout import PID_NOTE
from autohealer.outputspec import LAST_WORDS_BYTES, OutputSpec, OutputTo
from autohealer.processes.companion import Companion
from autohealer.processes.guise import account_of
from autohealer.processes.output import LOOK_SLOW_S, Nowhere, OutputFiles, Switched
from autohealer.processes.pipes import Pipes
from autohealer.processes.reaper import Reaper
from autohealer.processes.reopening import sign_of_reopening
from autohealer.settings import GroupSettings
from autohealer.statedir.files import open_private
from autohealer.workerlogs.destination import Destination, write_destination

AGAIN_S = 1.0
"""Until a log process that lived for less is launched again."""

BEGINS_S = 3.0
BEGINS_LOOKS = 100
"""How long one that was just launched has to begin, before it is told to end; it is looked for so often."""

_BY_NAME = "its output goes through a log process, lest that be emptied whenever it is opened anew"


def output_of(settings: GroupSettings) -> tuple[OutputSpec, str]:
    """What becomes of a group's output where it was not said, too; and why through a log process if nobody asked."""
    spec = settings.output
    if spec.to is None:
        spec = replace(spec, to=OutputTo.STDOUT if os.getpid() == 1 else OutputTo.FILE)
    if spec.needs_log_process or spec.to is OutputTo.NULL:
        return spec, ""
    launch = settings.launch
    sign = sign_of_reopening(launch.argv, Path(launch.directory))
    return spec, f"{sign}: {_BY_NAME}" if sign else ""


class GroupOutput:
    """`output` is what workers are given; used from the event loop's thread only."""

    def __init__(
        self,
        settings: GroupSettings,
        folder: Path,
        secret: bytes,
        reaper: Reaper,
        logger: FilteringBoundLogger,
        start: Callable[[Coroutine[object, object, None]], object],
    ) -> None:
        """`start` runs something in the background. Raises `OSError`, `UnknownUser`."""
        self._folder = folder
        self._secret = secret
        self._reaper = reaper
        self._logger = logger
        self._start = start
        self._has_started = False
        self._turn = asyncio.Lock()
        self._files: OutputFiles | None = None
        self._pipes: Pipes | None = None
        self._log: LogKeeper | None = None
        self._retired: list[LogKeeper] = []
        self._told: tuple[OutputSpec, str] | None = None
        self.output = Switched(Nowhere())
        self.change(settings)

    def change(self, settings: GroupSettings) -> None:
        """Those launched from now on write where these settings say."""
        told = output_of(settings)
        if told == self._told:
            return
        self._told = spec, why = told
        is_stamped = spec.timestamps and spec.to is OutputTo.FILE
        write_destination(self._folder, Destination(spec.to or OutputTo.FILE, is_stamped))
        if why:
            self._logger.info("output_piped", why=why)
        if why or spec.needs_log_process:
            self._use_pipes(spec, settings)
            return
        self._give_up_pipes()
        if spec.to is OutputTo.NULL:
            self._files = None
            self.output.current = Nowhere()
        elif self._files is None:
            self._files = OutputFiles(
                self._folder, spec.max_bytes, self._warn, keeps_older=spec.keep > 0
            )
            self.output.current = self._files
        else:
            self._files.limit(spec.max_bytes, keeps_older=spec.keep > 0)

    def _use_pipes(self, spec: OutputSpec, settings: GroupSettings) -> None:
        self._files = None
        if self._pipes is None:
            account = account_of(settings.launch.user, settings.launch.group)
            self._pipes = Pipes(
                self._folder,
                is_stamped=spec.timestamps,
                owner=None if account is None else account.uid,
                warn=self._warn,
            )
            self.output.current = self._pipes
        self._pipes.stamp(is_stamped=spec.timestamps)
        before, self._log = (
            self._log,
            LogKeeper(spec, settings.name, self._folder, self._secret, self._reaper, self._logger),
        )
        if self._has_started:
            self._start(self._exchange(before, self._log))

    def _give_up_pipes(self) -> None:
        """Who has one writes on into it; the log process ends with the last of them."""
        if self._pipes is not None:
            self._pipes.close()
            self._pipes = None
        if self._log is not None:
            self._log.retire()
            self._retired.append(self._log)
            self._log = None

    async def _exchange(self, before: LogKeeper | None, log: LogKeeper) -> None:
        async with self._turn:
            if before is not None:
                await before.end(leave=False)
            await log.start()

    def _warn(self, sentence: str) -> None:
        self._logger.warning("output_lost", why=sentence)

    async def start(self) -> None:
        """Before anybody is launched."""
        self._has_started = True
        if self._log is not None:
            await self._exchange(None, self._log)

    async def run(self) -> None:
        """Keep files small, for ever."""
        while True:
            wait_s = LOOK_SLOW_S
            if (files := self._files) is not None:
                with suppress(
                    RuntimeError
                ):  # no thread can be started now; the next look tries again
                    await asyncio.to_thread(files.rotate)
                wait_s = files.seconds_to_next_look()
            await asyncio.sleep(wait_s)

    async def end(self, *, leave: bool) -> None:
        """When all have ended; or `leave` the log process to those who run on."""
        async with self._turn:
            for log in self._retired if self._log is None else [*self._retired, self._log]:
                await log.end(leave=leave)
        if self._pipes is not None:
            self._pipes.close()


class LogKeeper:
    """Keeps a group's log process alive."""

    def __init__(
        self,
        spec: OutputSpec,
        group: str,
        folder: Path,
        secret: bytes,
        reaper: Reaper,
        logger: FilteringBoundLogger,
    ) -> None:
        self._to = spec.to
        self._logger = logger
        self._folder = folder
        self._is_ending = False
        self._again: asyncio.TimerHandle | None = None
        self._process = Companion(
            argv=_command(spec, group, folder),
            environment=os.environ,
            token=adoption_token(secret, f"logprocess:{group}"),
            pid_note=folder / PID_NOTE,
            reaper=reaper,
            on_end=self._ended,
        )

    async def start(self) -> None:
        """Take over the one that there is, or launch one."""
        with suppress(
            OSError
        ):  # who could not be found ends by itself, when nobody writes any more
            self._process.adopt(await asyncio.to_thread(self._process.find))
        if self._process.pid is not None and not self._may_stay():
            await self.end(leave=False)
            self._is_ending = False
        if self._process.pid is None:
            self._launch()

    def _may_stay(self) -> bool:
        return self._process.is_as_told and self._to is not OutputTo.STDOUT

    def retire(self) -> None:
        """It ends by itself once nobody is left who writes, and is not launched again."""
        self._is_ending = True

    async def end(self, *, leave: bool) -> None:
        """Have it write what is left and end, or leave it."""
        self._is_ending = True
        if self._again is not None:
            self._again.cancel()
        if leave:
            self._process.release()
        else:
            await self._begun()
            await self._process.stop()

    async def _begun(self) -> None:
        """Return once it can be told to end, or after a while."""
        for _ in range(BEGINS_LOOKS):
            if self._process.pid is None or self._process.is_noted:
                return
            await asyncio.sleep(BEGINS_S / BEGINS_LOOKS)

    def _launch(self) -> None:
        self._again = None
        try:
            self._process.launch(self._descriptor())
        except OSError as error:
            self._logger.warning("log_process_not_started", why=error.strerror)
            self._launch_later()

    def _launch_later(self) -> None:
        self._again = asyncio.get_running_loop().call_later(AGAIN_S, self._launch)

    def _descriptor(self) -> int:
        """What it gets for its standard output and error. Raises `OSError`."""
        if self._to is OutputTo.STDOUT:
            return os.dup(1)
        return open_private(self._folder / "log.err", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def _ended(self, pid: int, lived_s: float) -> None:
        if self._is_ending:
            return
        self._logger.warning("log_process_ended", pid=pid, then="launched again")
        if lived_s < AGAIN_S:
            self._launch_later()
        else:
            self._launch()


def _command(spec: OutputSpec, group: str, folder: Path) -> tuple[str, ...]:
    to = spec.to or OutputTo.FILE
    is_kept = to is OutputTo.FILE
    return (
        # -P: what lies in the working directory is none of its modules.
        *(sys.executable, "-P", "-m", "autohealer.logprocess", str(folder)),
        *("--max-bytes", str(spec.max_bytes if is_kept else LAST_WORDS_BYTES)),
        *("--keep", str(spec.keep if is_kept else 1)),
        *("--to", to.value, "--group", group),
        *(("--timestamps",) if spec.timestamps else ()),
    )
