"""A control group of its own for every incarnation, where the daemon's own group was delegated to it.

Theory of operation. A process can leave its process group, its session and its parents and clear its
environment, but it cannot leave its cgroup unseen: what an incarnation starts stays in its leaf
`worker-<group>-<slot>-<generation>`, `cgroup.kill` ends all of it at once and without racing forks, and the leaf says
who is still there. Leaves are found again by name, so a restarted daemon needs no memory of its predecessor's.

Delegated means that whoever manages the tree says so: systemd marks the group of a unit with `Delegate=yes`
by an extended attribute. Write permission proves nothing (root may write everywhere), so without the mark
nothing is touched. The daemon stays where it was started: were controllers enabled for its children, the
kernel would let no process into the group itself, and systemd could not start the next daemon there while
workers live on. Only a daemon started in the subgroup `daemon` (`DelegateSubgroup=daemon`, systemd 254) leaves
the group itself free: then the memory and cpu controllers are enabled, a leaf counts its own out-of-memory kills, and
limits can be set to it.

Must never know: policy, or which process is whose; it is told names and pids.

Limits: `posix_spawn` cannot start a process in a leaf, so it is moved there a moment after its start, and
what it started before that stays outside: the group kill and the sweep for the token reach that. A worker
of the daemon's own user can move itself out again on purpose. A kernel without `cgroup.kill` (before 5.14),
and cgroup v1, are treated as not delegated.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from autohealer.core.model import Incarnation
from autohealer.launchspec import NO_TREE_LIMITS, TreeLimits

SUBGROUP = "daemon"
"""Where `DelegateSubgroup=` puts the daemon."""

_PERIOD_US = 100_000
"""What the kernel takes for it by default."""

_MARKS = ("user.delegate", "trusted.delegate")
_LEAF = re.compile(r"worker-(?P<group>.+)-(?P<slot>\d+)-(?P<generation>\d+)")
_ESCAPED = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class WorkerCgroups:
    """The leaves of a group's incarnations, directly below the delegated control group `root`."""

    root: Path
    group: str

    @staticmethod
    def find(group: str) -> WorkerCgroups | None:
        """The group delegated to this process; None where there is none. Empty leaves in it are removed."""
        own = _own_group("cgroup2", "")
        if own is None:
            return None
        root = own.parent if own.name == SUBGROUP else own
        if not _is_delegated(root):
            return None
        if root != own:
            _enable_controllers(root)
        leaves = WorkerCgroups(root, group)
        for name in leaves.names():
            leaves.remove(name)
        return leaves

    def names(self) -> list[Incarnation]:
        """Every incarnation that has a leaf, an earlier daemon's as well."""
        matches = (_LEAF.fullmatch(name) for name in os.listdir(self.root))  # noqa: PTH208 - names suffice
        return [
            Incarnation(int(found["slot"]), int(found["generation"]))
            for found in matches
            if found and found["group"] == self.group
        ]

    def place(self, name: Incarnation, pid: int, limits: TreeLimits = NO_TREE_LIMITS) -> None:
        """Move a process into the leaf of its incarnation, which is made for it, with limits. Raises `OSError`."""
        leaf = self._leaf(name)
        leaf.mkdir(exist_ok=True)
        try:
            impose(limits, leaf)
            _write(leaf / "cgroup.procs", str(pid))
        except OSError:
            self.remove(name)
            raise

    def kill(self, name: Incarnation) -> None:
        """End everything in the leaf; nothing happens without one.

        What the machine cannot do just now is not reported: who is left shows in `members`.
        """
        with contextlib.suppress(OSError):
            _write(self._leaf(name) / "cgroup.kill", "1")

    def members(self, name: Incarnation) -> list[int]:
        """The live processes of an incarnation (zombies are none). Raises `OSError` when it cannot be told."""
        return [pid for group in _tree_of(self._leaf(name)) for pid in _pids_in(group)]

    def oom_kills(self, name: Incarnation) -> int:
        """How many processes of an incarnation the kernel ended for memory; 0 where leaves do not count."""
        return _count_in(self._leaf(name) / "memory.events") or 0

    def remove(self, name: Incarnation) -> None:
        """Remove the leaf if nothing lives in it; harmless otherwise."""
        with contextlib.suppress(OSError):
            for group in reversed(list(_tree_of(self._leaf(name)))):
                group.rmdir()

    def _leaf(self, name: Incarnation) -> Path:
        return self.root / f"worker-{self.group}-{name.slot}-{name.generation}"


def own_oom_kills() -> int | None:
    """How many processes the kernel ended for memory in the group this process is charged to; None if unknown.

    Workers without a counting leaf of their own are charged there too: a KILL that nobody here sent, while
    this number rose, was probably the kernel's.
    """
    file = _own_counter()
    return None if file is None else _count_in(file)


