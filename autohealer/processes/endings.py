"""What ended incarnations left behind: find it, end it, and say when nothing is left, or who resists.

Theory of operation. A tree comes here when its leader has ended. Where this daemon launched it, the leader's
group was killed with it, and what left the group becomes a child of ours (a subreaper) as its parents die:
looking at our own children is enough, is cheap, and is done whenever one of them ends. An adopted one's tree is
found by a census of all processes, one for all trees that ask in the same moment. What is found is held
through a pidfd, proven again, and killed; when it is gone we look again, because it may have forked.

A look that failed proves nothing: the tree is not known to be empty, and the decider, which repeats its
order every `kill_retry_s`, is who looks again. Between two orders there are at most `LOOKS_MAX` more looks.
Used from the event loop's thread only; nothing here raises.
"""

from __future__ import annotations

import asyncio
import random
import signal
from functools import partial

from autohealer.core.events import TreeEmptied, TreeResists, WorkerExited
from autohealer.core.model import Exit, Incarnation
from autohealer.daemon.ports import Post
from autohealer.processes.census import Census, Sighting
from autohealer.processes.cgroup import WorkerCgroups
from autohealer.processes.reaper import Reaper, Watched
from autohealer.processes.tree import Tree, carries_token, in_group, in_words

AGAIN_S = 0.02
"""Until the next look at a tree that is not known to be empty though nobody was found; doubled each time."""

LOOKS_MAX = 5
"""With `AGAIN_S` 0.6 s in all: then the decider's repeated order takes over."""


class Endings:
    """The trees whose leader has ended and that are not known to be empty."""

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
        self._trees: dict[Incarnation, Tree] = {}
        self._due: dict[Incarnation, Tree] = {}
        self._soon: asyncio.Handle | None = None
        self._later: asyncio.TimerHandle | None = None
        self._awaits_stray = False

    def get(self, name: Incarnation) -> Tree | None:
        """The tree of an ended incarnation, until it is known to be empty."""
        return self._trees.get(name)

    def begin(self, tree: Tree, exit_: Exit) -> None:
        """The leader has ended and was reaped: tell of it, and kill the rest."""
        tree.leader, tree.looks, tree.kills = None, 0, max(tree.kills, 1)
        self._trees[tree.name] = tree
        if self._cgroups is not None:
            self._cgroups.kill(tree.name)
        if not tree.is_child:
            tree.exit = exit_
            self._look_soon(tree)
            return
        self._reaper.collect_strays()
        is_empty = self._is_empty(tree, self._children())
        self._post(WorkerExited(tree.name, exit_, is_empty, self._rng.random(), tree.pid))
        if is_empty:
            self._forget(tree)
        else:
            self._look_when_a_child_ends()
            self._look_later(tree)

    def kill(self, tree: Tree) -> None:
        """The tree is to be ended: its leader was signalled, if it lives. Repeated, also what left its group."""
        tree.kills += 1
        if self._cgroups is not None:
            self._cgroups.kill(tree.name)
        if tree.kills == 1:
            return
        tree.looks = 0
        tree.outlived = (*([tree.pid] if tree.leader is not None else []), *tree.rest)
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
        trees = [tree for tree in self._trees.values() if tree.is_child]
        if not trees:
            return
        self._reaper.collect_strays()
        children = self._children()
        for tree in trees:
            if children is not None:
                self._hold(tree, children)
            if self._is_empty(tree, children):
                self._emptied(tree)
            else:
                self._look_when_a_child_ends()

    # --- everybody ----------------------------------------------------------------------------

    def _look_soon(self, tree: Tree) -> None:
        """In the loop's next round, together with all others that ask in this one."""
        self._due[tree.name] = tree
        if self._soon is None:
            self._soon = asyncio.get_running_loop().call_soon(self._look)

    def _look_later(self, tree: Tree) -> None:
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
        trees = [t for t in due.values() if t.leader is not None or self._trees.get(t.name) is t]
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

    def _could_not_look(self, tree: Tree, error: OSError) -> None:
        self._tell_exit(tree, is_empty=False)
        if tree.kills > 1:
            self._tell_resisting(tree, (f"its processes cannot be looked for ({error.strerror})",))

    def _look_at(self, tree: Tree, everybody: Sighting) -> None:
        self._hold(tree, everybody)
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

    def _is_empty(self, tree: Tree, sighting: Sighting | None) -> bool:
        if sighting is None or not tree.note_group() or tree.rest or self._is_in_leaf(tree):
            return False
        return sighting.settled and not sighting.members(tree.token)

    def _is_in_leaf(self, tree: Tree) -> bool:
        return self._cgroups is not None and bool(self._in_leaf(tree, self._cgroups))

    def _in_leaf(self, tree: Tree, cgroups: WorkerCgroups) -> list[int]:
        """Who is left in the leaf; the old leader stands for what cannot be told."""
        try:
            return cgroups.members(tree.name)
        except OSError:
            return [tree.pid]

    # --- one process --------------------------------------------------------------------------

    def _hold(self, tree: Tree, sighting: Sighting) -> None:
        """Kill every other process of a tree through a pidfd that is verified after it was opened."""
        for pid in sighting.members(tree.token):
            if pid in tree.rest or (tree.leader is not None and pid == tree.pid):
                continue
            try:
                watched = self._reaper.watch(pid, partial(self._rest_ended, tree))
            except OSError:
                continue  # it ended meanwhile, or cannot be held now: we look again
            if self._is_member(tree, pid):
                tree.rest[pid] = watched
                watched.signal(signal.SIGKILL)
            else:
                self._reaper.forget(watched)

    def _is_member(self, tree: Tree, pid: int) -> bool:
        """Whether what is held now is what was seen, not a stranger that was given its pid."""
        try:
            return carries_token(pid, tree.token)
        except OSError:
            return False

    def _rest_ended(self, tree: Tree, watched: Watched) -> None:
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

    def _tell_exit(self, tree: Tree, *, is_empty: bool) -> None:
        if tree.exit is not None:
            jitter = self._rng.random()
            self._post(WorkerExited(tree.name, tree.exit, is_empty, jitter, tree.pid))
            tree.exit = None

    def _tell_holdouts(self, tree: Tree) -> None:
        """Only after an order was repeated: before, they may just be dying."""
        if tree.kills > 1:
            pids = dict.fromkeys([*tree.outlived, *self._beyond_the_token(tree)])
            words = (in_words(pid) for pid in pids)
            self._tell_resisting(tree, tuple(sentence for sentence in words if sentence))

    def _tell_resisting(self, tree: Tree, holdouts: tuple[str, ...]) -> None:
        """Once for every change."""
        if holdouts and holdouts != tree.told:
            tree.told = holdouts
            self._post(TreeResists(tree.name, holdouts))

    def _beyond_the_token(self, tree: Tree) -> list[int]:
        """What the group and the leaf still hold, whoever may read its environment."""
        found = [] if self._cgroups is None else self._in_leaf(tree, self._cgroups)
        if tree.leader is None and tree.note_group():
            return found
        try:
            return [*found, *in_group(tree.pid)]
        except OSError:
            return found

    def _emptied(self, tree: Tree) -> None:
        self._forget(tree)
        self._post(TreeEmptied(tree.name, self._rng.random()))

    def _forget(self, tree: Tree) -> None:
        del self._trees[tree.name]
        if self._cgroups is not None:
            asyncio.get_running_loop().call_soon(self._cgroups.remove, tree.name)
