"""The `Processes` port on this host: launch incarnations, tell of their end, end them, adopt them.

Theory of operation. A worker is exec'd into a session of its own with its output going to a file, so it
survives the daemon; its environment carries the proof by which a later daemon knows it. Its end arrives
through a pidfd: the rest of its process group is killed while the unreaped leader still pins the group's
id, the status is collected, and the fact goes out at once if nothing of the tree is left. What is left is
for `Endings`.

The next daemon proves which processes are which by their tokens. Of those that carry one, the first that leads a
session and started when it was launched is the worker; where that one is gone, the others are what it left behind.

Must never know: policy, ZooKeeper. It decides nothing but how to reach what it was told to end.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

from autohealer.contract import (
    ENV_GENERATION,
    ENV_GROUP,
    ENV_SLOT,
    ENV_TOKEN,
    ENV_ZNODE,
    WorkerRecord,
    ZnodeName,
)
from autohealer.core.events import WorkerAdopted
from autohealer.core.model import NEVER, Exit, Incarnation, Standing
from autohealer.daemon.ports import Post, SpawnError
from autohealer.processes.census import Census
from autohealer.processes.cgroup import WorkerCgroups, own_oom_kills
from autohealer.processes.endings import Endings
from autohealer.processes.identity import (
    ENV_LAUNCHED,
    Claim,
    age_s,
    boot_id,
    claim_of,
    has_ended,
    is_leader,
    is_proven,
    leader_among,
    ticks_now,
    token_of,
)
from autohealer.processes.output import OutputFiles
from autohealer.processes.procfs import stat_of
from autohealer.processes.reaper import Reaper, Watched
from autohealer.processes.spawn import spawn_detached
from autohealer.processes.tree import Tree, signal_group

_DAEMONS_OWN = (
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
)
"""What systemd told the daemon about itself is no business of its workers."""


OOM_READ_S = 0.01
"""How old the kernel's count of kills for memory may be."""


