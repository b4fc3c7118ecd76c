"""What workers of the real daemon write is followed: each line once and in order, whatever befalls anybody."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.test_command_line import autohealer
from tests.integration.test_operating import pids
from tests.integration.test_several_groups import Fleet, does
from tests.support.eventually import eventually
from tests.support.servers import ZooKeeperUnderTest

WITHIN_S = 60.0
_COUNTING = """
import os, sys, time
for number in range(10**9):
    os.write(1, b"%d of %d\\n" % (number, os.getpid()))
    time.sleep(0.002)
"""
_GROUP = """
[group.{name}]
command = ["{python}", "{program}"]
replicas = 2
output = {output}
"""
_LINE = re.compile(r"(?:(\w+)/)?(\d+) +\| (\d+) of (\d+)")


def of_counters(folder: Path, **output_of: str) -> str:
    """Groups whose workers write numbered lines."""
    program = folder / "counting.py"
    program.write_text(_COUNTING)
    return "".join(
        _GROUP.format(name=name, python=sys.executable, program=program, output=output)
        for name, output in output_of.items()
    )


@contextmanager
def following(fleet: Fleet, into: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """`logs -f`, as long as the block lasts."""
    command = (sys.executable, "-m", "autohealer", "logs", "-f", *words)
    with (
        into.open("wb") as out,
        subprocess.Popen((*command, "--state-dir", str(fleet.state_dir)), stdout=out) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def told(into: Path) -> dict[tuple[str, str], list[int]]:
    """The numbers of each worker, in the order in which they were shown."""
    numbers: dict[tuple[str, str], list[int]] = defaultdict(list)
    whole, _, _ = into.read_text().rpartition("\n")
    for line in whole.splitlines():
        found = _LINE.fullmatch(line)
        assert found is not None, line
        numbers[found[1] or "", found[4]].append(int(found[3]))
    return numbers


def shown(into: Path, pid: int) -> int:
    """How many lines of a process are there by now."""
    return sum(len(numbers) for (_, of), numbers in told(into).items() if of == str(pid))


def grows(into: Path, pid: int, by: int = 200) -> None:
    """Wait until so many more lines of a process are there: as many as fill more than one file."""
    before = shown(into, pid)
    eventually(lambda: shown(into, pid) >= before + by, within_s=WITHIN_S)


def test_every_line_is_shown_once_whatever_befalls_workers_files_and_the_daemon(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """After a restart, a rotation or scaling up, lines would be missing, come twice, or not come any more."""
    groups = of_counters(
        tmp_path,
        # On a busy machine it takes seconds until somebody reads: rotation must not have deleted it by then.
        web='{ max_size = "4096", keep = 90 }',
        queue='{ max_size = "4096", keep = 90, timestamps = true }',
    )
    into = tmp_path / "followed"
    with Fleet(tmp_path, zookeeper.connection, groups) as fleet:
        first = fleet.whole("web", "queue")
        with following(fleet, into, "-n", "all") as process:
            eventually(into.read_text, within_s=WITHIN_S)
            grows(into, first["web"][0])
            os.kill(first["web"][0], signal.SIGKILL)
            fleet.heals("web", 0, first["web"][0])
            does(fleet, "scale", "web", "3")
            now = pids(fleet, "web")
            grows(into, now[2])
            fleet.kill()
            grows(into, now[0])
            fleet.start()
            assert pids(fleet, "web") == now
            grows(into, first["queue"][1])
            grows(into, now[0])
            does(fleet, "scale", "web", "1")
            grows(into, now[0])
            process.send_signal(signal.SIGINT)
            assert process.wait(WITHIN_S) == 0
        by_worker = told(into)
    workers = {("web", str(pid)) for pid in (*first["web"].values(), *now.values())}
    assert by_worker.keys() == workers | {("queue", str(it)) for it in first["queue"].values()}
    for worker, numbers in by_worker.items():
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), worker
    for slot in (1, 2):
        assert by_worker["web", str(now[slot])][0] == 0


@pytest.mark.thorough
def test_it_is_known_where_output_goes(zookeeper: ZooKeeperUnderTest, tmp_path: Path) -> None:
    """`logs` would show last words for all there is, or times where nobody asked for them."""
    groups = of_counters(
        tmp_path, web="{ timestamps = true }", queue='{ to = "null" }', mail='{ to = "stdout" }'
    )
    with Fleet(tmp_path, zookeeper.connection, groups) as fleet:
        pid = fleet.whole("web", "queue", "mail")["web"][0]
        line = re.compile(rf"\d+ of {pid}")
        eventually(lambda: line.search(does(fleet, "logs", "web/0")), within_s=WITHIN_S)
        assert line.fullmatch(does(fleet, "logs", "web/0", "-n", "1").rstrip("\n"))
        stamped = does(fleet, "logs", "web/0", "-n", "1", "-t")
        assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \d+ of", stamped)
        assert "is thrown away" in does(fleet, "logs", "queue", code=7)
        assert "the daemon's own standard output" in does(fleet, "logs", "mail", code=7)


def test_who_has_seen_enough_ends_it_and_a_terminal_obeys_nothing(tmp_path: Path) -> None:
    """`logs -f | head` would never end while nobody writes, and a worker could write over somebody's screen."""
    folder = tmp_path / "groups" / "web" / "output"
    folder.mkdir(parents=True)
    (folder / "slot-0.log").write_bytes(b"a\n\x1b[2Jb\n")
    (folder / "slot-1.log").touch()
    command = (sys.executable, "-m", "autohealer", "logs", "-f", "--state-dir", str(tmp_path))
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"0 | a\n"
        process.stdout.close()
        assert process.wait(WITHIN_S) == 0
        assert process.stderr.read() == b""
    (folder / "slot-1.log").write_bytes(b"c")
    ours, theirs = pty.openpty()
    environment = dict(os.environ) | {"TERM": "xterm", "NO_COLOR": ""}
    subprocess.run(
        (*command[:4], *command[5:]), stdout=theirs, env=environment, check=True, timeout=WITHIN_S
    )
    os.close(theirs)
    seen = os.read(ours, 65536)
    os.close(ours)
    assert re.sub(rb"\x1b\[\d+m", b"", seen) == b"0 | a\r\n0 | \\x1b[2Jb\r\n1 | c\r\n"
    assert seen.count(b"\x1b[0m") == 3
    assert autohealer("logs", "--state-dir", str(tmp_path)).stdout == "0 | a\n0 | \x1b[2Jb\n1 | c"
