"""A configuration is changed while its workers run: `reload` touches only what changed."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest

from autohealer.statedir.lock import LOCK_NAME
from tests.integration.test_command_line import autohealer
from tests.integration.test_several_groups import LOOP, Fleet, does
from tests.support.eventually import eventually
from tests.support.servers import ZooKeeperUnderTest

WITHIN_S = 60.0

TWO = f"""
[group.web]
command = {LOOP}
replicas = 2

[group.queue]
command = {LOOP}
replicas = 2
grace = "5s"
"""


def edit(fleet: Fleet, old: str, new: str) -> None:
    """Change the file, as an editor does: by another one in its place."""
    text = fleet.file.read_text()
    assert old in text
    copy = fleet.file.with_suffix(".new")
    copy.write_text(text.replace(old, new, 1))
    copy.replace(fleet.file)


def reload(fleet: Fleet, *options: str, code: int = 0) -> list[str]:
    """What the command prints."""
    return does(fleet, "reload", *options, code=code).splitlines()


def settled(fleet: Fleet, group: str) -> Mapping[int, int]:
    """Wait until nobody of a group waits to be replaced."""

    def look() -> Mapping[int, int] | None:
        status = fleet.of(group)
        is_settled = status is not None and not status.holds
        return fleet.whole(group)[group] if is_settled else None

    return eventually(look, within_s=WITHIN_S, view=fleet.view)


def test_only_what_changed_moves(zookeeper: ZooKeeperUnderTest, tmp_path: Path) -> None:
    """Changing one group would restart all, or nobody would know beforehand what is going to happen."""
    with Fleet(tmp_path, zookeeper.connection, TWO) as fleet:
        before = fleet.whole("web", "queue")
        edit(fleet, "[group.web]", '[group.web]\nenv = { COLOUR = "green" }')
        edit(fleet, "replicas = 2\ngrace", "replicas = 3\ngrace")
        edit(fleet, '"5s"', '"6s"')
        said = reload(fleet, "--dry-run")
        assert said == [
            "  ~ web    env       +COLOUR   2 replaced, one at a time",
            "  ~ queue  replicas  2 -> 3    1 started, nobody else touched",
            "  ~ queue  grace     5s -> 6s  in place",
            "2 changed, 0 new, 0 removed, 0 unchanged. Nothing was done (--dry-run).",
        ]
        assert fleet.whole("web", "queue") == before
        assert reload(fleet)[:-1] == said[:-1]
        now = eventually(
            lambda: (
                it
                if not set((it := settled(fleet, "web")).values()) & set(before["web"].values())
                else None
            ),
            within_s=WITHIN_S,
        )
        assert {psutil.Process(pid).environ()["COLOUR"] for pid in now.values()} == {"green"}
        queue = fleet.whole("queue")["queue"]
        assert len(queue) == 3
        assert before["queue"].items() <= queue.items()
        assert reload(fleet) == ["0 changed, 0 new, 0 removed, 2 unchanged."]
        assert fleet.stop() == 0


@pytest.mark.thorough
def test_groups_come_and_go(zookeeper: ZooKeeperUnderTest, tmp_path: Path) -> None:
    """A new group would need a restart of all others, and one that was taken out live on unseen."""
    with Fleet(tmp_path, zookeeper.connection, TWO) as fleet:
        before = fleet.whole("web", "queue")
        edit(fleet, "[group.queue]", "[group.jobs]")
        assert reload(fleet) == [
            "  + jobs   2 workers    started",
            "  - queue  2 workers    drained",
            "0 changed, 1 new, 1 removed, 1 unchanged.",
        ]
        fleet.whole("jobs")
        eventually(
            lambda: not any(map(psutil.pid_exists, before["queue"].values())), within_s=WITHIN_S
        )
        assert fleet.whole("web")["web"] == before["web"]
        edit(fleet, "[group.jobs]", "[group.queue]")
        eventually(lambda: fleet.of("queue") is None, within_s=WITHIN_S)
        reload(fleet)
        fleet.whole("queue")
        told = autohealer("status", "--state-dir", str(fleet.state_dir)).stdout
        assert "queue: 2/2 ready" in told
        assert fleet.stop() == 0


def test_a_mistake_changes_nothing(zookeeper: ZooKeeperUnderTest, tmp_path: Path) -> None:
    """A slip of the finger would take a running service down."""
    with Fleet(tmp_path, zookeeper.connection, TWO) as fleet:
        before = fleet.whole("web", "queue")
        edit(fleet, "replicas = 2", "replicsa = 9")
        said = reload(fleet, code=2)
        assert any("did you mean `replicas`?" in line for line in said)
        assert said[-1].endswith("1 mistake in the configuration: nothing was changed")
        os.kill(fleet.pid, signal.SIGHUP)
        eventually(lambda: len(fleet.log("configuration_refused")) == 2, within_s=WITHIN_S)
        assert fleet.whole("web", "queue") == before
        assert fleet.stop() == 0


def test_hup_reloads(zookeeper: ZooKeeperUnderTest, tmp_path: Path) -> None:
    """Whoever is used to `kill -HUP` for a new configuration would have to learn another way."""
    with Fleet(tmp_path, zookeeper.connection, TWO) as fleet:
        fleet.whole("web")
        edit(fleet, "replicas = 2", "replicas = 1")
        os.kill(fleet.pid, signal.SIGHUP)
        eventually(lambda: len(fleet.whole("web")["web"]) == 1, within_s=WITHIN_S)
        (line,) = fleet.log("configuration_reloaded")
        assert "1 drained" in str(line["changes"])
        assert fleet.stop() == 0


@pytest.mark.thorough
def test_a_program_that_registers_itself_may_become_one_that_does_not(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """A group would have to be removed and made anew for that."""
    text = '[group.web]\ncommand = "flaky_worker --mean-life inf"\nreplicas = 2\n'
    with Fleet(tmp_path, zookeeper.connection, text) as fleet:
        before = fleet.whole("web")["web"]
        edit(fleet, '"flaky_worker --mean-life inf"', LOOP)
        reload(fleet)
        now = eventually(
            lambda: (
                it
                if not set((it := settled(fleet, "web")).values()) & set(before.values())
                else None
            ),
            within_s=WITHIN_S,
        )
        assert {psutil.Process(pid).name() for pid in now.values()} == {"sh"}
        status = fleet.of("web")
        assert status is not None
        assert [slot.registration for slot in status.slots] == ["present", "present"]
        assert fleet.stop() == 0


@pytest.mark.thorough
def test_a_broken_program_halts_its_exchange_and_a_mended_one_goes_on(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """A typing error in a command would cost all workers of the group, one after the other."""
    with Fleet(tmp_path, zookeeper.connection, TWO) as fleet:
        before = fleet.whole("web")["web"]
        edit(fleet, f"command = {LOOP}", 'command = ["/bin/sh", "-c", "exit 7"]')
        reload(fleet)

        def is_halted() -> bool:
            status = fleet.of("web")
            return status is not None and status.slots[0].failures >= 3

        eventually(is_halted, within_s=WITHIN_S, view=fleet.view)
        assert psutil.Process(before[1]).status() != psutil.STATUS_ZOMBIE
        edit(fleet, '"exit 7"', '"while :; do sleep 0.3; done"')
        reload(fleet)
        now = eventually(
            lambda: it if before[1] not in (it := settled(fleet, "web")).values() else None,
            within_s=WITHIN_S,
        )
        assert len(now) == 2
        assert fleet.stop() == 0


@pytest.mark.thorough
def test_reloads_at_once_wait_for_each_other(zookeeper: ZooKeeperUnderTest, tmp_path: Path) -> None:
    """Two people who reload at once would start a group twice."""
    with Fleet(tmp_path, zookeeper.connection, TWO) as fleet:
        fleet.whole("web", "queue")
        edit(fleet, "[group.queue]", "[group.jobs]")
        for _ in range(5):
            os.kill(fleet.pid, signal.SIGHUP)
        assert reload(fleet)
        fleet.whole("jobs")
        assert fleet.log("configuration_refused") == []
        assert fleet.stop() == 0


@pytest.mark.thorough
def test_a_daemon_without_a_file_says_so(zookeeper: ZooKeeperUnderTest, tmp_path: Path) -> None:
    """Somebody would wait for a change that cannot come."""
    with Fleet(tmp_path, zookeeper.connection, TWO) as fleet:
        where = ("--zookeeper", zookeeper.connection, "--state-dir", str(fleet.state_dir))
        fleet.command = [
            sys.executable,
            "-m",
            "autohealer",
            "run",
            *where,
            "--group",
            "web",
            "1",
            *LOOP_WORDS,
        ]
        fleet.stop()
        fleet.start()
        fleet.whole("web")
        assert "has no configuration to read again" in reload(fleet, code=2)[0]
        assert fleet.stop() == 0


LOOP_WORDS = ("/bin/sh", "-c", "while :; do sleep 0.2; done")


def test_a_reload_that_is_short_of_descriptors_changes_nothing(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """A new group would be half there, locked and kept by nobody, or the daemon end of it."""
    with Fleet(tmp_path, zookeeper.connection, TWO) as fleet:
        fleet.whole("web", "queue")
        limit = len(list(Path(f"/proc/{fleet.pid}/fd").iterdir())) + 30
        assert fleet.stop() == 0
        fleet.command = ["/bin/sh", "-c", f'ulimit -n {limit}; exec "$@"', "sh", *fleet.command]
        fleet.start()
        before = fleet.whole("web", "queue")
        edit(fleet, "[group.queue]", f"[group.jobs]\ncommand = {LOOP}\n[group.more]")
        (told,) = reload(fleet, code=2)
        assert told.startswith("autohealer: too few open files are left for new groups: raise")
        (line,) = fleet.log("configuration_refused")
        assert line["then"] == "everything is kept as it was"
        assert fleet.whole("web", "queue") == before
        assert not _is_locked(fleet, "jobs")
        assert not _is_locked(fleet, "more")
        assert fleet.stop() == 0
        assert fleet.everything_started() == []


def _is_locked(fleet: Fleet, group: str) -> bool:
    """Whether a daemon holds a group, as another one would find out."""
    try:
        lock = os.open(fleet.state_dir / "groups" / group / LOCK_NAME, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


SPEAKER = """
import os, socket, time

