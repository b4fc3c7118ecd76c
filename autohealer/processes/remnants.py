"""What ended incarnations left behind: find it, end it, and say when nothing is left, or who resists.

Theory of operation. A tree comes here when its leader has ended. Where this daemon launched it, what left the leader's
group becomes a child of ours (a subreaper) as its parents die: looking at our own children is enough, is cheap, and is
done whenever one of them ends. One such child that carries no token any more (`su -`, `env -i`) is known by its session
or by the output file it writes to. An adopted one's tree is found by a census of all processes, one for all trees that
ask in the same moment: by the token and, where that was overwritten (a process title), by the leader's session or
group, in which nobody can be but by birth while anybody is. What is found is held through a pidfd, proven again, and
killed; when it is gone we look again, because it may have forked. The tree of a worker that was only asked to end is
spared until it is to be killed: behind a shell that died of TERM the real worker may be finishing its work.

A look that failed proves nothing: the tree is not known to be empty, and the decider, which repeats its
order every `kill_retry_s`, is who looks again. Between two orders there are at most `LOOKS_MAX` more looks.
Used from the event loop's thread only; nothing here raises.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from autohealer.core.events import TreeEmptied, TreeResists, WorkerExited
from autohealer.core.model import Exit, Incarnation
from autohealer.daemon.ports import Post
from autohealer.processes.adoption import Process
from autohealer.processes.census import Census, Sighting
from autohealer.processes.cgroup import WorkerCgroups
from autohealer.processes.identity import ticks_now
from autohealer.processes.procfs import own_children, stat_of, writes_to
from autohealer.processes.reaper import Reaper, Watched
from autohealer.processes.tree import by_group, carries_token, in_words, is_group_empty

AGAIN_S = 0.02
"""Until the next look at a tree that is not known to be empty though nobody was found; doubled each time."""

LOOKS_MAX = 5
"""With `AGAIN_S` 0.6 s in all: then the decider's repeated order takes over."""


@dataclass(slots=True)
class Remnant:
    """The tree of an incarnation whose leader `pid` has ended, or does not end although it was killed.

    `leader` is set in the second case; `exit` is how it ended, until that was told. `rest` are the others that were
    found, each held, and killed unless the tree `spares` them. `group_gone` stays true once nothing was left in the
    leader's group: from then on its number may be somebody else's. `kills` counts the orders to end it, `looks` those
    at what is left since the last one; `outlived` are the pids that had been killed before the last order, `told` what
    was last said of those who resist. `output` is the file it writes to, `ended_ticks` is when it was known that its
    leader had ended, 0 where no daemon saw that.
    """

    name: Incarnation
    pid: int
    token: str
    start_ticks: int
    is_child: bool
    output: str
    leader: Watched | None = None
    rest: dict[int, Watched] = field(default_factory=dict)
    exit: Exit | None = None
    spares: bool = False
    group_gone: bool = False
    kills: int = 0
    looks: int = 0
    outlived: tuple[int, ...] = ()
    told: tuple[str, ...] = ()
    ended_ticks: int = field(default_factory=ticks_now)

    def note_group(self) -> bool:
        """Whether nothing is left in the leader's group; only the launching daemon can tell."""
        self.group_gone = self.group_gone or not self.is_child or is_group_empty(self.pid)
        return self.group_gone


@dataclass(frozen=True, slots=True)
class Ended:
    """A leader that has ended and was reaped; `spares`: it was asked to end, and so was the rest."""

    tree: Remnant
    exit: Exit
    spares: bool


