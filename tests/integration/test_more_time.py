"""A worker that is about to end and asks for more time has it, and no more than that."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.integration.test_command_line import autohealer
from tests.integration.test_several_groups import Fleet
from tests.support.servers import ZooKeeperUnderTest

GRACE_S = 1.0

WORKER = """
import os, signal, socket, sys, time

ADDRESS = os.environ["NOTIFY_SOCKET"]
ADDRESS = "\\0" + ADDRESS[1:] if ADDRESS.startswith("@") else ADDRESS

def say(text):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as speaking:
        speaking.sendto(text.encode(), ADDRESS)

def saves(*_):
    say("STOPPING=1\\nEXTEND_TIMEOUT_USEC=2000000")
    if os.environ["AUTOHEALER_SLOT"] == "1":
        return
    for _ in range(16):
        time.sleep(0.25)
        say("EXTEND_TIMEOUT_USEC=2000000")
    sys.exit(7)

signal.signal(signal.SIGTERM, saves)
say("READY=1")
while True:
    time.sleep(0.1)
"""
"""On TERM the worker of slot 0 takes four seconds, the other one says once that it takes two, and stays."""

GROUP = """
[group.web]
command = ["{python}", "-c", '''{worker}''']
replicas = 2
register = "agent"
notify = true
grace = "{grace_s:g}s"
"""


def test_a_worker_that_asks_for_more_time_to_end_has_it_and_is_killed_after_that(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """What systemd lets finish its work would be killed in the middle of it, or never."""
    text = GROUP.format(python=sys.executable, worker=WORKER, grace_s=GRACE_S)
    with Fleet(tmp_path, zookeeper.connection, text) as fleet:
        fleet.whole("web")
        assert fleet.stop() == 0
        told = autohealer("why", "--group", "web", "--json", "--state-dir", str(fleet.state_dir))
        deaths = [it for it in map(json.loads, told.stdout.splitlines()) if it["event"] == "ended"]
        ends = {it["slot"]: (it["exit_code"], it["signal"]) for it in deaths}
        assert ends == {0: (7, None), 1: (None, 9)}
        (stopping,) = fleet.log("stopping")
        assert stopping["workers"] == 2
        assert fleet.everything_started() == []