address = os.environ.get("NOTIFY_SOCKET", "")
here = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)


def tell(text):
    if address:
        here.sendto(text, "\\0" + address[1:] if address[0] == "@" else address)


tell(b"READY=1")
while True:
    if "WATCHDOG_USEC" in os.environ and not os.path.exists("mute-" + os.environ["AUTOHEALER_SLOT"]):
        tell(b"WATCHDOG=1")
    time.sleep(0.2)
"""


def test_what_workers_have_to_say_changes(zookeeper: ZooKeeperUnderTest, tmp_path: Path) -> None:
    """Who has to say READY=1 or WATCHDOG=1 since a reload would not be heard, or be waited for in vain."""
    program = tmp_path / "speaker.py"
    program.write_text(SPEAKER)
    plain = f'[group.web]\ncommand = ["{sys.executable}", "{program}"]\nreplicas = 2\ndirectory = "{tmp_path}"\n'
    spoken = {"NOTIFY_SOCKET", "WATCHDOG_USEC"}

    def replaced(fleet: Fleet, before: Mapping[int, int], told: set[str]) -> Mapping[int, int]:
        """All of them, by such as were told this."""
        reload(fleet)
        now = eventually(
            lambda: (
                it if not set((it := settled(fleet, "web")).values()) & {*before.values()} else None
            ),
            within_s=WITHIN_S,
            view=fleet.view,
        )
        assert [spoken & psutil.Process(pid).environ().keys() for pid in now.values()] == [told] * 2
        return now

    with Fleet(tmp_path, zookeeper.connection, plain) as fleet:
        silent = fleet.whole("web")["web"]
        edit(fleet, "replicas = 2\n", "replicas = 2\nnotify = true\n")
        ready = replaced(fleet, silent, {"NOTIFY_SOCKET"})
        edit(fleet, "notify = true\n", 'notify = true\nwatchdog = "2s"\n')
        speaking = replaced(fleet, ready, spoken)
        (tmp_path / "mute-0").touch()
        now = eventually(
            lambda: it if (it := fleet.whole("web")["web"])[0] != speaking[0] else None,
            within_s=WITHIN_S,
            view=fleet.view,
        )
        assert now[1] == speaking[1]
        (tmp_path / "mute-0").unlink()
        edit(fleet, 'notify = true\nwatchdog = "2s"\n', "watchdog = false\n")
        replaced(fleet, now, set())
        assert fleet.stop() == 0
