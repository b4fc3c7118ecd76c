"""Goal: whoever looks inside with a client of ZooKeeper's own sees what Apache ZooKeeper shows.

Theory of operation. The same script goes to the same client twice: once with Apache ZooKeeper, once
with the embedded server. What it prints must be the same after zxids are replaced by their rank,
session ids and times by their kind. Where a client prints events from a thread of its own, events
and answers are compared as two sequences.

Must never know: what the right output is; Apache decides.
Limits: Debian's packages `zookeeper` (zkCli.sh, the jar), `zookeeper-bin` (cli_mt) and a JDK.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.apache import ApacheZooKeeper, apache_is_installed
from tests.support.embedded import EmbeddedZooKeeper
from tests.support.eventually import eventually
from tests.support.require import require
from tests.support.servers import running

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.conformance

ZKCLI = Path("/usr/share/zookeeper/bin/zkCli.sh")
CLI_MT = Path("/usr/lib/zookeeper/bin/cli_mt")
JAVA_SOURCE = Path(__file__).parent / "java" / "Conformance.java"
CLASS_PATH = "/usr/share/java/zookeeper.jar:/usr/share/java/*"
WITHIN_S = 60.0

ZKCLI_SCRIPT = """
create /app hello
create -e /app/eph one
create -s /app/seq- two
create -e -s /app/es- three
create -c /app/box
create /app/deep a
create /app/deep/er b
create /app/deep/er/est c
ls /app
ls -R /app
ls -s /app
stat -w /app
get -s /app
get -w /app
set -s -v 0 /app changed
set -v 0 /app wrong
ls -w /app
delete /app/seq-0000000001
delete -v 7 /app/deep/er/est
delete -v 0 /app/deep/er/est
deleteall /app/deep
delete /app
sync /app
create /app/eph/below x
create /app again
create /no/parent x
get /nowhere
addauth digest u:p
create /app/mine secret auth::cdrwa
getAcl /app/mine
getAcl -s /app
setAcl /app/mine digest:v:xx:r
getAcl /app/mine
setAcl -v 7 /app/box world:anyone:r
setAcl /app/box world:anyone:cdra
set /app/box refused
getAcl -s /app/box
addWatch -m PERSISTENT /app/eph
addWatch -m PERSISTENT_RECURSIVE /app
set /app/eph 1
create /app/rec r
set /app/rec s
delete /app/rec
removewatches /app
set /app/eph 2
removewatches /app/eph
set /app/eph 3
removewatches /app/eph
getEphemerals
getEphemerals /app/e
getAllChildrenNumber /app
getAllChildrenNumber /app/none
getAllChildrenNumber /
whoami
close
ls /
"""

_ENDED = r"rc = -?\d+"
_MADE = r"\tname = "
_STAT = r"(?s)rc = 0.*ephemeralOwner = \d+"
CLI_MT_SCRIPT = (
    ("create /c", _MADE),
    ("create +e /c/eph", _MADE),
    ("create +s /c/seq-", _MADE),
    ("create +es /c/es-", _MADE),
    ("create +c /c/box", _MADE),
    ("ls /c", r"(?s)rc = 0.*time = "),
    ("ls2 /c", _STAT),
    ("set /c changed", _STAT),
    ("get /c", _STAT),
    ("wexists /c/new", r"Error -101"),
    ("create /c/new", _MADE),
    ("set /c/new y", _STAT),
    ("delete /c/new", _ENDED),
    ("sync /c", _MADE),
    ("create /c/eph/below", _ENDED),
    ("create /c", _ENDED),
    ("get /c/none", _ENDED),
    ("delete /c", _ENDED),
    ("delete /c/seq-0000000001", _ENDED),
    ("delete /nowhere", _ENDED),
)
"""Commands of the C client, each with what shows that its answer is complete."""

_EVENT = re.compile(r"^(?:WATCHER::)?$|^WatchedEvent .*")
_ZXID = re.compile(r"(?<=[cmp]Zxid = 0x)[0-9a-f]+|(?<=[cm]zxid=)[0-9a-f]+")
_UNLIKE = (
    (re.compile(r"127\.0\.0\.1:\d+"), "ADDRESS"),
    (re.compile(r"([cm]time ?= ?).*"), r"\1TIME"),
    (re.compile(r"(time = )\d+ msec"), r"\1SPENT"),
    (re.compile(r"((?:ephemeralOwner = |session id: )0x)[0-9a-f]{2,}"), r"\1SESSION"),
)


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Apache ZooKeeper and the embedded server, fresh for this module."""
    require("Apache ZooKeeper", apache_is_installed())
    with (
        running(ApacheZooKeeper(tmp_path_factory.mktemp("apache"))) as apache,
        running(EmbeddedZooKeeper(tmp_path_factory.mktemp("embedded"))) as ours,
    ):
        yield apache.address, ours.address


