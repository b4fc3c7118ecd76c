"""Workers that grow are replaced before the kernel ends them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from autohealer.processes.sizes import LOOK_S, LOOKS
from tests.integration.test_command_line import autohealer
from tests.integration.test_several_groups import Fleet
from tests.support.eventually import eventually
from tests.support.servers import ZooKeeperUnderTest

NOTICED_WITHIN_S = 30.0 + 2 * (LOOKS + 1) * LOOK_S

WORKER = """
import os, pathlib, subprocess, sys, time

def serve(*_):
    order = pathlib.Path("grow-" + os.environ["AUTOHEALER_SLOT"])
    while True:
        if order.exists():
            how, _ = order.read_text(), order.unlink()
            if how == "self":
                held = b"x" * (256 << 20)
            else:
                subprocess.Popen([sys.executable, "-c", "import time; x = b'x' * (256 << 20); time.sleep(999)"],
                                 start_new_session=True)
        time.sleep(0.1)

if os.environ["REGISTERS"] == "self":
    from autohealer.worker import run
    run(serve)
serve()
"""
"""Grows by itself or by a child of its own session when a file says so, and is small again when it is replaced."""

GROUP = """
[group.web]
command = ["{python}", "-c", '''{worker}''']
directory = "{folder}"
env = {{ REGISTERS = "{register}" }}
replicas = 2
register = "{register}"
grace = "2s"
limits = {{ memory_restart = "200MiB" }}
"""


@pytest.mark.parametrize("register", ["agent", pytest.param("self", marks=pytest.mark.thorough)])
def test_who_grows_is_replaced_and_told_of_with_both_figures(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path, register: str
) -> None:
    """A leak would end in the kernel's choice of whom to kill, and nobody could say what had become of a worker."""
    text = GROUP.format(python=sys.executable, worker=WORKER, folder=tmp_path, register=register)
    with Fleet(tmp_path, zookeeper.connection, text) as fleet:
        before = fleet.whole("web")["web"]
        for slot, how in enumerate(("self", "child")):
            (tmp_path / f"half-{slot}").write_text(how)
            (tmp_path / f"half-{slot}").rename(tmp_path / f"grow-{slot}")

        def all_new() -> bool:
            now = fleet.whole("web")["web"]
            return all(now.get(slot) not in {None, pid} for slot, pid in before.items())

        eventually(
            all_new, within_s=NOTICED_WITHIN_S, view=lambda: fleet.output.read_text()[-3000:]
        )
        drained = fleet.log("worker_draining")
        assert len(drained) == 2
        assert len(fleet.log("worker_oversized")) == 2
        told = autohealer("why", "--group", "web", "--json", "--state-dir", str(fleet.state_dir))
        assert told.stdout.count('"cause":"memory"') + told.stdout.count('"cause": "memory"') == 2
        assert "MiB of memory, more than the 200 MiB it may" in told.stdout
        status = fleet.of("web")
        assert status is not None
        assert [slot.restarts for slot in status.slots] == [1, 1]
        assert fleet.stop() == 0
        assert fleet.everything_started() == []