@cache
def _own_counter() -> Path | None:
    """The file that counts for this process; looked for once, because it is read between a death and its heal."""
    own = _own_group("cgroup2", "")
    while own is not None and (own / "cgroup.procs").exists():
        if _count_in(own / "memory.events") is not None:
            return own / "memory.events"
        own = own.parent  # without the controller in its own group, a process is charged further up
    v1 = _own_group("cgroup", "memory")
    return None if v1 is None else v1 / "memory.oom_control"


def _own_group(kind: str, controller: str) -> Path | None:
    """The directory of the group this process is in: of cgroup v2 (no controller), or of a v1 controller."""
    try:
        memberships = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    for line in memberships:
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return _directory_of(path, kind, controller, mounts)
    return None


def _directory_of(path: str, kind: str, controller: str, mounts: list[str]) -> Path | None:
    """Where a group is mounted; a container often sees only a part of the tree."""
    for line in mounts:
        place, _, source = line.partition(" - ")
        root, mount_point = (_unescaped(field) for field in place.split(" ")[3:5])
        fs_type, _, options = source.split(" ", 2)
        if fs_type != kind or (controller and controller not in options.split(",")):
            continue
        if not Path(path).is_relative_to(root):
            continue
        directory = Path(mount_point) / Path(path).relative_to(root)
        if directory.is_dir():
            return directory
    return None


def _unescaped(field: str) -> str:
    """A field of mountinfo, where blanks are written in octal."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), field)


def _is_delegated(group: Path) -> bool:
    if not (os.access(group, os.W_OK) and (group / "cgroup.kill").exists()):
        return False
    for mark in _MARKS:
        with contextlib.suppress(OSError):
            if os.getxattr(group, mark) == b"1":
                return True
    return False


def _enable_controllers(root: Path) -> None:
    """Have leaves count and limit memory and time; without that they still hold their processes together."""
    for controller in ("memory", "cpu"):
        with contextlib.suppress(OSError):
            _write(root / "cgroup.subtree_control", f"+{controller}")


def impose(limits: TreeLimits, leaf: Path) -> None:
    """Hold what is in a leaf to limits, as far as it knows them: what it does not is told by `why_not_enforced`."""
    quota_us = None if limits.cpu_max is None else max(1000, int(limits.cpu_max * _PERIOD_US))
    told = {
        "memory.max": limits.memory_max_bytes,
        "cpu.max": None if quota_us is None else f"{quota_us} {_PERIOD_US}",
    }
    for name, value in told.items():
        with contextlib.suppress(OSError):
            if value is not None:
                _write(leaf / name, str(value))


def why_not_enforced(limits: TreeLimits) -> str:
    """A sentence if limits would not hold for the workers of a daemon in this process's place; "" where they do."""
    asked = [
        (name, controller)
        for name, controller, value in (
            ("memory_max", "memory", limits.memory_max_bytes),
            ("cpu_max", "cpu", limits.cpu_max),
        )
        if value is not None
    ]
    if not asked:
        return ""
    own = _own_group("cgroup2", "")
    if own is None or not _is_delegated(own.parent if own.name == SUBGROUP else own):
        missing, why = (
            asked,
            "no control group (cgroup v2) is delegated to the daemon: see Delegate= in systemd",
        )
    elif own.name != SUBGROUP:
        missing, why = (
            asked,
            (
                f"the daemon sits in the control group itself: DelegateSubgroup={SUBGROUP} (systemd 254) puts it below"
            ),
        )
    else:
        known = _controllers_of(own.parent)
        missing = [it for it in asked if it[1] not in known]
        why = f"control groups here have no controller for {' and '.join(it[1] for it in missing)}"
    names = " and ".join(it[0] for it in missing)
    return f"{names} {'is' if len(missing) == 1 else 'are'} not enforced: {why}" if missing else ""


def _controllers_of(group: Path) -> list[str]:
    """What a group can give to those below it."""
    try:
        return (group / "cgroup.controllers").read_text(encoding="ascii").split()
    except OSError:
        return []


def _tree_of(group: Path) -> Iterator[Path]:
    """A group and all below it, which a worker may have made; nothing when it is absent."""
    try:
        below = [entry.name for entry in os.scandir(group) if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return
    yield group
    for name in below:
        yield from _tree_of(group / name)


def _pids_in(group: Path) -> list[int]:
    try:
        text = (group / "cgroup.procs").read_text(encoding="ascii")
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENODEV}:
            return []  # removed before or while it was read
        raise
    return [int(pid) for pid in text.split()]


def _count_in(file: Path) -> int | None:
    """The out-of-memory kills a group counts; None where the file or the line is missing."""
    try:
        lines = file.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    counts = (int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
    return next(counts, None)


def _write(file: Path, text: str) -> None:
    """Tell the kernel; one write(2), with no file made where there is none."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode("ascii"))
    finally:
        os.close(descriptor)
