"""The `Processes` port on this host: launch incarnations, tell of their end, end them, adopt them.

Theory of operation. A worker is exec'd into a session of its own with its output going to a file, so it
survives the daemon. A thread does that, in the order of the orders; one that is told to end before it was launched is
not launched, or ended as soon as it has been. A worker's end arrives through a pidfd: the rest of its process group is
killed while the unreaped leader still pins the group's id, the status is collected, and the fact goes out at once if
nothing of the tree is left. What is left is for `Remnants`. Those who end in the same moment are looked after together.

The next daemon finds out which processes are which by `Evidence`. Who is ours is held and watched like a child; who
cannot be proven to be is held too, so that its end is told, and never signalled.

Must never know: policy, ZooKeeper. It decides nothing but how to reach what it was told to end.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from autohealer.contract import ENV_REVISION, WorkerRecord
from autohealer.core.events import (
    SpawnFailed,
    WorkerAdopted,
    WorkerExited,
    WorkerHeld,
    WorkerSpawned,
)
from autohealer.core.model import NEVER, Exit, Incarnation
from autohealer.core.strangers import Standing
from autohealer.daemon.ports import Post
from autohealer.launchspec import LaunchSpec
from autohealer.processes.adoption import Evidence, Finding, Process
from autohealer.processes.census import Census, Sighting
from autohealer.processes.cgroup import WorkerCgroups
from autohealer.processes.executable import why_launch_failed
from autohealer.processes.identity import (
    Verdict,
    age_s,
    environment_of,
    is_running,
    start_ticks,
    token_of,
)
from autohealer.processes.kinship import Family
from autohealer.processes.launch import Launcher
from autohealer.processes.launching import Launching, Order, Outcome
from autohealer.processes.ledger import Launch, Ledger
from autohealer.processes.oom import OutOfMemory
from autohealer.processes.output import Output
from autohealer.processes.reaper import Reaper, Watched
from autohealer.processes.remnants import Ended, Remnant, Remnants
from autohealer.processes.tree import Leader, is_stopped, record_of, signal_group

SIGHTING_S = 0.5
"""How old a look at all processes may be that tells what dead registrants have left."""

LAUNCH_CLOSE_S = LEDGER_CLOSE_S = 1.0
"""How long the end waits for a launch that was begun, so that it is noted, and for the last notes to be written."""


@dataclass(slots=True)
class _Pending:
    """A launch that was ordered; `end` is what it is told as soon as it has been launched."""

    order: Order
    end: Callable[[Incarnation], None] | None = None


class LocalProcesses:
    """Used from the event loop's thread only."""

    def __init__(
        self,
        spec: LaunchSpec,
        environment: Mapping[str, str],
        group: str,
        secret: bytes,
        output: Output,
        ledger: Ledger,
        reaper: Reaper,
        post: Post,
        rng: random.Random,
        cgroups: WorkerCgroups | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        """`cgroups`: where this daemon's own control group was delegated to it; `stop_signal` asks workers to end.

        Raises:
            UnknownUser: they are to run as somebody who is not there.
        """
        self._group = group
        self._secret = secret
        self._output = output
        self._ledger = ledger
        self._reaper = reaper
        self._post = post
        self._rng = rng
        self._cgroups = cgroups
        self._stop_signal = stop_signal
        self.launcher = Launcher(spec, environment, group, secret, output)
        self._launching = Launching(asyncio.get_running_loop())
        self._pending: dict[Incarnation, _Pending] = {}
        self._census = Census(reaper.is_watched)
        self._remnants = Remnants(reaper, self._census, cgroups, post, rng)
        self._memory = OutOfMemory(cgroups)
        self._evidence = Evidence(group, secret, {}, cgroups, output.path)
        self._led: dict[Incarnation, Leader] = {}
        self._held: dict[Incarnation, Watched] = {}
        self._ended: list[Leader] = []
        self._sighting: Sighting | None = None
        self._sighted_at = NEVER
        self.last_output: dict[int, list[str]] = {}

    # --- the port -----------------------------------------------------------------------------

    def spawn(self, name: Incarnation) -> None:
        """Have an incarnation exec'd in a session of its own, behind those that were ordered before."""
        self._reaper.expect_child()
        launcher = self.launcher
        order = self._launching.order(
            partial(self._launch, launcher, name), partial(self._launched, launcher, name)
        )
        self._pending[name] = _Pending(order)

    def terminate(self, name: Incarnation) -> None:
        """The stop signal, TERM by default, to the whole group, and CONT so that a stopped one can obey."""
        self._ask_to_end(name, self._stop_signal)

    def _ask_to_end(self, name: Incarnation, number: signal.Signals) -> None:
        if name in self._pending:
            self._end_pending(name, self.terminate)
        elif (leader := self._led.get(name)) is not None:
            leader.terminated = True
            leader.signal_group(number)
            leader.signal_group(signal.SIGCONT)

    def kill(self, name: Incarnation) -> None:
        """KILL to the whole group; repeated, or once the leader is gone, to whatever is left of the tree."""
        if name in self._pending:
            self._end_pending(name, self.kill)
            return
        if (leader := self._led.get(name)) is None:
            self._remnants.kill(name)
            return
        leader.kills += 1
        leader.frozen = leader.frozen or is_stopped(leader.pid)
        leader.signal_group(signal.SIGKILL)
        if leader.kills > 1:
            self._remnants.hunt(self._tree_of(leader))
        elif self._cgroups is not None:
            self._cgroups.kill(name)

    def abort(self, name: Incarnation) -> None:
        """ABRT to the whole group, so that it leaves behind what it was about."""
        self._ask_to_end(name, signal.SIGABRT)

    def leader_of(self, name: Incarnation) -> Leader | None:
        """The process of a live incarnation."""
        return self._led.get(name)

    def record_of(self, name: Incarnation) -> WorkerRecord | None:
        """What tells of a live incarnation as well as its own record would."""
        if (leader := self._led.get(name)) is None:
            return None
        address = self.launcher.address_of(name, self._ledger.revision_of(name))
        return record_of(leader, self._secret, address)

    def look_into(self, name: Incarnation, record: WorkerRecord) -> Standing | None:
        """Whose process an unfamiliar registration names; adopts it when proven, holds it when that cannot be told.

        Dead is said only of a process of this boot, host and pid namespace whose start time is not that of whatever has
        its pid now. One of elsewhere, one that says too little, and one that cannot be looked at now is never judged.
        """
        if not record.boot and not record.host:
            return Standing.ORPHAN
        if self._evidence.is_elsewhere(record):
            return Standing.ELSEWHERE
        try:
            if self._evidence.is_dead(record):
                return self._dead(name)
            return self._stand_by(self._evidence.of_registrant(name, record))
        except OSError:
            return Standing.UNREAD

    def adopt_all(self) -> int:
        """Take over every live incarnation of this group that an earlier daemon launched; how many.

        What is left of one whose leader is gone is ended; one that cannot be proven is held.

        Raises:
            OSError: it cannot be told who lives, or one who does cannot be held; launching now might double it.
        """
        self._evidence = self._evidence.with_notes(self._ledger.read())
        findings = self._evidence.findings(self._census.of_all_settled())
        news = [f for f in findings if f.name not in self._led and f.name not in self._remnants]
        adopted = sum(self._take_over(finding) for finding in news)
        self.note_again()
        return adopted

    def note_again(self) -> None:
        """Write anew who lives: the notes of their launches may be gone."""
        self._ledger.begin(
            Launch(leader.name, leader.pid, leader.start_ticks) for leader in self._led.values()
        )

    def respecify(
        self, spec: LaunchSpec, environment: Mapping[str, str], stop_signal: signal.Signals
    ) -> None:
        """Launch what is ordered from now on in another way, and ask whom it may be to end by another signal.

        Raises:
            UnknownUser: they are to run as somebody who is not there; nothing has changed.
        """
        launcher = Launcher(spec, environment, self._group, self._secret, self._output)
        launcher.also_told, self.launcher = self.launcher.also_told, launcher
        self._stop_signal = stop_signal

    def family(self) -> Family:
        """The trees of those alive."""
        led = self._led.values()
        return Family({it.pid: it.name for it in led}, {it.token: it.name for it in led})

    def release(self) -> None:
        """Stop watching; the processes are not touched, and what waits to be launched is not."""
        for name in [name for name, pending in self._pending.items() if pending.order.withdraw()]:
            self._forget_pending(name)
        self._launching.close(LAUNCH_CLOSE_S)
        self._remnants.release()
        for watched in [*(leader.watched for leader in self._led.values()), *self._held.values()]:
            self._reaper.forget(watched)
        self._led.clear()
        self._held.clear()
        self._ended.clear()
        self._ledger.close(LEDGER_CLOSE_S)

    # --- launching ----------------------------------------------------------------------------

    def _lead(self, name: Incarnation, pid: int, *, is_child: bool) -> Leader:
        """Watch what was launched or proven; a child that cannot be watched is not left running. Raises `OSError`."""
        token = token_of(self._secret, self._group, name)
        try:
            watched = self._reaper.watch(pid, partial(self._leader_ended, name))
        except OSError:
            if is_child:
                signal_group(pid, signal.SIGKILL)  # it is collected as a stray
            raise
        leader = Leader(name, token, start_ticks(pid) or 0, is_child, watched)
        self._led[name] = leader
        return leader

    def _launch(self, launcher: Launcher, name: Incarnation) -> int:
        """On the launching thread: exec it and move it into its leaf. Raises `OSError`."""
        pid = launcher.launch(name)
        if self._cgroups is not None:
            with suppress(OSError):  # without a leaf it is ended by group and token
                # Nobody has reaped it, so its pid is its own.
                self._cgroups.place(name, pid, launcher.tree_limits)
        return pid

    def _launched(self, launcher: Launcher, name: Incarnation, outcome: Outcome) -> None:
        """Watch what was launched, note it, and tell of it."""
        end = self._pending[name].end
        try:
            if isinstance(outcome, OSError):
                raise outcome
            leader = self._lead(name, outcome, is_child=True)
        except OSError as error:
            cause = why_launch_failed(launcher.program, error)
            self._post(SpawnFailed(name, cause, self._rng.random()))
            self._forget_pending(name)
            return
        self._post(WorkerSpawned(name, leader.pid, launcher.revision))
        self._forget_pending(name)
        self._ledger.note(Launch(name, leader.pid, leader.start_ticks, launcher.revision))
        if end is not None:
            end(name)

    def _end_pending(self, name: Incarnation, end: Callable[[Incarnation], None]) -> None:
        """End one that is not known to be launched: not at all if nobody has begun to, else right after."""
        pending = self._pending[name]
        if not pending.order.withdraw():
            pending.end = end
            return
        self._forget_pending(name)
        never = WorkerExited(name, Exit(), tree_empty=True, jitter=self._rng.random())
        asyncio.get_running_loop().call_soon(self._post, never)

    def _forget_pending(self, name: Incarnation) -> None:
        """It is watched by now, or there is no such child."""
        del self._pending[name]
        self._reaper.child_is_known()

    # --- adopting -----------------------------------------------------------------------------

    def _dead(self, name: Incarnation) -> Standing | None:
        """A registrant is gone; what it had started and is not is ended before its slot is used. Raises `OSError`."""
        if name in self._led or name in self._remnants:
            return Standing.DEAD
        left = self._evidence.left_by(name, self._everybody())
        if left is None:
            return Standing.DEAD
        self._end_remnant(left)
        return None

    def _everybody(self) -> Sighting:
        """One look for all registrations that are looked into in a row. Raises `OSError`."""
        now = asyncio.get_running_loop().time()
        if self._sighting is None or now - self._sighted_at > SIGHTING_S:
            self._sighting, self._sighted_at = self._census.of_all(), now
        return self._sighting

    def _take_over(self, finding: Finding) -> bool:
        """Whether an incarnation found at a start was adopted. Raises `OSError`."""
        if finding.leader is None:
            self._end_remnant(finding)
            return False
        return self._stand_by(finding) is None

    def _stand_by(self, finding: Finding) -> Standing | None:
        """Adopt who is ours, hold who may be. Raises `OSError`."""
        if finding.name in self._led or finding.name in self._remnants:
            return None  # told of already
        if finding.leader is None:
            return Standing.ORPHAN
        match finding.verdict:
            case Verdict.NOT_OURS:
                return Standing.ORPHAN
            case Verdict.OURS:
                return None if self._adopt(finding.name, finding.leader) else Standing.ORPHAN
            case Verdict.UNPROVABLE:
                self._hold(finding.name, finding.leader, finding.why)
                return Standing.UNPROVABLE

    def _adopt(self, name: Incarnation, process: Process) -> bool:
        """Hold the process first, then ask whether it is still the one that was proven. Raises `OSError`."""
        try:
            leader = self._lead(name, process.pid, is_child=False)
        except ProcessLookupError:
            return False
        try:
            is_it = is_running(process.pid, process.start_ticks) is not False
        except OSError:
            self._let_go(leader)
            raise
        if not is_it:
            self._let_go(leader)
            return False
        if (held := self._held.pop(name, None)) is not None:
            self._reaper.forget(held)
        revision = _revision_of(process.pid) or self._ledger.revision_of(name)
        self._post(WorkerAdopted(name, process.pid, age_s(process.pid), revision))
        return True

    def _let_go(self, leader: Leader) -> None:
        del self._led[leader.name]
        self._reaper.forget(leader.watched)

    def _hold(self, name: Incarnation, process: Process, why: str) -> None:
        """Watch a process that may be ours, so that its end is told. Raises `OSError`."""
        if name not in self._held:
            try:
                watched = self._reaper.watch(process.pid, partial(self._held_ended, name))
            except ProcessLookupError:
                return
            self._held[name] = watched
        self._post(WorkerHeld(name, process.pid, why))

    def _held_ended(self, name: Incarnation, watched: Watched) -> None:
        exit_ = self._reaper.reap(watched)
        self._held.pop(name, None)
        jitter = self._rng.random()
        self._post(WorkerExited(name, exit_, tree_empty=True, jitter=jitter, pid=watched.pid))

    def _end_remnant(self, finding: Finding) -> None:
        """Processes are left of an incarnation that died while no daemon ran: its slot is used after their end."""
        left = finding.remnant
        assert left is not None, f"{finding.name} was found although nothing of it lives"
        self._post(WorkerAdopted(finding.name, left.pid, age_s(left.pid)))
        token = token_of(self._secret, self._group, finding.name)
        leader, output = finding.was_led_by, str(self._output.path(finding.name.slot) or "")
        self._remnants.inherit(finding.name, token, output, left, leader)

    # --- the end ------------------------------------------------------------------------------

    def _leader_ended(self, name: Incarnation, _watched: Watched) -> None:
        """Wait for the others that ended in this very moment: one look serves them all."""
        leader = self._led[name]
        if leader in self._ended:
            return
        if not self._ended:
            asyncio.get_running_loop().call_soon(self._take_leave)
        self._ended.append(leader)

    def _take_leave(self) -> None:
        ended, self._ended = self._ended, []
        self._remnants.begin([self._reaped(leader) for leader in ended])

    def _reaped(self, leader: Leader) -> Ended:
        slot = leader.name.slot
        end_bytes = self._output.size_bytes(slot)
        spares = leader.terminated and not leader.kills
        if leader.is_child and not spares:
            leader.signal_group(signal.SIGKILL)  # the unreaped leader still pins the group
        exit_ = self._explained(self._reaper.reap(leader.watched), leader)
        del self._led[leader.name]
        self._ledger.forget(leader.name)
        self.last_output[slot] = self._output.tail(slot, end_bytes)
        return Ended(self._tree_of(leader), exit_, spares)

    def _explained(self, exit_: Exit, leader: Leader) -> Exit:
        """Add what the kernel does not put into the status."""
        if leader.kills:
            return replace(exit_, frozen=leader.frozen)
        return replace(exit_, oom=self._memory.ended(leader.name, exit_))

    def _tree_of(self, leader: Leader) -> Remnant:
        return Remnant(
            leader.name,
            leader.pid,
            leader.token,
            leader.start_ticks,
            leader.is_child,
            output=str(self._output.path(leader.name.slot) or ""),
            leader=leader.watched,
        )


def _revision_of(pid: int) -> str:
    """What a worker was launched from, by its environment; "" where that does not say."""
    try:
        return environment_of(pid).get(ENV_REVISION, "")
    except OSError:
        return ""