def normal(output: str) -> str:
    """Output without what no two servers share; zxids keep their order."""
    ranks = {zxid: rank for rank, zxid in enumerate(sorted(set(_ZXID.findall(output)), key=_value))}
    output = _ZXID.sub(lambda found: f"#{ranks[found[0]]}", output)
    for unlike, kind in _UNLIKE:
        output = unlike.sub(kind, output)
    return output


def _value(zxid: str) -> int:
    return int(zxid, 16)


def _run(command: list[str], script: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, input=script, capture_output=True, text=True, timeout=WITHIN_S, check=False
    )


def _zkcli(address: str) -> tuple[list[str], list[str], str]:
    """What zkCli.sh prints: answers, events, and errors."""
    run = _run([str(ZKCLI), "-server", address], ZKCLI_SCRIPT)
    lines = [_with_sorted_names(line) for line in normal(run.stdout).splitlines()]
    events = [line for line in lines if line.startswith("WatchedEvent")]
    return [line for line in lines if not _EVENT.match(line)], events, normal(run.stderr)


def _with_sorted_names(line: str) -> str:
    """A list of paths in order: that of getEphemerals is a hash table's in Apache."""
    names = re.fullmatch(r"\[(.+)\]", line)
    return line if names is None else f"[{', '.join(sorted(names[1].split(', ')))}]"


def test_zkcli_shows_the_same(addresses: tuple[str, str]) -> None:
    """Who looks for the reason of a fault with zkCli.sh would be shown something else."""
    require("zkCli.sh", ZKCLI.exists())
    apache, ours = map(_zkcli, addresses)
    assert len(apache[0]) > 90, apache
    assert len(apache[1]) > 10, apache
    assert ours == apache


def _cli_mt(address: str, directory: Path) -> list[list[str]]:
    """What the C client prints: a list of lines for each command, children in order of name."""
    log = directory / f"{address}.log"
    command = ["stdbuf", "-o0", str(CLI_MT), address]
    with log.open("wb") as output:
        client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=output)
    assert client.stdin is not None
    chunks = [_chunk(log, 0, "new session id: ")]
    try:
        for line, end in CLI_MT_SCRIPT:
            at = log.stat().st_size
            client.stdin.write(f"{line}\n".encode())
            client.stdin.flush()
            chunks.append(f"{line}\n{_chunk(log, at, end)}")
        client.stdin.write(b"quit\n")
        client.stdin.close()
        assert client.wait(WITHIN_S) == 0
    finally:
        client.kill()
        client.wait()
    whole = normal("\f".join(chunks))
    return [_with_sorted_children(chunk.splitlines()) for chunk in whole.split("\f")]


def _chunk(log: Path, at: int, end: str) -> str:
    """What was printed from a place on, once its end is there."""

    def printed() -> str | None:
        text = log.read_bytes()[at:].decode()
        return text if re.search(f"{end}.*\n", text) else None

    found = eventually(printed, within_s=WITHIN_S, view=lambda: log.read_bytes()[at:])
    assert found is not None
    return found


def _with_sorted_children(lines: list[str]) -> list[str]:
    children = [line for line in lines if line.startswith("\t") and "=" not in line]
    others = [line for line in lines if line not in children]
    return [*others, *sorted(children)]


def test_the_c_client_sees_the_same(addresses: tuple[str, str], tmp_path: Path) -> None:
    """A program on the C library, or on one of the many bindings to it, would behave differently."""
    require("cli_mt", CLI_MT.exists())
    apache, ours = (_cli_mt(address, tmp_path) for address in addresses)
    assert "Watcher CREATED_EVENT state = CONNECTED_STATE for path /c/new" in str(apache)
    assert ours == apache


def test_a_java_program_behaves_the_same(addresses: tuple[str, str], tmp_path: Path) -> None:
    """Elections, registries and watches written in Java would go another way on a laptop."""
    require("javac", shutil.which("javac") is not None)
    compiler = _run(
        ["javac", "-proc:none", "-cp", CLASS_PATH, "-d", str(tmp_path), str(JAVA_SOURCE)]
    )
    assert compiler.returncode == 0, compiler.stderr
    java = ["java", "-XX:TieredStopAtLevel=1", "-cp", f"{tmp_path}:{CLASS_PATH}", "Conformance"]
    apache, ours = (_run([*java, address]) for address in addresses)
    assert apache.returncode == 0, apache.stdout + apache.stderr
    assert apache.stdout.endswith("bye\n"), apache.stdout
    assert ours.stdout == apache.stdout, ours.stderr


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cZxid = 0x2\nmZxid = 0x9", "cZxid = 0x12\nmZxid = 0x12"),
        ("WatchedEvent type:NodeDeleted", "WatchedEvent type:NodeCreated"),
        ("numChildren = 1", "numChildren = 2"),
        ("ephemeralOwner = 0x0", "ephemeralOwner = 0x100002"),
        ("czxid=a\tmzxid=b", "czxid=b\tmzxid=a"),
    ],
)
def test_a_real_difference_survives(one: str, other: str) -> None:
    """The comparison would call two servers alike that are not."""
    assert normal(one) != normal(other)
