"""Workers that are asked how they are: what follows for registrations, restarts and many at once."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from kazoo.client import KazooClient

from autohealer.contract import WORKERS_PATH
from autohealer.control.records import SlotRecord
from tests.integration.test_command_line import autohealer
from tests.integration.test_several_groups import Fleet
from tests.support.clients import connected
from tests.support.eventually import eventually
from tests.support.ports import free_port
from tests.support.servers import ZooKeeperUnderTest

WITHIN_S = 30.0

SERVER = """
import http.server, os, pathlib

class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(500 if pathlib.Path(self.path[1:]).exists() else 200)
        self.end_headers()

    def log_message(self, *words):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Answer).serve_forever()
"""
"""Answers 500 where a file is named in its folder, else 200."""

PROBED = """
[group.web]
command = ["{python}", "-c", '''{server}''']
directory = "{folder}"
replicas = {replicas}
port = {port}
register = "agent"

[group.web.startup]
tcp = "{{port}}"
period = "200ms"
failures = 100

[group.web.readiness]
http = "/unready-{{slot}}"
period = "200ms"
failures = 1

[group.web.liveness]
exec = ["/bin/sh", "-c", "if test -e dead -o -e dead-{{slot}}; then echo {{slot}} is dead; exit 3; fi"]
period = "300ms"
failures = 2
timeout = "5s"
"""


def probed(folder: Path, replicas: int) -> str:
    """A group of servers with every kind of probe."""
    return PROBED.format(
        python=sys.executable,
        server=SERVER,
        folder=folder,
        replicas=replicas,
        port=free_port(replicas),
    )


def registered(client: KazooClient) -> set[int]:
    """The slots that are."""
    return {int(name.split("-")[1]) for name in client.get_children(WORKERS_PATH)}


def row(fleet: Fleet, slot: int) -> SlotRecord | None:
    """A slot of the group as the status has it; None while nobody answers."""
    status = fleet.of("web")
    return None if status is None else status.slots[slot]


@pytest.mark.thorough
def test_a_worker_is_registered_while_it_is_ready_and_restarted_when_it_fails(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """Work would be sent to who cannot take it, and a worker that hangs stay for ever."""
    with (
        Fleet(tmp_path, zookeeper.connection, probed(tmp_path, 2)) as fleet,
        connected(zookeeper.connection) as client,
    ):
        before = fleet.whole("web")["web"]
        (tmp_path / "unready-1").touch()
        eventually(lambda: registered(client) == {0}, within_s=WITHIN_S)
        unready = eventually(
            lambda: it if (it := row(fleet, 1)) is not None and it.phase == "unready" else None,
            within_s=WITHIN_S,
            view=lambda: f"{row(fleet, 1)}\n{fleet.output.read_text()[-3000:]}",
        )
        assert not unready.ready
        (tmp_path / "unready-1").unlink()
        eventually(lambda: registered(client) == {0, 1}, within_s=WITHIN_S)
        assert fleet.whole("web")["web"] == before
        (tmp_path / "dead-0").touch()
        fleet_log = fleet.output.read_text

        def told() -> bool:
            return "liveness probe failed 2 times: /bin/sh exited with code 3: 0 is dead" in (
                fleet_log()
            )

        eventually(told, within_s=WITHIN_S, view=lambda: fleet_log()[-3000:])
        (tmp_path / "dead-0").unlink()
        fleet.heals("web", 0, before[0])
        assert fleet.whole("web")["web"][1] == before[1]
        now = fleet.whole("web")
        fleet.kill()
        fleet.start()
        assert fleet.whole("web") == now
        assert registered(client) == {0, 1}


@pytest.mark.thorough
def test_when_all_fail_together_nobody_is_restarted_at_first_and_then_one(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """A database that is down for a moment would have every worker restarted at once."""
    with Fleet(tmp_path, zookeeper.connection, probed(tmp_path, 5)) as fleet:
        before = fleet.whole("web")["web"]

        def held() -> list[str]:
            status = fleet.of("web")
            return [] if status is None else [h for h in status.holds if "health checks" in h]

        (tmp_path / "dead").touch()
        eventually(held, within_s=WITHIN_S, view=lambda: fleet.output.read_text()[-3000:])
        assert fleet.whole("web")["web"] == before
        lines = [line["event"] for line in fleet.log()]
        assert lines.count("mass_ailment") == 1
        assert "worker_draining" not in lines
        # One is tried, and as it is no better the others are left alone.
        fleet.heals("web", 0, before[0])
        assert [fleet.whole("web")["web"][slot] for slot in range(1, 5)] == [
            before[slot] for slot in range(1, 5)
        ]
        (tmp_path / "dead").unlink()
        eventually(lambda: not held(), within_s=WITHIN_S)
        assert [fleet.whole("web")["web"][slot] for slot in range(1, 5)] == [
            before[slot] for slot in range(1, 5)
        ]
        assert all(Path(f"/proc/{pid}").exists() for pid in before.values() if pid != before[0])


PLAIN = """
[group.web]
command = ["/bin/sh", "-c", "while :; do sleep 0.2; done"]
replicas = 2
"""


def test_a_frozen_program_is_replaced(zookeeper: ZooKeeperUnderTest, tmp_path: Path) -> None:
    """A shell loop that somebody stopped would hold its slot, and its name in ZooKeeper, for ever."""
    with Fleet(tmp_path, zookeeper.connection, PLAIN) as fleet:
        before = fleet.whole("web")["web"]
        os.kill(before[1], signal.SIGSTOP)
        fleet.heals("web", 1, before[1])
        assert fleet.whole("web")["web"][0] == before[0]
        done = autohealer("why", "--state-dir", str(fleet.state_dir))
        assert "frozen" in done.stdout
        assert "its process stands still; it was stopped (SIGSTOP)" in done.stdout


SPEAKER = """
import os, pathlib, signal, socket, time

