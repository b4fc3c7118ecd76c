"""What the worker SDK adds to bare kazoo: import and registration, in fresh processes.

Run `python -m benchmarks.sdk [--zookeeper HOST:PORT] [--runs 20]`; without a server it starts the
embedded one.

Theory of operation: two programs do the same job, one with kazoo alone and one with the SDK:
import, connect, create an ephemeral znode. Each run is a new interpreter that times itself from its
first line to the znode's creation, so the interpreter's own start is left out and counts for
neither. The two take turns, so that whatever else the machine does hits both alike. The median is
compared.

Limits: one machine, loopback; the ratio travels to other machines, the milliseconds do not.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from kazoo.client import KazooClient

from autohealer.contract import ENV_ZNODE, ENV_ZOOKEEPER, WORKERS_PATH
from tests.support.embedded import EmbeddedZooKeeper
from tests.support.servers import running

if TYPE_CHECKING:
    from collections.abc import Iterator

RATIO_MAX = 1.2
"""The SDK's budget: a fifth more than kazoo alone."""

_BARE = """
import time; began = time.perf_counter()
import os
from kazoo.client import KazooClient
client = KazooClient(hosts=os.environ["AUTOHEALER_ZOOKEEPER"], timeout=4.0)
client.start()
client.create(os.environ["AUTOHEALER_ZNODE"], str(os.getpid()).encode(), ephemeral=True)
print((time.perf_counter() - began) * 1000)
client.stop()
"""

_SDK = """
import time; began = time.perf_counter()
from autohealer.worker import Worker
with Worker():
    print((time.perf_counter() - began) * 1000)
"""


def main() -> int:
    """Measure, print, and return 1 when the SDK is over its budget."""
    parser = argparse.ArgumentParser(prog="benchmarks.sdk", description=__doc__.split("\n")[0])
    parser.add_argument("--zookeeper", metavar="HOST:PORT", help="a server that runs already")
    parser.add_argument("--runs", type=int, default=20, metavar="N", help="of each (default 20)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, _server(options.zookeeper, folder) as address:
        cache = Path(folder, "compiled")
        _prepare(address, cache)
        bare_ms, sdk_ms = _take_turns(address, cache, options.runs)
    ratio = statistics.median(sdk_ms) / statistics.median(bare_ms)
    _print(f"import and registration in a fresh process, {options.runs} runs each, milliseconds")
    _print(f"  bare kazoo      {_summary(bare_ms)}")
    _print(f"  autohealer SDK  {_summary(sdk_ms)}")
    _print(f"  ratio of medians {ratio:.2f}, at most {RATIO_MAX} allowed")
    return 0 if ratio <= RATIO_MAX else 1


@contextmanager
def _server(address: str | None, folder: str) -> Iterator[str]:
    if address is not None:
        yield address
        return
    with running(EmbeddedZooKeeper(Path(folder, "zookeeper"))) as server:
        yield server.address


def _prepare(address: str, cache: Path) -> None:
    """Create `/workers`, which a worker finds in place, and let both programs be compiled once."""
    client = KazooClient(hosts=address)
    client.start()
    client.ensure_path(WORKERS_PATH)
    client.stop()
    client.close()
    for program in (_BARE, _SDK):
        _run_ms(program, address, cache, generation=0)


def _take_turns(address: str, cache: Path, runs: int) -> tuple[list[float], list[float]]:
    bare_ms, sdk_ms = [], []
    for generation in range(1, runs + 1):
        bare_ms.append(_run_ms(_BARE, address, cache, generation))
        sdk_ms.append(_run_ms(_SDK, address, cache, generation))
    return bare_ms, sdk_ms


def _run_ms(program: str, address: str, cache: Path, generation: int) -> float:
    given = {ENV_ZOOKEEPER: address, ENV_ZNODE: f"{WORKERS_PATH}/bench-0-{generation}"}
    # Both run from compiled modules, as an installed package does.
    given["PYTHONPYCACHEPREFIX"] = str(cache)
    inherited = {key: os.environ[key] for key in os.environ if key != "PYTHONDONTWRITEBYTECODE"}
    finished = subprocess.run(
        (sys.executable, "-c", program),
        env=inherited | given,
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
    )
    return float(finished.stdout)


def _summary(values_ms: list[float]) -> str:
    return (
        f"p50 {statistics.median(values_ms):6.1f}   min {min(values_ms):6.1f}"
        f"   max {max(values_ms):6.1f}"
    )


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    raise SystemExit(main())
