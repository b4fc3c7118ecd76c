"""How much memory workers use with all they start, and who uses more than it may.

Theory of operation. Every `LOOK_S` one look at all processes of the machine is taken on a thread, for all groups of a
daemon that have a limit. Who is of a worker's tree is known by its session, its process group or its parents; of what
has lost its parents by the token in its environment. What is told is the sum of what each of them has resident, as
supervisors have it: pages that several share count for each of them. A worker is told of when it was above its limit in
two looks in a row, again when it has grown by a tenth, and once when it is not any more.

Costs some 20 µs per process of the machine and look, none of it on the loop. Must never know: what follows from it, and
never conclude from a look that failed: the next one will do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass

from autohealer.contract import ENV_TOKEN
from autohealer.core.events import MemoryReported
from autohealer.core.model import Incarnation
from autohealer.daemon.ports import Post
from autohealer.processes.census import adopters
from autohealer.processes.identity import parse_environment
from autohealer.processes.procfs import Stat, all_pids, raw_environment_of, stat_of
from autohealer.processes.tree import Leader

LOOK_S = 10.0
LOOKS = 2
"""So many in a row make it certain: a moment's need is none."""
GROWN = 1.1
"""By so much more it is worth telling again."""

Start = Callable[[Coroutine[object, object, None]], object]


def sizes_of(leaders: Mapping[int, str]) -> dict[int, int]:
    """Bytes resident in the tree of each leader, by its pid; they are given with their tokens. Raises `OSError`."""
    stats = {stat.pid: stat for pid in all_pids() if (stat := stat_of(pid)) is not None}
    look = _Look(leaders, stats)
    sizes = dict.fromkeys((pid for pid in leaders if pid in stats), 0)
    for pid, stat in stats.items():
        if (leader := look.leader_of(pid)) in sizes:
            sizes[leader] += stat.rss_bytes
    return sizes


class _Look:
    """Whose each process is, found out along its parents and remembered; 0: nobody's."""

    def __init__(self, leaders: Mapping[int, str], stats: Mapping[int, Stat]) -> None:
        self._stats = stats
        self._leaders = {token: pid for pid, token in leaders.items()}
        self._known: dict[int, int] = {0: 0} | {pid: pid for pid in leaders}
        self._orphans_of = adopters()
        oldest = (stats[pid].start_ticks for pid in leaders if pid in stats)
        self._since_ticks = min(oldest, default=0)

    def leader_of(self, pid: int) -> int:
        """The pid of its leader."""
        line: list[int] = []
        while pid not in self._known:
            stat = self._stats.get(pid)
            self._known[pid] = 0 if stat is None else self._known_by_itself(stat)
            line.append(pid)
            if self._known[pid] or stat is None:
                break
            pid = stat.parent
        leader = self._known[pid]
        self._known |= dict.fromkeys(line, leader)
        return leader

    def _known_by_itself(self, stat: Stat) -> int:
        for pid in (stat.session, stat.group):
            if pid and self._known.get(pid) == pid:
                return pid
        if stat.parent not in self._orphans_of or stat.start_ticks < self._since_ticks:
            return 0
        raw = raw_environment_of(stat.pid) or b""
        return self._leaders.get(parse_environment(raw).get(ENV_TOKEN, ""), 0)


@dataclass(slots=True)
class _Worker:
    above: int = 0
    told_bytes: int = 0


class Weigher:
    """Judges the workers of one group by its limit."""

    def __init__(self, post: Post, leader_of: Callable[[Incarnation], Leader | None]) -> None:
        self.limit_bytes: int | None = None
        self._post = post
        self._leader_of = leader_of
        self._workers: dict[Incarnation, _Worker] = {}

    def watch(self, name: Incarnation) -> None:
        """Weigh a worker from now on."""
        self._workers[name] = _Worker()

    def forget(self, name: Incarnation) -> None:
        """It has ended, or is about to."""
        self._workers.pop(name, None)

    def leaders(self) -> dict[Incarnation, Leader]:
        """Who is to be weighed now."""
        if self.limit_bytes is None:
            return {}
        found = ((name, self._leader_of(name)) for name in self._workers)
        return {name: leader for name, leader in found if leader is not None}

    def weighed(self, name: Incarnation, rss_bytes: int) -> None:
        """A worker's tree was found to use so much."""
        worker, limit_bytes = self._workers.get(name), self.limit_bytes
        if worker is None or limit_bytes is None:
            return
        worker.above = worker.above + 1 if rss_bytes > limit_bytes else 0
        if worker.above >= LOOKS and rss_bytes >= GROWN * worker.told_bytes:
            worker.told_bytes = rss_bytes
            self._post(MemoryReported(name, rss_bytes))
        elif worker.told_bytes and not worker.above:
            worker.told_bytes = 0
            self._post(MemoryReported(name, rss_bytes))


class Scales:
    """Looks for all groups of a daemon; on the loop's thread, but for the look."""

    def __init__(self, start: Start, look_s: float = LOOK_S) -> None:
        """`start` runs a coroutine whose end nobody waits for."""
        self._start = start
        self._look_s = look_s
        self._weighers: list[Weigher] = []
        self._timer: asyncio.TimerHandle | None = None

    def add(self, weigher: Weigher) -> None:
        """Weigh a group's workers from now on."""
        if weigher not in self._weighers:
            self._weighers.append(weigher)
        if self._timer is None:
            self._later()

    def remove(self, weigher: Weigher) -> None:
        """That group is kept no more, or has no limit any more."""
        if weigher in self._weighers:
            self._weighers.remove(weigher)
        if not self._weighers and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _later(self) -> None:
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()  # it was set while a look was under way
        self._timer = loop.call_later(self._look_s, lambda: self._start(self._look()))

    async def _look(self) -> None:
        trees = [(it, name, who) for it in self._weighers for name, who in it.leaders().items()]
        try:
            if trees:
                sizes = await asyncio.to_thread(sizes_of, {who.pid: who.token for *_, who in trees})
                for weigher, name, who in trees:
                    if who.pid in sizes:
                        weigher.weighed(name, sizes[who.pid])
        except (OSError, RuntimeError):
            pass  # no descriptor, no memory or no thread is to be had now: the next look may have them
        if self._weighers:
            self._later()
