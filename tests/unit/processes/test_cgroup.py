"""Delegated control groups, on this machine's real cgroup v2: whole incarnations held, ended and found again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from autohealer.core.model import Incarnation
from autohealer.launchspec import TreeLimits
from autohealer.processes.cgroup import (
    SUBGROUP,
    WorkerCgroups,
    impose,
    own_oom_kills,
    why_not_enforced,
)
from tests.support.eventually import eventually
from tests.support.require import require

WITHIN_S = 30.0
NAME = Incarnation(3, 1795190985446300)
OTHER = Incarnation(4, 1795190985446300)
MARK = "user.delegate"
TREE = "import os, time; os.fork(); os.setsid() if os.getppid() != {test} else None; os.fork(); time.sleep(600)"
"""Four processes, two of them in a session of their own."""
HOG = "chunks = [bytearray(b'x' * 2**20) for _ in range(256)]"
LIMIT_BYTES = 64 * 2**20


def mount_of(kind: str, option: str) -> Path | None:
    """Where a hierarchy of control groups is mounted on this machine."""
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, fs_type, options, *_ = line.split()
        if fs_type == kind and option in options.split(","):
            return Path(place)
    return None


def remove_tree(group: Path) -> None:
    """Remove a group and all below it, which must be empty of processes."""
    for folder, _, _ in sorted(os.walk(group), reverse=True):
        Path(folder).rmdir()


@pytest.fixture
def root() -> Iterator[Path]:
    """A group of the test's own, in the place of a unit's."""
    top = mount_of("cgroup2", "rw")
    require("a writable cgroup v2", top is not None and os.access(top, os.W_OK))
    assert top is not None
    group = top / f"autohealer-test-{os.getpid()}"
    group.mkdir()
    yield group
    (group / "cgroup.kill").write_text("1")
    eventually(lambda: "populated 0" in (group / "cgroup.events").read_text(), within_s=WITHIN_S)
    remove_tree(group)


@pytest.fixture
def children() -> Iterator[list[subprocess.Popen[bytes]]]:
    """What a test starts, ended and collected afterwards."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for child in started:
        child.kill()
        child.wait()


def start(children: list[subprocess.Popen[bytes]], *command: str) -> subprocess.Popen[bytes]:
    """A process in a session of its own, as a worker is."""
    children.append(subprocess.Popen(command, start_new_session=True))
    return children[-1]


