"""Which processes an earlier daemon's incarnations are: the evidence gathered, one finding for each incarnation.

Theory of operation. At a start three witnesses are heard: the ledger of what was launched, the tokens in environments,
and the control groups' leaves. What the ledger names is the leader, or was; where it says nothing, the token tells the
leader from what it started, as far as it can; where the environment is gone, the leaf does. Later a registration may
name a process nobody knew: its proof, made with the token, settles it.

Whatever is found is evidence about one pid and start time; who acts on it holds that process first and asks again
whether it is still the same. Nothing is ended or signalled here.

Must never know: what will be done. Raises `OSError` when it cannot be told who lives.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from autohealer.contract import WorkerRecord, registration_proof
from autohealer.core.model import Incarnation
from autohealer.processes.census import Sighting
from autohealer.processes.cgroup import WorkerCgroups
from autohealer.processes.identity import (
    Claim,
    Verdict,
    boot_id,
    claim_of,
    is_proven,
    is_running,
    leader_among,
    start_ticks,
    token_of,
)
from autohealer.processes.ledger import Launch
from autohealer.processes.procfs import (
    exists,
    own_pid_namespace,
    raw_environment_of,
    stat_of,
    writes_to,
)


@dataclass(frozen=True, slots=True)
class Process:
    """One process for ever."""

    pid: int
    start_ticks: int


@dataclass(frozen=True, slots=True)
class Finding:
    """What is known of an incarnation: its leader, and whether it is ours; without a leader, one of those it left.

    `was_led_by` is who led those, where that was noted.
    """

    name: Incarnation
    verdict: Verdict
    leader: Process | None
    remnant: Process | None = None
    why: str = ""
    was_led_by: Process | None = None


class Evidence:
    """What one group's daemons can prove; `launches` is the ledger of the one before, `output` where slots write to."""

    def __init__(
        self,
        group: str,
        secret: bytes,
        launches: Mapping[Incarnation, Launch],
        cgroups: WorkerCgroups | None,
        output: Callable[[int], Path | None],
    ) -> None:
        self._group = group
        self._secret = secret
        self._launches = launches
        self._cgroups = cgroups
        self._output = output
        self._scope = (boot_id(), os.uname().nodename)
        self._pidns = own_pid_namespace()

    def with_notes(self, launches: Mapping[Incarnation, Launch]) -> Evidence:
        """The same with a ledger that was read."""
        return Evidence(self._group, self._secret, launches, self._cgroups, self._output)

    # --- at a start ---------------------------------------------------------------------------

    def findings(self, everybody: Sighting) -> list[Finding]:
        """Every incarnation of which something lives, in the order of slots."""
        families = dict(self._families(everybody))
        leaves = self._leaves()
        names = sorted({*families, *leaves, *self._launches})
        for name, pids in self._left_in_sessions(everybody.loose).items():
            leaves[name] = [*leaves.get(name, []), *pids]
        found = (self._finding(name, families.get(name), leaves.get(name, [])) for name in names)
        return [finding for finding in found if finding is not None]

    def _families(self, everybody: Sighting) -> list[tuple[Incarnation, tuple[Claim, list[int]]]]:
        """What its token proves to be of this group, by incarnation."""
        families = []
        for pids in everybody.by_token.values():
            claims = (claim_of(pid) for pid in pids)
            claim = next((c for c in claims if c is not None and self._is_ours(c)), None)
            if claim is not None:
                families.append((claim.name, (claim, pids)))
        return families

    def _is_ours(self, claim: Claim) -> bool:
        return claim.group == self._group and is_proven(claim, self._secret)

    def _leaves(self) -> dict[Incarnation, list[int]]:
        if self._cgroups is None:
            return {}
        members = {name: self._cgroups.members(name) for name in self._cgroups.names()}
        return {name: pids for name, pids in members.items() if pids}

    def _left_in_sessions(self, loose: Sequence[int]) -> dict[Incarnation, list[int]]:
        """Who carries no token, is in the session of a leader that has ended, and writes where its slot does.

        The number of a session is nobody else's while somebody is in it, but may be another session's after that.
        """
        ended = {
            launch.pid: launch
            for launch in self._launches.values()
            if is_running(launch.pid, launch.start_ticks) is False
        }
        left: dict[Incarnation, list[int]] = {}
        for pid in loose if ended else ():
            stat = stat_of(pid)
            launch = None if stat is None or not stat.is_alive else ended.get(stat.session)
            if stat is None or launch is None or stat.start_ticks < launch.start_ticks:
                continue
            if writes_to(pid, str(self._output(launch.name.slot) or "")):
                left.setdefault(launch.name, []).append(pid)
        return left

    def _finding(
        self, name: Incarnation, family: tuple[Claim, list[int]] | None, leaf: Sequence[int]
    ) -> Finding | None:
        relatives = [*(family[1] if family else ()), *leaf]
        if (launch := self._launches.get(name)) is not None:
            if is_running(launch.pid, launch.start_ticks) is not False:
                leader = Process(launch.pid, launch.start_ticks)
                return Finding(name, Verdict.OURS, leader)
            left = self._left_by(name, relatives)
            return left and replace(left, was_led_by=Process(launch.pid, launch.start_ticks))
        if family is not None and (candidate := leader_among(family[1], family[0])) is not None:
            why = (
                "it carries the token, but started too late to be told from what its worker started"
            )
            return self._led_by(name, candidate.pid, candidate.verdict, why)
        sessions = [pid for pid in leaf if (s := stat_of(pid)) is not None and s.session == pid]
        if family is None and sessions:
            return self._led_by(
                name, min(sessions, key=lambda pid: start_ticks(pid) or 0), Verdict.OURS, ""
            )
        return self._left_by(name, relatives)

    def _led_by(self, name: Incarnation, pid: int, verdict: Verdict, why: str) -> Finding | None:
        leader = _process(pid)
        return None if leader is None else Finding(name, verdict, leader, why=why)

    def _left_by(self, name: Incarnation, relatives: Sequence[int]) -> Finding | None:
        """Its leader is gone; what is left of it, if anything."""
        alive = [process for pid in relatives if (process := _process(pid)) is not None]
        return Finding(name, Verdict.OURS, None, alive[0]) if alive else None

    # --- for a registration -------------------------------------------------------------------

    def is_elsewhere(self, record: WorkerRecord) -> bool:
        """Whether a record names a process that this daemon's pids cannot speak of: another boot, host or namespace."""
        if (record.boot, record.host) != self._scope:
            return True
        return record.pidns not in {0, self._pidns}

    def is_dead(self, record: WorkerRecord) -> bool:
        """Whether the process a record names is proven gone: only where pid, start and namespace leave no doubt."""
        if not record.start or record.pidns != self._pidns:
            return False
        return is_running(record.pid, record.start) is False

    def left_by(self, name: Incarnation, everybody: Sighting) -> Finding | None:
        """What an incarnation whose registrant is gone has left; None where nothing is, or where its leader lives."""
        pids = everybody.members(token_of(self._secret, self._group, name))
        claim = next((claim for pid in pids if (claim := claim_of(pid)) is not None), None)
        if claim is None:
            return None
        finding = self._finding(name, (claim, pids), [])
        return finding if finding is not None and finding.leader is None else None

    def of_registrant(self, name: Incarnation, record: WorkerRecord) -> Finding:
        """Whose the live process behind a registration is; it registered itself or for the leader of its session."""
        stat = stat_of(record.pid)
        leader = None if stat is None else _process(stat.session) or _process(record.pid)
        if leader is None:
            process = Process(record.pid, record.start)
            if not exists(record.pid):
                return Finding(name, Verdict.NOT_OURS, process, why="there is no such process here")
            return Finding(name, Verdict.UNPROVABLE, process, why="its process is hidden from here")
        if self._is_proof(name, record) or leader == self._noted(name):
            return Finding(name, Verdict.OURS, leader)
        return self._by_environment(name, record, leader)

    def _by_environment(self, name: Incarnation, record: WorkerRecord, leader: Process) -> Finding:
        claim = claim_of(record.pid)
        if claim is not None and self._is_ours(claim):
            candidate = leader_among([leader.pid], claim)
            is_it = claim.name == name and candidate is not None
            verdict = candidate.verdict if is_it and candidate else Verdict.NOT_OURS
            return Finding(name, verdict, leader, why="it started too late to be told from a child")
        if claim is not None:
            why = "it was launched with another state directory's secret"
        elif raw_environment_of(record.pid) is None:
            why = "its environment is not ours to read"
        else:
            why = "its environment names no launch of ours"
        if not record.start:
            return Finding(name, Verdict.NOT_OURS, leader, why=why)
        return Finding(name, Verdict.UNPROVABLE, leader, why=why)

    def _noted(self, name: Incarnation) -> Process | None:
        launch = self._launches.get(name)
        return None if launch is None else Process(launch.pid, launch.start_ticks)

    def _is_proof(self, name: Incarnation, record: WorkerRecord) -> bool:
        """Whether a record was made by a process that knew the incarnation's token."""
        token = token_of(self._secret, self._group, name)
        expected = registration_proof(token, record.pid, record.start, record.boot)
        return hmac.compare_digest(record.proof.encode(), expected.encode())


def _process(pid: int) -> Process | None:
    """A live process; None for what has ended."""
    stat = stat_of(pid)
    return Process(pid, stat.start_ticks) if stat is not None and stat.is_alive else None