class Remnants:
    """The trees whose leader has ended and that are not known to be empty, and those whose leader resists."""

    def __init__(
        self,
        reaper: Reaper,
        census: Census,
        cgroups: WorkerCgroups | None,
        post: Post,
        rng: random.Random,
    ) -> None:
        self._reaper = reaper
        self._census = census
        self._cgroups = cgroups
        self._post = post
        self._rng = rng
        self._trees: dict[Incarnation, Remnant] = {}
        self._due: dict[Incarnation, Remnant] = {}
        self._soon: asyncio.Handle | None = None
        self._later: asyncio.TimerHandle | None = None
        self._awaits_stray = False

    def __contains__(self, name: Incarnation) -> bool:
        """Whether an incarnation's tree is not known to be empty yet."""
        return name in self._trees

    def begin(self, ended: Sequence[Ended]) -> None:
        """These leaders have ended and were reaped: tell of it, and end the rest, unless it is spared."""
        trees = [self._taken_in(one) for one in ended]
        self._hold_groups([tree for tree in trees if tree.spares])
        self._begin_children([tree for tree in trees if tree.is_child])
        for tree in trees:
            if not tree.is_child:
                self._look_soon(tree)

    def inherit(
        self, name: Incarnation, token: str, output: str, left: Process, leader: Process | None
    ) -> None:
        """End what is left of an incarnation that died while no daemon ran, and tell of its end.

        `left` is one of those, `leader` is who led it, if that was noted.
        """
        pid, start_ticks = (left.pid, 0) if leader is None else (leader.pid, leader.start_ticks)
        tree = Remnant(name, pid, token, start_ticks, is_child=False, output=output, ended_ticks=0)
        tree.exit = Exit()
        self._trees[name] = tree
        self.kill(name)

    def hunt(self, tree: Remnant) -> None:
        """Its leader was killed before and has not ended: end the others meanwhile, and say who resists."""
        known = self._trees.setdefault(tree.name, tree)
        known.kills = max(known.kills, 1)
        self.kill(tree.name)

    def kill(self, name: Incarnation) -> None:
        """The tree is to be ended, whatever is left of it; the order may be a repeated one."""
        tree = self._trees.get(name)
        if tree is None:
            return
        tree.kills += 1
        tree.spares, tree.looks = False, 0
        if tree.kills > 1:
            tree.outlived = (*([tree.pid] if tree.leader is not None else []), *tree.rest)
        if self._cgroups is not None:
            self._cgroups.kill(name)
        for watched in tree.rest.values():
            watched.signal(signal.SIGKILL)
        self._look_soon(tree)

    def release(self) -> None:
        """Stop looking; the processes are not touched."""
        for tree in self._trees.values():
            for watched in tree.rest.values():
                self._reaper.forget(watched)
        self._trees.clear()
        self._due.clear()

    # --- the leader has ended -----------------------------------------------------------------

    def _taken_in(self, ended: Ended) -> Remnant:
        tree = self._trees.setdefault(ended.tree.name, ended.tree)
        tree.leader, tree.exit, tree.looks = None, ended.exit, 0
        tree.spares = ended.spares and not tree.kills
        if not tree.spares:
            tree.kills = max(tree.kills, 1)
            if self._cgroups is not None:
                self._cgroups.kill(tree.name)
        return tree

    def _hold_groups(self, trees: Sequence[Remnant]) -> None:
        """Hold who is left in the groups of leaders just reaped; nobody else can have a group's number yet."""
        if all(is_group_empty(tree.pid) for tree in trees):
            return
        try:
            groups = by_group()
        except OSError:
            return  # the decider's order to kill looks again
        for tree in trees:
            for pid in groups.get(tree.pid, ()):
                self._hold(tree, pid, partial(_is_in_group, tree))

    def _begin_children(self, trees: Sequence[Remnant]) -> None:
        """Most trees are empty by now, which is known at once: their slots wait for nothing."""
        if not trees:
            return
        self._reaper.collect_strays()
        sighting = self._children()
        for tree in trees:
            self._hold_all(tree, sighting)
            is_empty = self._is_empty(tree, sighting)
            self._tell_exit(tree, is_empty=is_empty)
            if is_empty:
                self._forget(tree)
            else:
                self._look_when_a_child_ends()
                self._look_later(tree)

    # --- our own children: cheap, and enough for what we launched -----------------------------

    def _children(self) -> Sighting | None:
        try:
            return self._census.of_children()
        except OSError:
            return None

    def _look_when_a_child_ends(self) -> None:
        if not self._awaits_stray:
            self._awaits_stray = True
            self._reaper.on_next_stray(self._child_ended)

    def _child_ended(self) -> None:
        self._awaits_stray = False
        self._look_at_children()

    def _look_at_children(self) -> None:
        """Finish what turns out to be empty; a look that fails is made up for by the later one at everybody."""
        trees = [tree for tree in self._trees.values() if tree.is_child and tree.leader is None]
        if not trees:
            return
        self._reaper.collect_strays()
        children = self._children()
        for tree in trees:
            self._hold_all(tree, children)
            if self._is_empty(tree, children):
                self._emptied(tree)
            else:
                self._look_when_a_child_ends()

    # --- everybody ----------------------------------------------------------------------------

    def _look_soon(self, tree: Remnant) -> None:
        """In the loop's next round, together with all others that ask in this one."""
        self._due[tree.name] = tree
        if self._soon is None:
            self._soon = asyncio.get_running_loop().call_soon(self._look)

    def _look_later(self, tree: Remnant) -> None:
        if tree.looks == LOOKS_MAX:
            return
        self._due[tree.name] = tree
        if self._later is None:
            delay_s = AGAIN_S * 2**tree.looks
            self._later = asyncio.get_running_loop().call_later(delay_s, self._look)
        tree.looks += 1

    def _look(self) -> None:
        for handle in (self._soon, self._later):
            if handle is not None:
                handle.cancel()
        self._soon = self._later = None
        due, self._due = self._due, {}
        trees = [tree for tree in due.values() if self._trees.get(tree.name) is tree]
        if not trees:
            return
        self._reaper.collect_strays()
        try:
            everybody = self._census.of_all()
        except OSError as error:
            for tree in trees:
                self._could_not_look(tree, error)
            return
        for tree in trees:
            self._look_at(tree, everybody)

    def _could_not_look(self, tree: Remnant, error: OSError) -> None:
        self._tell_exit(tree, is_empty=False)
        if tree.kills > 1:
            self._tell_resisting(tree, (f"its processes cannot be looked for ({error.strerror})",))

    def _look_at(self, tree: Remnant, everybody: Sighting) -> None:
        self._hold_all(tree, everybody)
        if tree.leader is not None:
            self._tell_holdouts(tree)
            return
        is_empty = self._is_empty(tree, everybody)
        if tree.exit is not None:
            self._tell_exit(tree, is_empty=is_empty)
            if is_empty:
                self._forget(tree)
        elif is_empty:
            self._emptied(tree)
        if not is_empty:
            self._tell_holdouts(tree)
            if not tree.rest:
                self._look_later(tree)

    def _is_empty(self, tree: Remnant, sighting: Sighting | None) -> bool:
        if sighting is None or not tree.note_group() or tree.rest or self._is_in_leaf(tree):
            return False
        return sighting.is_settled_since(tree.start_ticks) and not sighting.members(tree.token)

    def _is_in_leaf(self, tree: Remnant) -> bool:
        return self._cgroups is not None and bool(self._in_leaf(tree, self._cgroups))

    def _in_leaf(self, tree: Remnant, cgroups: WorkerCgroups) -> list[int]:
        """Who is left in the leaf; the old leader stands for what cannot be told."""
        try:
            return cgroups.members(tree.name)
        except OSError:
            return [tree.pid]

    # --- one process --------------------------------------------------------------------------

    def _hold_all(self, tree: Remnant, sighting: Sighting | None) -> None:
        """Hold every other process of a tree that is seen, and kill it unless it is spared."""
        if sighting is None:
            return
        for pid in sighting.members(tree.token):
            self._hold(tree, pid, partial(_carries_token_of, tree))
        if tree.is_child:
            for pid in self._orphans_among(sighting):
                self._hold(tree, pid, partial(_is_orphan_of, tree))
            return
        for pid in sighting.loose:
            self._hold(tree, pid, partial(_was_led_by, tree))

    def _orphans_among(self, sighting: Sighting) -> list[int]:
        """Who became our child by its parents' death and carries no token: it descends from what we launched."""
        try:
            ours = set(own_children())
        except OSError:
            return []  # we look again
        return [pid for pid in sighting.loose if pid in ours and not self._reaper.is_watched(pid)]

    def _hold(self, tree: Remnant, pid: int, is_member: Callable[[int], bool]) -> None:
        """Hold a process through a pidfd, and verify afterwards that it is what was seen, not who was given its pid."""
        if pid in tree.rest or (tree.leader is not None and pid == tree.pid):
            return
        if not _is_so(is_member, pid):
            return
        try:
            watched = self._reaper.watch(pid, partial(self._rest_ended, tree))
        except OSError:
            return  # it ended meanwhile, or cannot be held now: we look again
        if not _is_so(is_member, pid):
            self._reaper.forget(watched)
            return
        tree.rest[pid] = watched
        if not tree.spares:
            watched.signal(signal.SIGKILL)

    def _rest_ended(self, tree: Remnant, watched: Watched) -> None:
        self._reaper.reap(watched)
        if tree.rest.get(watched.pid) is watched:
            del tree.rest[watched.pid]
        if tree.is_child:
            self._look_at_children()
        if self._trees.get(tree.name) is not tree:
            return
        if tree.rest:
            self._look_later(tree)
        else:
            self._look_soon(tree)

    # --- telling ------------------------------------------------------------------------------

    def _tell_exit(self, tree: Remnant, *, is_empty: bool) -> None:
        if tree.exit is not None:
            jitter = self._rng.random()
            self._post(WorkerExited(tree.name, tree.exit, is_empty, jitter, tree.pid))
            tree.exit = None

    def _tell_holdouts(self, tree: Remnant) -> None:
        """Only after an order was repeated: before, they may just be dying."""
        if tree.kills > 1:
            pids = dict.fromkeys([*tree.outlived, *self._beyond_the_token(tree)])
            words = (in_words(pid) for pid in pids)
            self._tell_resisting(tree, tuple(sentence for sentence in words if sentence))

    def _tell_resisting(self, tree: Remnant, holdouts: tuple[str, ...]) -> None:
        """Once for every change."""
        if holdouts and holdouts != tree.told:
            tree.told = holdouts
            self._post(TreeResists(tree.name, holdouts))

    def _beyond_the_token(self, tree: Remnant) -> list[int]:
        """What the group and the leaf still hold, whoever may read its environment."""
        found = [] if self._cgroups is None else self._in_leaf(tree, self._cgroups)
        if tree.leader is None and tree.note_group():
            return found
        try:
            return [*found, *by_group().get(tree.pid, ())]
        except OSError:
            return found

    def _emptied(self, tree: Remnant) -> None:
        self._forget(tree)
        self._post(TreeEmptied(tree.name, self._rng.random()))

    def _forget(self, tree: Remnant) -> None:
        del self._trees[tree.name]
        if self._cgroups is not None:
            asyncio.get_running_loop().call_soon(self._cgroups.remove, tree.name)