ADDRESS = os.environ["NOTIFY_SOCKET"]
ADDRESS = "\\0" + ADDRESS[1:] if ADDRESS.startswith("@") else ADDRESS

def say(text):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as speaking:
        try:
            speaking.sendto(text.encode(), ADDRESS)
        except OSError:
            pass  # as sd_notify has it: nobody hears it between two daemons

say("STATUS=loading")
slot = os.environ["AUTOHEALER_SLOT"]
while not pathlib.Path("go").exists():
    time.sleep(0.05)
assert os.environ["WATCHDOG_PID"] == str(os.getpid())
say("READY=1\\nSTATUS=at work")
while not pathlib.Path("hang-" + slot).exists():
    say("WATCHDOG=1")
    time.sleep(0.1)
print("hangs now", flush=True)
time.sleep(99)
"""
SPEAKING = """
[group.web]
command = ["{python}", "speaker.py"]
directory = "{folder}"
replicas = 2
notify = true
watchdog = "2s"
"""


def test_workers_say_themselves_when_they_are_ready_and_that_they_live(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """What works under systemd would be called ready too early, or never, and stay when it hangs."""
    (tmp_path / "speaker.py").write_text(SPEAKER)
    text = SPEAKING.format(python=sys.executable, folder=tmp_path)
    with (
        Fleet(tmp_path, zookeeper.connection, text) as fleet,
        connected(zookeeper.connection) as client,
    ):
        first = eventually(
            lambda: it if (it := row(fleet, 0)) is not None and it.says else None,
            within_s=WITHIN_S,
            view=lambda: (row(fleet, 0), fleet.output.read_text()[-3000:]),
        )
        assert (first.phase, first.says) == ("starting", "loading")
        assert "it has not said READY=1 yet" in first.not_ready
        assert registered(client) == set()
        (tmp_path / "go").touch()
        before = fleet.whole("web")["web"]
        eventually(lambda: registered(client) == {0, 1}, within_s=WITHIN_S)
        fleet.kill()
        fleet.start()
        assert fleet.whole("web")["web"] == before
        eventually(
            lambda: (it := row(fleet, 1)) is not None and it.phase == "ready", within_s=WITHIN_S
        )
        (tmp_path / "hang-1").touch()
        eventually(
            lambda: "it has not said WATCHDOG=1 for 2 s" in fleet.output.read_text(),
            within_s=WITHIN_S,
            view=lambda: fleet.output.read_text()[-3000:],
        )
        (tmp_path / "hang-1").unlink()
        fleet.heals("web", 1, before[1])
        assert fleet.whole("web")["web"][0] == before[0]
        done = autohealer("why", "--state-dir", str(fleet.state_dir))
        assert "watchdog" in done.stdout
        assert "hangs now" in done.stdout
        assert fleet.stop() == 0
        assert list((fleet.state_dir / "groups" / "web" / "notify").iterdir()) == []
