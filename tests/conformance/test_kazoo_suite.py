"""Goal: whatever kazoo's authors expect of a ZooKeeper server, ours does.

Method: run the tests that ship inside the kazoo package against our server in a subprocess.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.ports import free_port

from .extzk import NEEDS_A_CLUSTER

MODULES = (
    "barrier",
    "cache",
    "client",
    "connection",
    "counter",
    "election",
    "interrupt",
    "lease",
    "lock",
    "partitioner",
    "party",
    "queue",
    "watchers",
)
PASSES = 238


@pytest.mark.conformance
@pytest.mark.timeout(400)
def test_kazoo_accepts_the_embedded_server(tmp_path: Path) -> None:
    """A user's kazoo program (locks, queues, elections, watches) would behave differently on our server."""
    pytest.importorskip("objgraph", reason="kazoo's own tests need it")
    config = tmp_path / "pytest.ini"
    config.write_text("[pytest]\n")  # ours must not apply to somebody else's tests
    environment = {
        **os.environ,
        "EXTZK_COMMAND": f'exec {sys.executable} -m autohealer.zkserver --port $PORT --data-dir "$DATA"',
        "EXTZK_PORT": str(free_port()),
        "PYTHONPATH": str(Path(__file__).parent),
        "ZOOKEEPER_VERSION": "3.8.0",
    }
    run = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "extzk", "-p", "no:cacheprovider"),
            *("-c", str(config), "-W", "ignore", "--timeout", "60", "--tb", "short", "--pyargs"),
            *(f"kazoo.tests.test_{module}" for module in MODULES),
        ],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    summary = run.stdout.strip().rpartition("\n")[2]
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (\w+)", summary)}
    assert (
        run.returncode,
        counts.get("passed"),
        counts.get("deselected"),
        "skipped" in counts,
    ) == (
        0,
        PASSES,
        len(NEEDS_A_CLUSTER),
        False,
    ), run.stdout[-20_000:] + run.stderr[-2000:]
