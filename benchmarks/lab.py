"""What the benchmarks share: a server, a mailbox for the workers' reports, percentiles, a table.

Theory of operation: workers tell when they began and when they were registered by UDP datagrams to
one socket of the measuring process; all times are CLOCK_MONOTONIC, which is one clock for all
processes of a machine.

Must never know: what is measured.
"""

from __future__ import annotations

import logging
import math
import os
import socket
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kazoo.client import KazooClient

from tests.support.apache import ApacheZooKeeper, apache_is_installed
from tests.support.embedded import EmbeddedZooKeeper
from tests.support.servers import ServerProcess, running

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ENV_PORT = "BENCHMARK_PORT"
REPORT_WITHIN_S = 30.0
FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Report:
    """One worker's birth: its first statement and its znode created."""

    pid: int
    began_ns: int
    registered_ns: int
    path: str


class Reports:
    """Receives what workers say of themselves; a context manager that owns the socket."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.environment = {ENV_PORT: str(self._socket.getsockname()[1])}

    def __enter__(self) -> Reports:
        return self

    def __exit__(self, *_exit: object) -> None:
        self._socket.close()

    def next_below(self, prefix: str, within_s: float = REPORT_WITHIN_S) -> Report:
        """The next report of a worker whose znode's path starts with `prefix`; others are dropped."""
        deadline = time.monotonic() + within_s
        while True:
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            pid, began_ns, registered_ns, path = self._socket.recv(512).decode().split(" ", 3)
            if path.startswith(prefix):
                return Report(int(pid), int(began_ns), int(registered_ns), path)


@contextmanager
def server(address: str | None, kind: str, folder: Path) -> Iterator[str]:
    """The address of a ZooKeeper: the given one, or one of `kind` for the duration of a block."""
    if address is not None:
        yield address
        return
    with running(server_of(kind, folder)) as started:
        yield started.address


def server_of(kind: str, folder: Path) -> ServerProcess:
    """A ZooKeeper of `kind`, not started yet."""
    if kind == "embedded":
        return EmbeddedZooKeeper(folder / "zookeeper")
    if not apache_is_installed():
        raise SystemExit("no Apache ZooKeeper is installed here: use --server embedded")
    return ApacheZooKeeper(folder / "zookeeper")


def make_paths(address: str, *paths: str) -> None:
    """Create what a worker finds in place."""
    # kazoo would tell on stderr that the connection closed, which it was meant to.
    logging.getLogger("kazoo").setLevel(logging.CRITICAL)
    client = KazooClient(hosts=address)
    client.start()
    for path in paths:
        client.ensure_path(path)
    client.stop()
    client.close()


def compiled_environment(cache: Path) -> dict[str, str]:
    """This environment, with modules run from compiled files as an installed package's are."""
    written = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(cache)}
    return dict(os.environ) | written


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` (0 to 1) of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def summary(values: Sequence[float]) -> dict[str, float]:
    """p50, p95 and extremes, rounded to what a shared machine can tell."""
    figures = {
        "p50": percentile(values, 0.5),
        "p95": percentile(values, 0.95),
        "min": min(values),
        "max": max(values),
    }
    return {name: round(value, 2) for name, value in figures.items()} | {"runs": len(values)}


def say(line: str = "") -> None:
    """Print at once, so that progress is seen in a pipe too."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
