"""The `Processes` port on this host: launch incarnations, tell of their end, end them, adopt them.

Theory of operation. A worker is exec'd into a session of its own with its output going to a file, so it
survives the daemon; its environment carries the proof by which a later daemon knows it. Its end arrives
through a pidfd: the rest of its process group is killed while the unreaped leader still pins the group's
id, the status is collected, and the fact goes out at once if nothing of the tree is left. Otherwise every
remaining process is killed through a pidfd of its own, and `TreeEmptied` follows when the last is gone.

Must never know: policy, ZooKeeper. It decides nothing but how to reach what it was told to end.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psutil

from autohealer.contract import (
    ENV_GENERATION,
    ENV_GROUP,
    ENV_SLOT,
    ENV_TOKEN,
    ENV_ZNODE,
    WorkerRecord,
    ZnodeName,
)
from autohealer.core.events import TreeEmptied, WorkerAdopted, WorkerExited
from autohealer.core.model import Incarnation, Standing
from autohealer.daemon.ports import Post, SpawnError
from autohealer.processes.identity import (
    age_s,
    boot_id,
    claim_of,
    is_proven,
    start_ticks,
    token_of,
)
from autohealer.processes.output import OutputFiles
from autohealer.processes.reaper import Reaper, Watched
from autohealer.processes.spawn import spawn_detached
from autohealer.processes.tree import (
    carries_token,
    is_group_empty,
    members_of,
    signal_group,
    strays_of,
)

_DAEMONS_OWN = (
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
)
"""What systemd told the daemon about itself is no business of its workers."""


@dataclass(slots=True)
class _Live:
    """A process this daemon answers for; `leader` is None once it ended and only its tree is left."""

    name: Incarnation
    pid: int
    token: str
    is_child: bool
    leader: Watched | None
    rest: dict[int, Watched]


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
    ) -> None:
        self._argv = list(argv)
        self._environment = {k: v for k, v in environment.items() if k not in _DAEMONS_OWN}
        self._group = group
        self._secret = secret
        self._output = output
        self._reaper = reaper
        self._post = post
        self._rng = rng
        self._boot_id = boot_id()
        self._host = os.uname().nodename
        self._live: dict[Incarnation, _Live] = {}
        self.last_output: dict[int, list[str]] = {}

    def spawn(self, name: Incarnation) -> int:
        """Exec an incarnation in a session of its own; its pid. Raises `SpawnError`."""
        token = token_of(self._secret, self._group, name)
        try:
            output = self._output.open(name.slot)
            pid = spawn_detached(self._argv, self._environment_for(name, token), output)
            self._take_over_child(name, pid, token)
        except OSError as error:
            raise SpawnError(f"{self._argv[0]}: {error.strerror}") from error
        return pid

    def terminate(self, name: Incarnation) -> None:
        """TERM to the whole group, and CONT so that a stopped one can obey."""
        if (live := self._live.get(name)) is not None and live.leader is not None:
            signal_group(live.pid, signal.SIGTERM)
            signal_group(live.pid, signal.SIGCONT)

    def kill(self, name: Incarnation) -> None:
        """KILL to the whole group, or to what is left of the tree."""
        if (live := self._live.get(name)) is None:
            return
        if live.leader is not None:
            signal_group(live.pid, signal.SIGKILL)
        else:
            self._kill_rest(live)

    def look_into(self, name: Incarnation, record: WorkerRecord) -> Standing | None:
        """Whose process an unfamiliar registration names; adopts it when proven.

        Dead is said only of a process that ran on this boot of this host and whose start time is not that of
        whatever has its pid now. Another host's, or one that says too little, is never judged.
        """
        if (record.boot, record.host) != (self._boot_id, self._host):
            is_foreign = bool(record.boot or record.host)
            return Standing.ELSEWHERE if is_foreign else Standing.ORPHAN
        if record.start and record.start != start_ticks(record.pid):
            return Standing.DEAD
        return None if self._adopt(record.pid, expected=name) else Standing.ORPHAN

    def adopt_all(self) -> int:
        """Take over every live, proven incarnation of this group that an earlier daemon launched; how many."""
        return sum(self._adopt(pid, expected=None) for pid in psutil.pids())

    def release(self) -> None:
        """Stop watching; the processes are not touched."""
        for live in self._live.values():
            for watched in (live.leader, *live.rest.values()):
                if watched is not None:
                    self._reaper.forget(watched)
        self._live.clear()

    def _environment_for(self, name: Incarnation, token: str) -> dict[str, str]:
        return self._environment | {
            ENV_GROUP: self._group,
            ENV_SLOT: str(name.slot),
            ENV_GENERATION: str(name.generation),
            ENV_ZNODE: ZnodeName(self._group, name.slot, name.generation).path,
            ENV_TOKEN: token,
        }

    def _take_over_child(self, name: Incarnation, pid: int, token: str) -> None:
        """Watch what was just launched; what cannot be watched is not left running."""
        try:
            self._take_over(name, pid, token, is_child=True)
        except OSError:
            del self._live[name]
            signal_group(pid, signal.SIGKILL)
            os.waitid(os.P_PID, pid, os.WEXITED)
            raise

    def _take_over(self, name: Incarnation, pid: int, token: str, *, is_child: bool) -> None:
        live = _Live(name, pid, token, is_child=is_child, leader=None, rest={})
        self._live[name] = live
        live.leader = self._reaper.watch(pid, lambda watched: self._leader_ended(live, watched))

    def _adopt(self, pid: int, expected: Incarnation | None) -> bool:
        """Hold the process first, then verify what is held: token, group leadership, and that it lives."""
        claim = claim_of(pid)
        if claim is None or claim.group != self._group or not is_proven(claim, self._secret):
            return False
        if claim.name in self._live or (expected is not None and claim.name != expected):
            return False
        try:
            if os.getsid(pid) != pid:
                return False  # something the worker started, not the worker
            self._take_over(claim.name, pid, claim.token, is_child=False)
        except OSError:
            # It ended meanwhile, or there is no descriptor to hold it by: then it is left alone.
            self._live.pop(claim.name, None)
            return False
        if claim_of(pid) != claim:
            self._drop(claim.name)
            return False
        self._post(WorkerAdopted(claim.name, pid, age_s(pid)))
        return True

    def _drop(self, name: Incarnation) -> None:
        live = self._live.pop(name)
        if live.leader is not None:
            self._reaper.forget(live.leader)

    def _leader_ended(self, live: _Live, watched: Watched) -> None:
        end_bytes = self._output.size_bytes(live.name.slot)
        if live.is_child:
            signal_group(live.pid, signal.SIGKILL)
        exit_ = self._reaper.reap(watched)
        live.leader = None
        tree_empty = self._is_tree_empty(live)
        self._post(WorkerExited(live.name, exit_, tree_empty, self._rng.random(), live.pid))
        if tree_empty:
            del self._live[live.name]
        else:
            self._kill_rest(live)
        self.last_output[live.name.slot] = self._output.tail(live.name.slot, end_bytes)

    def _is_tree_empty(self, live: _Live) -> bool:
        self._reaper.collect_strays()
        if not live.is_child:
            return not members_of(live.token)
        return is_group_empty(live.pid) and not strays_of(live.token, self._reaper)

    def _kill_rest(self, live: _Live) -> None:
        """Kill every remaining process of a tree through a pidfd that was verified after it was opened."""
        for pid in members_of(live.token):
            if pid in live.rest:
                live.rest[pid].signal(signal.SIGKILL)
                continue
            try:
                watched = self._reaper.watch(pid, lambda watched: self._rest_ended(live, watched))
            except OSError:
                continue  # it ended meanwhile, or cannot be held now: the decider's kill retry comes back
            if not carries_token(pid, live.token):
                self._reaper.forget(watched)  # it ended, and what has its pid now is a stranger
                continue
            live.rest[pid] = watched
            watched.signal(signal.SIGKILL)
        self._finish_if_empty(live)

    def _rest_ended(self, live: _Live, watched: Watched) -> None:
        self._reaper.reap(watched)
        live.rest.pop(watched.pid, None)
        self._finish_if_empty(live)

    def _finish_if_empty(self, live: _Live) -> None:
        if live.rest or live.name not in self._live:
            return
        if self._is_tree_empty(live):
            del self._live[live.name]
            self._post(TreeEmptied(live.name, self._rng.random()))
        else:
            # A member is between its death and its reaping; the next stray collected may be it, and the
            # decider's kill retry is the backstop.
            self._reaper.on_next_stray(lambda: self._finish_if_empty(live))
