"""One group's keeper: its view, mailbox, loop and executor, and the adapters that serve this group alone.

What all groups of a daemon share (the ZooKeeper session, the reaper, the secret) is made by `daemon` and handed in;
nothing here knows of another group.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import replace
from functools import partial

from autohealer.assembly.agency import FLUSH_S
from autohealer.assembly.answer import answer
from autohealer.assembly.binder import GroupBinder
from autohealer.assembly.claiming import claimed
from autohealer.assembly.completed import Completed
from autohealer.assembly.errors import PlatformError
from autohealer.assembly.health import HealthCare
from autohealer.assembly.notes import told_of_clipped
from autohealer.assembly.operating import Levers, Operating
from autohealer.assembly.outputs import GroupOutput
from autohealer.assembly.provision import (
    first_view,
    python_behind,
    worker_environment,
)
from autohealer.assembly.scaling import Size
from autohealer.assembly.serving import agency_of, binder_of, claim_of
from autohealer.assembly.shared import Shared
from autohealer.control.records import StatusRecord
from autohealer.control.server import ControlServer
from autohealer.control.status import Remarks
from autohealer.coordination.addresses import Addresses
from autohealer.coordination.turned_away import PATIENCE_S, TurnedAway
from autohealer.core.actions import Plan
from autohealer.core.events import (
    DetachRequested,
    Event,
    SessionTimeoutGranted,
    SpecSet,
    StopRequested,
)
from autohealer.core.model import View
from autohealer.core.policy import Policy
from autohealer.daemon.executor import Executor
from autohealer.daemon.loop import Loop
from autohealer.daemon.mailbox import Mailbox
from autohealer.daemon.ports import Observer
from autohealer.processes.cgroup import WorkerCgroups, why_not_enforced
from autohealer.processes.hints import hint_of
from autohealer.processes.ledger import Ledger
from autohealer.processes.local import LocalProcesses
from autohealer.processes.platform import inherited_environment
from autohealer.processes.processors import Processors
from autohealer.settings import (
    HISTORY_BYTES,
    GroupSettings,
    rejoin_grace_s,
    settle_s,
)
from autohealer.statedir.hold import Hold
from autohealer.telemetry.history import History
from autohealer.telemetry.narrator import Narrator
from autohealer.telemetry.systemd import watchdog_heartbeat_s

A_MILLISECOND_S = 0.001
"""What ZooKeeper counts session timeouts in."""


class Keeper:
    """Keeps one group alive until told to stop."""

    def __init__(self, settings: GroupSettings, shared: Shared, hold: Hold) -> None:
        self._settings = settings
        self._hold = hold
        self._shared = shared
        self._outputs = GroupOutput(
            settings,
            hold.folder / "output",
            shared.secret,
            shared.reaper,
            shared.logger,
            shared.unforeseen.start,
        )
        self._holds: tuple[str, ...] = ()
        self._adopted = 0
        self._has_run = self._is_blind = False
        self._began_at = time.monotonic()
        self._processors = Processors()
        self._view = first_view(settings, shared.neighbours.room, self._processors.cores)
        self._mailbox = Mailbox()
        self.post = self._mailbox.put
        self._processes = self._open_processes()
        self._health = HealthCare(settings, self._processes, shared, self.post, hold.folder)
        self._agency = agency_of(settings, shared, hold.folder)
        self._history = self._open_history()
        self._completed = Completed(
            hold.folder,
            settings.launch.revision,
            lambda sentence: shared.logger.warning("done_not_noted", why=sentence),
        )
        self._operating = self._open_operating()
        self.change = self._operating.change
        self._claim = claim_of(settings, shared)
        self._python = python_behind(settings.launch.argv)
        self._clipped = self._waits = ""
        self._granted_s: float | None = None
        self._agents_work: asyncio.Task[None] | None = None
        self._turned_away = self._open_turned_away()
        # Nothing may fail from here on: others hear of this group.
        shared.neighbours.join(settings.name, self._mailbox)
        self._registry = shared.registry.subscribe(settings.name, self.post)
        self._addresses = Addresses(shared.registry, settings.name)
        self._binder = self._find_binder()
        self._executor = Executor(
            self._processes,
            self._registry,
            self.post,
            self._mailbox.fail,
            None if self._agency is None else self._agency.agent,
            self._binder,
        )

    def _open_processes(self) -> LocalProcesses:
        settings, shared = self._settings, self._shared
        return LocalProcesses(
            settings.launch,
            self._environment(),
            settings.name,
            shared.secret,
            self._outputs.output,
            Ledger(
                self._hold.folder,
                lambda sentence: shared.logger.warning("ledger_lost", why=sentence),
            ),
            shared.reaper,
            self.post,
            random.Random(),
            WorkerCgroups.find(settings.name),
            settings.stop_signal,
        )

    def _environment(self) -> dict[str, str]:
        return worker_environment(
            inherited_environment(),
            self._settings,
            self._shared.connection,
            self._shared.user,
            self._shared.settings.credentials,
        )

    def _find_binder(self) -> GroupBinder | None:
        return binder_of(
            self._settings, self._shared, self._hold.folder, self._registry, self._processes
        )

    def _open_turned_away(self) -> TurnedAway:
        return TurnedAway(
            self._shared.session.client.hosts,
            self._shared.unforeseen.start,
            self._tell_turned_away,
            min(PATIENCE_S, self._settings.registration_timeout_s / 4),
        )

    def _open_operating(self) -> Operating:
        leader_of, note = self._processes.leader_of, self._history.note
        levers = Levers(self.post, leader_of, note, self._shared.logger)
        return Operating(self._hold.folder, self._view, self._settings.replicas, levers)

    def _open_history(self) -> History:
        return History(
            self._hold.folder,
            HISTORY_BYTES,
            self._last_output,
            self._hint,
            lambda sentence: self._shared.logger.warning("history_lost", why=sentence),
        )

    @property
    def leaves_workers(self) -> bool:
        """Whether workers may outlive this daemon now: it was detached, refused, or it failed."""
        return self._is_blind or bool(self._view.key_of if self._has_run else self._adopted)

    @property
    def has_run(self) -> bool:
        """Whether its loop was begun; before that nothing was launched."""
        return self._has_run

    @property
    def name(self) -> str:
        """The group's."""
        return self._settings.name

    @property
    def size(self) -> Size:
        """How many workers it has by now, and which ports."""
        return Size(self.name, self._operating.wanted, self._settings.launch.port)

    def request_stop(self) -> None:
        """Have everything end; asked again, at once."""
        self.post(StopRequested())

    def request_detach(self) -> None:
        """Have the keeper end and its workers run on."""
        self.post(DetachRequested())

    def _sessions_last(self, granted_s: float) -> None:
        """Workers' sessions last as long as ZooKeeper says, and so does everything that is computed from it."""
        asked_s, self._granted_s = self._settings.session_timeout_s, granted_s
        self.post(SessionTimeoutGranted(settle_s(granted_s), rejoin_grace_s(granted_s)))
        clipped = (
            ""
            if abs(granted_s - asked_s) < A_MILLISECOND_S
            else told_of_clipped(asked_s, granted_s)
        )
        if clipped and clipped != self._clipped:
            self._shared.logger.warning("session_timeout_clipped", why=clipped)
        self._clipped = clipped

    def adopt(self, undo: ExitStack) -> int:
        """Take over the workers of an earlier daemon; how many live. Raises `PlatformError`."""
        self._shared.granted.subscribe(self._settings.session_timeout_s, self._sessions_last)
        undo.callback(self._hear_no_more_of_sessions)
        undo.callback(self._registry.close)
        undo.callback(self._processes.release)
        undo.callback(self._executor.cancel)
        undo.callback(self._claim.close)
        self._operating.recall()
        try:
            self._adopted = self._processes.adopt_all()
        except OSError as error:
            self._is_blind = True
            raise PlatformError(
                f"it cannot be told which workers of an earlier daemon live ({error.strerror}), and launching now "
                "might double them: try again when the machine is less short of descriptors or memory"
            ) from error
        recalled = () if self._binder is None else self._binder.recall()
        for fact in (*self._completed.read(), *recalled):
            self.post(fact)
        return self._adopted

    def wait_for(self, groups: Sequence[str]) -> None:
        """Nobody is launched yet: the workers come after those of other groups."""
        names = " and ".join(groups)
        self._waits = f"starts once {names} {'has' if len(groups) == 1 else 'have'} been ready"
        self._shared.logger.info("group_waits", why=self._waits)

    def begin(self) -> None:
        """From now on there are to be as many workers as are wanted."""
        self._waits = ""
        self._operating.begin()

    def apply(self, settings: GroupSettings) -> None:
        """From now on this is wanted: outdated workers are replaced, everything else is changed in place."""
        self._hear_no_more_of_sessions()
        self._settings = settings
        self._shared.granted.subscribe(settings.session_timeout_s, self._sessions_last)
        self._processes.respecify(settings.launch, self._environment(), settings.stop_signal)
        self._health.apply(settings)
        self._outputs.change(settings)
        self._python = python_behind(settings.launch.argv)
        if self._agency is None and (
            agency := agency_of(settings, self._shared, self._hold.folder)
        ):
            self._agency = agency
            self._executor.employ(agency.agent)
            self._start_agency()
        if self._binder is None and (binder := self._find_binder()) is not None:
            self._binder = binder
            self._executor.bind(binder)
        self.post(SpecSet(settings.launch.revision, self._policy()))
        self._operating.declare(settings.replicas)

    def wake(self) -> None:
        """Have the group looked at again although nothing happened."""
        self._mailbox.wake()

    def refuse(self, why: str) -> None:
        """It cannot be kept after all."""
        self._shared.logger.error("group_refused", why=why)

    def leave(self) -> None:
        """The group is kept no more, by this daemon: let another have it."""
        self._claim.release()
        self._shared.neighbours.leave(self.name)
        self._hold.give_up()

    def _policy(self) -> Policy:
        """With what is computed from how long sessions do last, once that is known."""
        policy = self._settings.policy(self._processors.cores)
        if (granted_s := self._granted_s) is None:
            return policy
        return replace(
            policy, settle_s=settle_s(granted_s), rejoin_grace_s=rejoin_grace_s(granted_s)
        )

    def _hear_no_more_of_sessions(self) -> None:
        self._shared.granted.unsubscribe(self._settings.session_timeout_s, self._sessions_last)

    async def claim_group(self, stop_asked: asyncio.Event) -> None:
        """Return when the group is ours alone, cannot be claimed, or is to be stopped.

        Workers of ours that live are looked after whoever else claims the group; that is said, and tried again.

        Raises:
            AlreadyRunning: another daemon keeps the group, and nothing of ours runs.
        """
        await claimed(self._claim, stop_asked, has_workers=bool(self._adopted))

    async def run(self, observers: Sequence[Observer]) -> None:
        """Until everything is gone, as asked."""
        self._has_run = True
        async with AsyncExitStack() as undo:
            undo.callback(self._history.close)
            undo.callback(self._completed.close)
            undo.push_async_callback(self._registry.flush, FLUSH_S)
            undo.callback(self._turned_away.close)
            undo.callback(self._health.close)
            undo.push_async_callback(self._end_binder)
            undo.push_async_callback(self._end_output)
            await self._outputs.start()
            undo.push_async_callback(self._end_agency)
            self._start_agency()
            for work in (self._serve_control(), self._outputs.run()):
                undo.push_async_callback(end_task, self._shared.unforeseen.start(work))
            await self._loop(observers).run()

    def _start_agency(self) -> None:
        if self._has_run and self._agency is not None:
            self._agents_work = self._shared.unforeseen.start(self._agency.run())

    async def _end_agency(self) -> None:
        if self._agency is None:
            return
        if self._agents_work is not None:
            await end_task(self._agents_work)
        await self._agency.end(leave=self._leaves_all)

    async def _end_output(self) -> None:
        await self._outputs.end(leave=self._leaves_all)

    @property
    def _leaves_all(self) -> bool:
        return self.leaves_workers or self._shared.unforeseen.has_happened

    async def _end_binder(self) -> None:
        if self._binder is not None:
            await self._binder.flush()

    def _loop(self, observers: Sequence[Observer]) -> Loop:
        return Loop(
            view=self._view,
            mailbox=self._mailbox,
            executor=self._executor,
            clock=time.monotonic,
            observers=(
                Narrator(self._shared.logger, self._last_output, self._hint),
                self._history,
                self._completed,
                self._remember_holds,
                self._turned_away,
                self._health.observe,
                self._shared.neighbours.observe,
                *observers,
            ),
            heartbeat_s=watchdog_heartbeat_s(os.environ),
            gauge=self._processors.idle,
        )

    def _last_output(self, slot: int) -> list[str]:
        return self._processes.last_output.get(slot, [])

    def _hint(self, slot: int) -> str:
        return hint_of(self._last_output(slot), self._python)

    def _tell_turned_away(self, sentence: str) -> None:
        self._shared.logger.error("workers_turned_away", why=sentence)
        self._history.note("workers_turned_away", sentence)

    def _notes(self) -> tuple[str, ...]:
        unenforced = why_not_enforced(self._settings.launch.tree_limits)
        notes = (self._waits, self._turned_away.sentence, self._clipped, unenforced)
        return (*filter(None, notes), *self._operating.sentences)

    def _remember_holds(self, _facts: Sequence[Event], plan: Plan, _view: View) -> None:
        self._holds = plan.holds

    async def _serve_control(self) -> None:
        server = ControlServer(
            self._hold.folder,
            self._status,
            self._shared.commands,
            lambda why: self._shared.logger.warning("control_socket_trouble", why=why),
        )
        undisturbed = partial(self._shared.looks.until_disturbed, self._hold.is_whole)
        await server.serve(self._is_folder_ours, undisturbed)

    async def _is_folder_ours(self) -> bool:
        """Look after the group's folder; false while another daemon has it, or nobody can."""
        try:
            sight = await asyncio.to_thread(self._hold.look)
        except RuntimeError:
            return False  # no thread can be started now; the next look tries again
        if sight.news is not None:
            self._shared.logger.error("state_dir_disturbed", why=sight.news)
            self._processes.note_again()
        return sight.is_ours

    async def _status(self) -> StatusRecord:
        remarks = Remarks(lambda: self._holds, self._notes, self._hint, self._health.says)
        connection = self._shared.connection
        record = await answer(
            self._settings, connection, self._view, remarks, self._addresses, self._began_at
        )
        return self._operating.marked(record)


async def end_task(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait for its end."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