def found_from(group: Path) -> str:
    """What a process in this group finds to be delegated to it."""
    program = (
        "from autohealer.processes.cgroup import WorkerCgroups; print(WorkerCgroups.find('web'))"
    )
    enter = f"open({str(group / 'cgroup.procs')!r}, 'w').write('0'); "
    done = subprocess.run(
        (sys.executable, "-c", enter + program), stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout.strip()


# --- what is delegated ------------------------------------------------------------------------


def test_a_marked_group_is_used(root: Path) -> None:
    """Under systemd the leaves would never be made."""
    os.setxattr(root, MARK, b"1")
    assert found_from(root) == repr(WorkerCgroups(root, "web"))


def test_a_group_that_is_only_writable_is_left_alone(root: Path) -> None:
    """Started as root by hand, the daemon would rearrange groups that somebody else manages."""
    assert found_from(root) == "None"
    os.setxattr(root, MARK, b"0")
    assert found_from(root) == "None"


def test_the_subgroup_made_for_the_daemon_is_understood(root: Path) -> None:
    """With `DelegateSubgroup=` workers would get no leaves."""
    os.setxattr(root, MARK, b"1")
    (root / SUBGROUP).mkdir()
    (root / "another").mkdir()
    assert found_from(root / SUBGROUP) == repr(WorkerCgroups(root, "web"))
    assert found_from(root / "another") == "None"


def test_an_own_group_is_found_through_a_container_s_mount(root: Path, tmp_path: Path) -> None:
    """In a container, where only a part of the tree is mounted, nothing would be found."""
    os.setxattr(root, MARK, b"1")
    inner = root / "inner"
    inner.mkdir()
    os.setxattr(inner, MARK, b"1")
    program = (
        "import sys; from autohealer.processes.cgroup import WorkerCgroups; "
        "print(WorkerCgroups.find(sys.argv[1]))"
    )
    place = tmp_path / "a place"
    place.mkdir()
    script = (
        f"echo $$ > {inner}/cgroup.procs && "
        f"mount --bind {root} '{place}' && umount {mount_of('cgroup2', 'rw')} && "
        f"exec {sys.executable} -c '{program}' web"
    )
    done = subprocess.run(
        ("unshare", "--mount", "sh", "-c", script),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == repr(WorkerCgroups(place / "inner", "web"))


# --- leaves -----------------------------------------------------------------------------------


def test_everything_an_incarnation_starts_ends_with_it(
    root: Path, children: list[subprocess.Popen[bytes]]
) -> None:
    """What left the group, the session and its parents would live on beside the replacement."""
    groups = WorkerCgroups(root, "web")
    bystander = start(children, "sleep", "600")
    groups.place(OTHER, bystander.pid)
    gate = f"import sys; sys.stdin.read(); {TREE.format(test=os.getpid())}"
    worker = subprocess.Popen(
        (sys.executable, "-c", gate), stdin=subprocess.PIPE, start_new_session=True
    )
    children.append(worker)
    groups.place(NAME, worker.pid)
    assert worker.stdin is not None
    worker.stdin.close()
    eventually(lambda: len(groups.members(NAME)) == 4, within_s=WITHIN_S)
    assert worker.pid in groups.members(NAME)
    groups.kill(NAME)
    assert worker.wait(WITHIN_S) == -signal.SIGKILL
    eventually(lambda: groups.members(NAME) == [], within_s=WITHIN_S)
    assert groups.members(OTHER) == [bystander.pid]


def test_a_stopped_process_ends_too(root: Path, children: list[subprocess.Popen[bytes]]) -> None:
    """A frozen worker would hold its slot for ever."""
    groups = WorkerCgroups(root, "web")
    worker = start(children, "sleep", "600")
    groups.place(NAME, worker.pid)
    worker.send_signal(signal.SIGSTOP)
    groups.kill(NAME)
    assert worker.wait(WITHIN_S) == -signal.SIGKILL


def test_groups_a_worker_made_belong_to_it(
    root: Path, children: list[subprocess.Popen[bytes]]
) -> None:
    """A worker that is a supervisor itself would leave processes, or a leaf that cannot be removed."""
    groups = WorkerCgroups(root, "web")
    worker = start(children, "sleep", "600")
    groups.place(NAME, worker.pid)
    below = root / f"worker-web-{NAME.slot}-{NAME.generation}" / "its own"
    below.mkdir()
    (below / "cgroup.procs").write_text(str(worker.pid))
    assert groups.members(NAME) == [worker.pid]
    groups.kill(NAME)
    worker.wait(WITHIN_S)
    groups.remove(NAME)
    assert groups.names() == []


def test_a_leaf_goes_when_it_is_empty_and_not_before(
    root: Path, children: list[subprocess.Popen[bytes]]
) -> None:
    """Leaves would pile up with every restart, or a live worker would lose its own."""
    groups = WorkerCgroups(root, "web")
    worker = start(children, "sleep", "600")
    groups.place(NAME, worker.pid)
    groups.remove(NAME)
    assert groups.names() == [NAME]
    groups.kill(NAME)
    worker.wait(WITHIN_S)
    groups.remove(NAME)
    assert groups.names() == []


def test_what_has_no_leaf_is_empty(root: Path) -> None:
    """A worker launched by a daemon without delegation could never be ended."""
    groups = WorkerCgroups(root, "web")
    groups.kill(NAME)
    groups.remove(NAME)
    assert groups.members(NAME) == []
    assert groups.oom_kills(NAME) == 0
    assert list(root.glob("worker-*")) == []


def test_a_process_that_ended_before_it_was_placed_leaves_no_leaf(
    root: Path, children: list[subprocess.Popen[bytes]]
) -> None:
    """A worker that dies at once would leave a directory each time."""
    groups = WorkerCgroups(root, "web")
    worker = start(children, "true")
    worker.wait(WITHIN_S)
    with pytest.raises(OSError, match="No such process"):
        groups.place(NAME, worker.pid)
    assert groups.names() == []


def test_a_later_daemon_finds_the_leaves_and_clears_the_empty_ones(
    root: Path, children: list[subprocess.Popen[bytes]]
) -> None:
    """After a crash of the daemon its workers' trees would be out of reach."""
    os.setxattr(root, MARK, b"1")
    worker = start(children, "sleep", "600")
    WorkerCgroups(root, "web").place(NAME, worker.pid)
    (root / f"worker-web-{OTHER.slot}-{OTHER.generation}").mkdir()
    (root / "somebody-else-s").mkdir()
    assert found_from(root) == repr(WorkerCgroups(root, "web"))
    later = WorkerCgroups(root, "web")
    assert later.names() == [NAME]
    assert later.members(NAME) == [worker.pid]
    assert (root / "somebody-else-s").is_dir()


# --- memory -----------------------------------------------------------------------------------


def test_the_kernel_s_kills_for_memory_are_counted() -> None:
    """`why` could not tell a worker that ate its memory from one an operator killed."""
    memory = mount_of("cgroup", "memory")
    require("the v1 memory controller", memory is not None and os.access(memory, os.W_OK))
    assert memory is not None
    group = memory / f"autohealer-test-{os.getpid()}"
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text(str(LIMIT_BYTES))
        assert _counted_around(HOG, group) == ["0", str(-signal.SIGKILL), "1"]
        assert _counted_around("pass", group) == ["1", "0", "1"]
    finally:
        remove_tree(group)


def _counted_around(program: str, group: Path) -> list[str]:
    """The count before, a worker's exit, and the count after, all seen by a daemon in this group."""
    daemon = (
        "import subprocess, sys; from autohealer.processes.cgroup import own_oom_kills as count; "
        f"open({str(group / 'cgroup.procs')!r}, 'w').write('0'); print(count()); "
        f"print(subprocess.run((sys.executable, '-c', {program!r})).returncode); print(count())"
    )
    done = subprocess.run(
        (sys.executable, "-c", daemon), stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout.split()


def test_the_count_is_a_number_or_unknown() -> None:
    """On a machine without memory control the daemon would end when its first worker does."""
    count = own_oom_kills()
    assert count is None or count >= 0


# --- limits of a worker with all it starts ------------------------------------------------------

LIMITS = TreeLimits(memory_max_bytes=2**29, cpu_max=1.5)


def test_limits_are_imposed_on_a_leaf(tmp_path: Path) -> None:
    """A worker could take all memory, or all processors, in spite of its group's limits."""
    for name in ("memory.max", "cpu.max"):
        (tmp_path / name).touch()
    impose(LIMITS, tmp_path)
    assert (tmp_path / "memory.max").read_text() == "536870912"
    assert (tmp_path / "cpu.max").read_text() == "150000 100000"


def test_a_leaf_without_controllers_takes_workers_all_the_same(tmp_path: Path) -> None:
    """Where limits cannot be enforced nothing would start."""
    impose(LIMITS, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("own", "delegated", "controllers", "sentence"),
    [
        (SUBGROUP, True, "cpu memory pids", ""),
        (
            SUBGROUP,
            True,
            "cpu pids",
            "memory_max is not enforced: control groups here have no controller",
        ),
        (
            "x.service",
            True,
            "cpu memory",
            "memory_max and cpu_max are not enforced: the daemon sits in",
        ),
        (
            SUBGROUP,
            False,
            "cpu memory",
            "memory_max and cpu_max are not enforced: no control group",
        ),
    ],
)
def test_why_limits_do_not_hold_is_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    own: str,
    delegated: bool,
    controllers: str,
    sentence: str,
) -> None:
    """An operator would believe in a limit that nobody keeps."""
    (tmp_path / "cgroup.controllers").write_text(f"{controllers}\n")
    monkeypatch.setattr("autohealer.processes.cgroup._own_group", lambda *_: tmp_path / own)
    monkeypatch.setattr("autohealer.processes.cgroup._is_delegated", lambda _: delegated)
    found = why_not_enforced(LIMITS)
    assert found.startswith(sentence)
    assert bool(found) is bool(sentence)
    assert why_not_enforced(TreeLimits()) == ""
