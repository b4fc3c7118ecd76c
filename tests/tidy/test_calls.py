"""Calls that belong in few places: clocks of the day, signals, sleeping."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.tidy.source import Source, source_of, sources

pytestmark = pytest.mark.xdist_group("the source, parsed once")

DAY_CLOCKS = ("time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "date.today")
SIGNALS = ("os.kill", "os.killpg", "os.tgkill", "signal.pidfd_send_signal")
SLEEPS = ("time.sleep", "asyncio.sleep")

PLACES: dict[tuple[str, ...], tuple[str, ...]] = {
    DAY_CLOCKS: (
        "autohealer/assembly/answer.py",  # a status says when it was true
        "autohealer/assembly/operating.py",  # who changed something, and when
        "autohealer/assembly/provision.py",  # generations are ordered over restarts
        "autohealer/cli/log_choice.py",  # five minutes ago is a time of day
        "autohealer/logprocess/layout.py",  # stands before lines, for people
        "autohealer/telemetry/history.py",  # people read it by the time of day
        "autohealer/zkserver/shell.py",  # ZooKeeper's ctime and mtime are times of day
        "tests",
        "benchmarks",
    ),
    SIGNALS: ("autohealer/processes", "flaky_worker", "tests", "benchmarks"),
    SLEEPS: (
        "autohealer/cli/operating.py",  # between two looks at what was asked for
        "autohealer/control/server.py",  # between two looks at whether the socket is still there
        "autohealer/control/encoding.py",  # zero seconds, as the next
        "autohealer/control/status.py",  # zero seconds: lets the loop do other things between slices
        "autohealer/assembly/outputs.py",  # between two checks of the output files' sizes
        "autohealer/coordination/agent.py",  # between two tries of what ZooKeeper refused
        "autohealer/coordination/turned_away.py",  # between two knocks, while workers wait to register
        "autohealer/daemon/mailbox.py",  # zero seconds: lets the event loop hear others between two rounds
        "autohealer/embedded/leftovers.py",  # between two looks at who uses a server
        "autohealer/patience.py",  # before an attempt to connect, on kazoo's thread for that
        "autohealer/worker/registration.py",  # between two attempts to register, on a thread of its own
        "autohealer/zkserver/server.py",  # zero seconds: lets transports close
        "flaky_worker/misbehave.py",  # hanging is its purpose
        "benchmarks",
        "tests/support/eventually.py",  # the one place where tests wait
        "tests/conformance",  # waits for servers that only answer when asked
        "tests/integration/test_worker_sdk.py",  # inside the text of a worker that hangs
        "tests/unit/zkserver/test_server.py",  # a freeze that has to last
        "tests/unit/zkserver/test_acceptor.py",  # zero seconds, as the next
        "tests/unit/zkserver/test_shell.py",  # zero seconds: lets tasks run
        "tests/unit/control/test_status.py",  # zero seconds: counts turns of the loop
    ),
}
"""Where each kind of call may stand, with the reason where it is not plain."""

LAST_PARTS = {name.rpartition(".")[2] for names in PLACES for name in names}
"""What a restricted name ends with: nothing else is worth writing out in full."""


def misplaced_calls(source: Source) -> Iterator[str]:
    """Calls of a restricted function outside its places."""
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.Attribute | ast.ImportFrom):
            continue
        for name in _names_of(node):
            if not all(_is_at_home(name, source.path, *pair) for pair in PLACES.items()):
                yield f"{source.path}:{node.lineno} uses {name}"


def _names_of(node: ast.Attribute | ast.ImportFrom) -> list[str]:
    """The dotted names a node speaks of that could be restricted."""
    if isinstance(node, ast.ImportFrom):
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return [ast.unparse(node)] if node.attr in LAST_PARTS else []


def _is_at_home(name: str, path: str, restricted: tuple[str, ...], places: tuple[str, ...]) -> bool:
    is_free = not any(is_named(name, full) for full in restricted)
    return is_free or any(_is_at(path, place) for place in places)


def is_named(name: str, full: str) -> bool:
    """Whether a dotted name ends with another, part by part."""
    return name == full or name.endswith(f".{full}")


def _is_at(path: str, place: str) -> bool:
    return path == place or path.startswith(f"{place}/")


def unused_places() -> Iterator[str]:
    """Files named as places that are no longer there."""
    paths = [source.path for source in sources()]
    for place in {place for places in PLACES.values() for place in places}:
        if not any(_is_at(path, place) for path in paths):
            yield place


def test_clocks_signals_and_sleeps_stay_in_their_places() -> None:
    """A clock set back could end workers, a signal reach a stranger, a sleep hold up healing."""
    assert [line for source in sources() for line in misplaced_calls(source)] == []


def test_the_places_named_exist() -> None:
    """A permission would outlive what it was for."""
    assert list(unused_places()) == []


@pytest.mark.parametrize(
    "text",
    [
        "import time\ntime.time()",
        "import time\nf(clock=time.time)",
        "from time import time",
        "import datetime\ndatetime.datetime.now()",
        "import os\nos.kill(1, 9)",
        "from os import killpg",
        "import asyncio\nasync def f():\n    await asyncio.sleep(1)",
        "import time\ntime.sleep(1)",
    ],
)
def test_a_misplaced_call_is_noticed(text: str) -> None:
    """The check of the calls would pass whatever is called."""
    assert len(list(misplaced_calls(source_of("autohealer/daemon/loop.py", text)))) == 1


@pytest.mark.parametrize(
    "text", ["import time\ntime.monotonic()", "x.kill(1)", "from os import path"]
)
def test_a_harmless_call_is_not(text: str) -> None:
    """The check of the calls would object to everything."""
    assert list(misplaced_calls(source_of("autohealer/daemon/loop.py", text))) == []