class LocalProcesses:
    """Used from the event loop's thread only."""

    def __init__(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        group: str,
        secret: bytes,
        output: OutputFiles,
        reaper: Reaper,
        post: Post,
        rng: random.Random,
        cgroups: WorkerCgroups | None = None,
    ) -> None:
        """`cgroups`: where this daemon's own control group was delegated to it."""
        self._argv = list(argv)
        self._environment = {k: v for k, v in environment.items() if k not in _DAEMONS_OWN}
        self._group = group
        self._secret = secret
        self._output = output
        self._reaper = reaper
        self._post = post
        self._cgroups = cgroups
        self._census = Census(reaper.is_watched)
        self._endings = Endings(reaper, self._census, cgroups, post, rng)
        self._own_oom_kills = self._oom_read = own_oom_kills()
        self._oom_read_at = NEVER
        self._boot_id = boot_id()
        self._host = os.uname().nodename
        self._led: dict[Incarnation, Tree] = {}
        self.last_output: dict[int, list[str]] = {}

    # --- the port -----------------------------------------------------------------------------

    def spawn(self, name: Incarnation) -> int:
        """Exec an incarnation in a session of its own; its pid. Raises `SpawnError`."""
        tree = Tree(name, 0, token_of(self._secret, self._group, name), is_child=True)
        try:
            output = self._output.open(name.slot)
            tree.pid = spawn_detached(self._argv, self._environment_for(tree), output)
            self._take_over_child(tree)
        except OSError as error:
            raise SpawnError(f"{self._argv[0]}: {error.strerror}") from error
        return tree.pid

    def terminate(self, name: Incarnation) -> None:
        """TERM to the whole group, and CONT so that a stopped one can obey."""
        if (tree := self._led.get(name)) is not None:
            tree.signal_group(signal.SIGTERM)
            tree.signal_group(signal.SIGCONT)

    def kill(self, name: Incarnation) -> None:
        """KILL to the whole group; repeated, or once the leader is gone, to whatever is left of the tree."""
        tree = self._led.get(name) or self._endings.get(name)
        if tree is None:
            return
        if tree.leader is not None:
            tree.frozen = tree.frozen or _is_stopped(tree.pid)
            tree.signal_group(signal.SIGKILL)
        self._endings.kill(tree)

    def look_into(self, name: Incarnation, record: WorkerRecord) -> Standing | None:
        """Whose process an unfamiliar registration names; adopts it when proven.

        Dead is said only of a process that ran on this boot of this host and whose start time is not that of
        whatever has its pid now. Another host's, one that says too little, and one that cannot be looked at now is
        never judged.
        """
        if (record.boot, record.host) != (self._boot_id, self._host):
            is_foreign = bool(record.boot or record.host)
            return Standing.ELSEWHERE if is_foreign else Standing.ORPHAN
        try:
            if record.start and has_ended(record.pid, record.start):
                return Standing.DEAD
            claim = claim_of(record.pid)
            if claim is None or claim.name != name or not self._may_adopt(claim):
                return Standing.ORPHAN
            return None if self._adopt(record.pid, claim) else Standing.ORPHAN
        except OSError:
            return Standing.UNREAD

    def adopt_all(self) -> int:
        """Take over every live, proven incarnation of this group that an earlier daemon launched; how many.

        What is left of one whose leader is gone is ended.

        Raises:
            OSError: it cannot be told who lives, or one who does cannot be held; launching now might double it.
        """
        families = list(self._families())
        leaders = [(leader_among(pids, claim), claim) for claim, pids in families]
        adopted = sum(pid is not None and self._adopt(pid, claim) for pid, claim in leaders)
        for claim, pids in families:
            if claim.name not in self._led and (
                left := [p for p in pids if self._claims(p, claim)]
            ):
                self._end_remnant(claim, left[0])
        self._end_hidden_remnants()
        return adopted

    def release(self) -> None:
        """Stop watching; the processes are not touched."""
        self._endings.release()
        for tree in self._led.values():
            if tree.leader is not None:
                self._reaper.forget(tree.leader)
        self._led.clear()

    # --- launching ----------------------------------------------------------------------------

    def _environment_for(self, tree: Tree) -> dict[str, str]:
        name = tree.name
        return self._environment | {
            ENV_GROUP: self._group,
            ENV_SLOT: str(name.slot),
            ENV_GENERATION: str(name.generation),
            ENV_ZNODE: ZnodeName(self._group, name.slot, name.generation).path,
            ENV_TOKEN: tree.token,
            ENV_LAUNCHED: str(ticks_now()),
        }

    def _take_over_child(self, tree: Tree) -> None:
        """Watch what was just launched; what cannot be watched is not left running."""
        try:
            self._take_over(tree)
        except OSError:
            signal_group(tree.pid, signal.SIGKILL)
            os.waitid(os.P_PID, tree.pid, os.WEXITED)
            raise
        if self._cgroups is not None:
            # Not now: it takes milliseconds, and the next launch may be waiting.
            asyncio.get_running_loop().call_soon(self._place, tree, self._cgroups)

    def _place(self, tree: Tree, cgroups: WorkerCgroups) -> None:
        """Move a leader that is not reaped yet, so that its pid is its own, into its leaf."""
        if tree.leader is not None:
            with suppress(OSError):  # without a leaf it is ended by group and token
                cgroups.place(tree.name, tree.pid)

    def _take_over(self, tree: Tree) -> None:
        tree.leader = self._reaper.watch(tree.pid, partial(self._leader_ended, tree))
        self._led[tree.name] = tree

    # --- adopting -----------------------------------------------------------------------------

    def _families(self) -> Iterator[tuple[Claim, list[int]]]:
        """What proves to be of this group's, by incarnation: the processes in the order of their start."""
        for pids in self._census.of_all_settled().by_token.values():
            claims = (claim_of(pid) for pid in pids)
            claim = next((c for c in claims if c is not None and self._may_adopt(c)), None)
            if claim is not None:
                yield claim, pids

    def _may_adopt(self, claim: Claim) -> bool:
        if claim.group != self._group or not is_proven(claim, self._secret):
            return False
        return claim.name not in self._led and self._endings.get(claim.name) is None

    def _adopt(self, pid: int, claim: Claim) -> bool:
        """Hold the process first, then verify what is held: its token, and that it leads. Raises `OSError`."""
        if claim.name in self._led or not is_leader(pid, claim):
            return False
        tree = Tree(claim.name, pid, claim.token, is_child=False)
        try:
            self._take_over(tree)
        except ProcessLookupError:
            return False
        try:
            is_it = self._claims(pid, claim) and is_leader(pid, claim)
        except OSError:
            self._drop(tree)
            raise
        if not is_it:
            self._drop(tree)
            return False
        self._post(WorkerAdopted(claim.name, pid, age_s(pid)))
        return True

    def _claims(self, pid: int, claim: Claim) -> bool:
        return claim_of(pid) == claim

    def _drop(self, tree: Tree) -> None:
        del self._led[tree.name]
        if tree.leader is not None:
            self._reaper.forget(tree.leader)

    def _end_hidden_remnants(self) -> None:
        """End what is left in a leaf although it carries no token any more. Raises `OSError`."""
        if self._cgroups is None:
            return
        for name in self._cgroups.names():
            if name in self._led or self._endings.get(name) is not None:
                continue
            members = self._cgroups.members(name)
            claims = [claim_of(pid) for pid in members]
            # Leaves carry no group's name: one that anybody of another group is in belongs to that.
            if members and all(claim is None or claim.group == self._group for claim in claims):
                token = token_of(self._secret, self._group, name)
                self._end_remnant(Claim(self._group, name, token), members[0])

    def _end_remnant(self, claim: Claim, pid: int) -> None:
        """Processes are left of an incarnation that died while no daemon ran: its slot is used after their end."""
        self._post(WorkerAdopted(claim.name, pid, age_s(pid)))
        self._endings.begin(Tree(claim.name, pid, claim.token, is_child=False), Exit())

    # --- the end ------------------------------------------------------------------------------

    def _leader_ended(self, tree: Tree, watched: Watched) -> None:
        slot = tree.name.slot
        end_bytes = self._output.size_bytes(slot)
        if tree.is_child:
            tree.signal_group(signal.SIGKILL)  # the unreaped leader still pins the group
        exit_ = self._reaper.reap(watched)
        del self._led[tree.name]
        self._endings.begin(tree, self._explained(exit_, tree))
        self.last_output[slot] = self._output.tail(slot, end_bytes)

    def _explained(self, exit_: Exit, tree: Tree) -> Exit:
        """Add what the kernel does not put into the status."""
        if tree.kills:
            return replace(exit_, frozen=tree.frozen)
        if exit_.signal == signal.SIGKILL and self._killed_for_memory(tree):
            return replace(exit_, oom=True)
        return exit_

    def _killed_for_memory(self, tree: Tree) -> bool:
        if self._cgroups is not None and self._cgroups.oom_kills(tree.name):
            return True
        if self._own_oom_kills is None or (kills := self._oom_kills_now()) is None:
            return False
        if kills <= self._own_oom_kills:
            return False
        self._own_oom_kills += 1  # one death each: several may have been killed before we look
        return True

    def _oom_kills_now(self) -> int | None:
        """Read once for all who died together: it takes longer than anything else on the way to a replacement."""
        now = asyncio.get_running_loop().time()
        if now - self._oom_read_at > OOM_READ_S:
            self._oom_read, self._oom_read_at = own_oom_kills(), now
        return self._oom_read


def _is_stopped(pid: int) -> bool:
    """Whether a process was stopped, as far as one can look."""
    try:
        stat = stat_of(pid)
    except OSError:
        return False
    return stat is not None and stat.is_stopped