def _is_so(is_member: Callable[[int], bool], pid: int) -> bool:
    """Whether a process is a member, as far as one can look."""
    try:
        return is_member(pid)
    except OSError:
        return False


def _carries_token_of(tree: Remnant, pid: int) -> bool:
    return carries_token(pid, tree.token)


def _is_in_group(tree: Remnant, pid: int) -> bool:
    stat = stat_of(pid)
    return stat is not None and stat.group == tree.pid and stat.start_ticks >= tree.start_ticks


def _is_orphan_of(tree: Remnant, pid: int) -> bool:
    """Whether a child of ours without token descends from a tree: by its session, its group, or where it writes."""
    stat = stat_of(pid)
    if stat is None or not stat.is_alive or stat.start_ticks < tree.start_ticks:
        return False
    return tree.pid in {stat.session, stat.group} or writes_to(pid, tree.output)


def _was_led_by(tree: Remnant, pid: int) -> bool:
    """Whether a process is in an adopted leader's session or group, and not in that of who got its number since.

    Who got it started after the leader's end; where that was not seen, the output file tells.
    """
    stat = stat_of(pid)
    if stat is None or not stat.is_alive or stat.start_ticks < tree.start_ticks:
        return False
    if pid == tree.pid or tree.pid not in {stat.session, stat.group}:
        return False
    return stat.start_ticks <= tree.ended_ticks or writes_to(pid, tree.output)
