"""One daemon keeps several groups that a configuration file describes."""

from __future__ import annotations

import os
import pwd
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest
from kazoo.client import KazooClient

from autohealer.contract import WORKERS_PATH
from autohealer.control.client import fetch_status, parse_status
from autohealer.control.records import StatusRecord
from autohealer.settings import group_dir
from tests.integration.test_command_line import autohealer
from tests.support.clients import connected
from tests.support.daemon import Daemon, ready_pids
from tests.support.eventually import eventually
from tests.support.otheruser import STRANGER
from tests.support.require import require
from tests.support.servers import ZooKeeperUnderTest

WITHIN_S = 30.0
LOOP = '["/bin/sh", "-c", "while :; do sleep 0.2; done"]'
PLAIN = f"""
[group.loop]
command = {LOOP}
replicas = 2
"""
THREE = f"""
[group.flaky]
command = "flaky_worker --mean-life inf"
replicas = 2
{PLAIN}
[group.other]
command = {LOOP}
"""


class Fleet(Daemon):
    """A daemon that was started with `up`."""

    def __init__(self, folder: Path, zookeeper: str, text: str) -> None:
        super().__init__(folder / "state", zookeeper, group="up")
        self.file = folder / "autohealer.toml"
        self.file.write_text(f'[daemon]\nzookeeper = "{zookeeper}"\n{text}')
        where = ("-c", str(self.file), "--state-dir", str(self.state_dir))
        self.command = [sys.executable, "-m", "autohealer", "up", *where]

    def of(self, group: str) -> StatusRecord | None:
        """What a group's socket says; None while nobody answers."""
        self.group = group
        return self.status()

    def whole(self, *groups: str) -> dict[str, dict[int, int]]:
        """Wait until groups are; slot to pid of each."""

        def all_whole() -> dict[str, dict[int, int]] | None:
            seen = {group: self.of(group) for group in groups}
            there = {group: status for group, status in seen.items() if status is not None}
            if len(there) < len(groups):
                return None
            if any(
                not s.desired or s.ready != s.desired or s.ready != len(s.slots) or s.notes
                for s in there.values()
            ):
                return None
            return {group: ready_pids(status) for group, status in there.items()}

        return eventually(
            all_whole, within_s=WITHIN_S, view=lambda: self.output.read_text()[-3000:]
        )

    def heals(self, group: str, slot: int, old: int) -> None:
        """Wait until a slot is ready with another process."""
        eventually(
            lambda: self.whole(group)[group].get(slot) not in {None, old},
            within_s=WITHIN_S,
            view=lambda: self.output.read_text()[-3000:],
        )


def does(fleet: Fleet, *words: str, code: int = 0) -> str:
    """What a command prints, in whole sentences."""
    done = autohealer(*words, "--state-dir", str(fleet.state_dir))
    assert done.returncode == code, done
    return done.stdout + done.stderr


def registrations(client: KazooClient) -> dict[str, int]:
    """Which there are, and when each was made."""
    found = {}
    for name in client.get_children(WORKERS_PATH):
        stat = client.exists(f"{WORKERS_PATH}/{name}")
        if stat is not None:
            found[name] = stat.czxid
    return found


def test_each_group_heals_and_nothing_is_lost_over_a_daemons_end(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """A crash of the daemon would be an outage of everything on the machine."""
    with (
        Fleet(tmp_path, zookeeper.connection, THREE) as fleet,
        connected(zookeeper.connection) as client,
    ):
        names = ("flaky", "loop", "other")
        before = fleet.whole(*names)
        assert {name: len(pids) for name, pids in before.items()} == {
            "flaky": 2,
            "loop": 2,
            "other": 1,
        }
        for name in names:
            os.kill(before[name][0], signal.SIGKILL)
        for name in names:
            fleet.heals(name, 0, before[name][0])
        now = fleet.whole(*names)
        made = eventually(
            lambda: found if len(found := registrations(client)) == 5 else None, within_s=WITHIN_S
        )
        fleet.kill()
        fleet.start()
        assert fleet.whole(*names) == now
        assert registrations(client) == made
        done = autohealer("down", "--state-dir", str(fleet.state_dir))
        assert done.returncode == 0
        assert "flaky, loop, other: the daemon" in done.stdout
        assert fleet.wait() == 0
        assert fleet.everything_started() == []


@pytest.mark.thorough
def test_detaching_leaves_the_workers_of_every_group(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """An upgrade would restart what is kept besides the group that was named."""
    with Fleet(tmp_path, zookeeper.connection, THREE) as fleet:
        names = ("flaky", "loop", "other")
        before = fleet.whole(*names)
        done = autohealer("detach", "--group", "loop", "--state-dir", str(fleet.state_dir))
        assert (done.returncode, fleet.wait()) == (0, 0)
        assert "its 5 workers run on" in done.stdout
        fleet.start()
        assert fleet.whole(*names) == before
        assert fleet.stop() == 0


FAILURES = 4
"""Their pauses together are longer than a group has to be ready for."""
AFTER = f"""
[group.front]
command = {LOOP}
after = ["back"]

[group.back]
command = ["/bin/sh", "-c", "trap 'sleep 1; exit 0' TERM; while :; do sleep 0.2; done"]
"""


def test_a_group_begins_after_another_and_ends_before_it(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """A web server would be started without its database, and lose it while it still serves."""
    with Fleet(tmp_path, zookeeper.connection, AFTER) as fleet:
        fleet.whole("front", "back")
        assert fleet.stop() == 0
        told = [(line["event"], line["group"]) for line in fleet.log() if "group" in line]
        starts = [group for event, group in told if event == "worker_started"]
        ends = [group for event, group in told if event in {"worker_draining", "worker_stopped"}]
        assert starts == ["back", "front"]
        assert ends == ["front", "front", "back", "back"]
        assert ("group_waits", "front") in told


@pytest.mark.thorough
def test_who_lives_is_kept_whatever_becomes_of_those_it_comes_after(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """After a crash of the daemon all that comes after a broken group would be ended."""
    with Fleet(tmp_path, zookeeper.connection, AFTER) as fleet:
        before = fleet.whole("front", "back")
        fleet.kill()
        os.kill(before["back"][0], signal.SIGKILL)
        fleet.file.write_text(fleet.file.read_text().replace("trap", "exit 3; trap"))
        fleet.start()
        eventually(
            lambda: (s := fleet.of("back")) is not None and any(row.failures for row in s.slots),
            within_s=WITHIN_S,
        )
        assert fleet.whole("front")["front"] == before["front"]
        fleet.signal(signal.SIGTERM)
        assert fleet.wait() == 0


@pytest.mark.thorough
def test_a_group_that_waits_says_for_what(zookeeper: ZooKeeperUnderTest, tmp_path: Path) -> None:
    """One would see an empty group and no reason."""
    text = AFTER.replace("trap", "exit 3; trap")
    with Fleet(tmp_path, zookeeper.connection, text) as fleet:
        eventually(
            lambda: (
                (s := fleet.of("back")) is not None
                and any(row.failures > FAILURES for row in s.slots)
            ),
            within_s=WITHIN_S,
        )
        status = fleet.of("front")
        assert status is not None
        assert (status.notes, status.slots) == (("starts once back has been ready",), ())
        fleet.signal(signal.SIGTERM)
        assert fleet.wait() == 0


@pytest.mark.thorough
def test_nothing_is_started_where_one_group_is_kept_already(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """Half of a configuration would run, and two daemons fight over a group."""
    with Fleet(tmp_path, zookeeper.connection, THREE) as fleet:
        fleet.whole("flaky", "loop", "other")
        (tmp_path / "second.toml").write_text(f"{PLAIN}\n[group.new]\ncommand = {LOOP}\n")
        done = autohealer(
            *("up", "-c", str(tmp_path / "second.toml"), "--state-dir", str(fleet.state_dir))
        )
        assert done.returncode == 4
        assert "group 'loop' is already kept by the daemon with pid" in done.stderr
        assert not group_dir(fleet.state_dir, "new").exists()
        assert fleet.stop() == 0


def test_trouble_in_one_group_is_its_own(zookeeper: ZooKeeperUnderTest, tmp_path: Path) -> None:
    """A program that cannot run would keep the others from being healed."""
    text = f'{PLAIN}\n[group.broken]\ncommand = ["/bin/sh", "-c", "exit 7"]\nreplicas = 5\n'
    with Fleet(tmp_path, zookeeper.connection, text) as fleet:
        before = fleet.whole("loop")["loop"]
        eventually(
            lambda: (
                (s := fleet.of("broken")) is not None and all(row.failures > 2 for row in s.slots)
            ),
            within_s=WITHIN_S,
        )
        os.kill(before[1], signal.SIGKILL)
        fleet.heals("loop", 1, before[1])
        assert fleet.whole("loop")["loop"][0] == before[0]
        fleet.signal(signal.SIGTERM)
        assert fleet.wait() == 0


GIVEN = """
[group.given]
command = ["/bin/sh", "-c", "echo {slot} {group} {host} {port} $PORT $GREETING $HERE $(umask) $(ulimit -n) \
$(ulimit -v) $(nice) $(cat /proc/self/oom_score_adj) $(pwd) $(id -un) $HOME $AUTOHEALER_REVISION; \
trap 'echo asked; exit 0' INT; while :; do sleep 0.1; done"]
replicas = 2
port = 7000
directory = "DIRECTORY"
env = { GREETING = "hello-{slot}", HERE = "${THERE:-nowhere}" }
umask = "027"
stop_signal = "INT"
USER
[group.given.limits]
nofile = 512
address_space = "1GiB"
nice = 5
oom_score_adj = 300
"""


@pytest.mark.parametrize(
    "user", ["", pytest.param(pwd.getpwuid(STRANGER).pw_name, marks=pytest.mark.thorough)]
)
def test_workers_get_what_the_file_gives_them(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path, user: str
) -> None:
    """A program would run in the wrong folder, as the wrong user, or without the limits it was given."""
    require("root", not user or os.geteuid() == 0)
    folder = Path("/") if user else tmp_path
    text = GIVEN.replace("DIRECTORY", str(folder)).replace(
        "USER", f'user = "{user}"' if user else ""
    )
    with Fleet(tmp_path, zookeeper.connection, text) as fleet:
        pids = fleet.whole("given")["given"]
        assert fleet.stop() == 0
        output = (group_dir(fleet.state_dir, "given") / "output" / "slot-1.log").read_text()
    whose = user or psutil.Process().username()
    words = output.split()
    assert words[:10] == [
        *("1", "given", os.uname().nodename, "7001", "7001", "hello-1", "nowhere", "0027", "512"),
        str(2**20),
    ]
    assert words[10:14] == ["5", "300", str(folder), whose]
    assert len(words[15]) == 12
    assert words[-1] == "asked"
    assert not any(psutil.pid_exists(pid) for pid in pids.values())


def test_a_mistake_in_the_file_starts_nothing(tmp_path: Path) -> None:
    """Half of a configuration would run, and nobody would know which half."""
    file = tmp_path / "autohealer.toml"
    file.write_text(f"{PLAIN}\n[group.web]\ncomand = 'x'\n")
    done = autohealer("up", "-c", str(file), "--state-dir", str(tmp_path / "state"))
    assert done.returncode == 2
    assert "group.web.comand: unknown key, did you mean `command`?" in done.stderr
    assert not (tmp_path / "state").exists()


@pytest.mark.thorough
def test_several_groups_answer_one_by_one(zookeeper: ZooKeeperUnderTest, tmp_path: Path) -> None:
    """`status` would show one group of several."""
    with Fleet(tmp_path, zookeeper.connection, THREE) as fleet:
        fleet.whole("flaky", "loop", "other")
        done = autohealer("status", "--json", "--state-dir", str(fleet.state_dir))
        told = [parse_status(line.encode()) for line in done.stdout.splitlines()]
        assert [(status.group, status.ready) for status in told] == [
            ("flaky", 2),
            ("loop", 2),
            ("other", 1),
        ]
        assert {status.daemon_pid for status in told} == {fleet.pid}
        assert parse_status(fetch_status(group_dir(fleet.state_dir, "loop"))).group == "loop"
        assert fleet.stop() == 0


@pytest.mark.thorough
def test_workers_of_an_earlier_configuration_are_replaced_one_by_one(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """The old program would go on serving, or the group be down while it is exchanged."""
    with Fleet(tmp_path, zookeeper.connection, PLAIN) as fleet:
        before = fleet.whole("loop")["loop"]
        fleet.kill()
        fleet.file.write_text(fleet.file.read_text() + 'env = { COLOUR = "green" }\n')
        fleet.start()
        now = eventually(lambda: _all_new(fleet.whole("loop")["loop"], before), within_s=WITHIN_S)
        assert {psutil.Process(pid).environ()["COLOUR"] for pid in now.values()} == {"green"}
        ends = {line["slot"]: str(line["timestamp"]) for line in fleet.log("worker_exited")}
        starts = {line["slot"]: str(line["timestamp"]) for line in fleet.log("worker_started")}
        assert ends[0] < starts[0] < ends[1] < starts[1]
        assert fleet.stop() == 0


def _all_new(now: Mapping[int, int], before: Mapping[int, int]) -> Mapping[int, int] | None:
    """Who is ready, once none of them is one of those before."""
    return None if set(now.values()) & set(before.values()) else now
