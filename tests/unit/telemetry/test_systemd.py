"""What systemd is told: ready once, alive while the decider is, stopping once, and a line for `systemctl status`."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from autohealer.core.actions import Plan
from autohealer.core.events import InvariantBroken, ReplicasSet, StopRequested
from autohealer.core.evolve import evolve
from autohealer.core.model import Budget, View
from autohealer.core.policy import Policy
from autohealer.telemetry.systemd import SystemdNotifier, watchdog_heartbeat_s

MANY = 5000
"""More messages than any kernel keeps for a reader that does not read."""


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    """The other end of NOTIFY_SOCKET."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.setblocking(False)
        yield receiver


@pytest.fixture
def view() -> View:
    """Two wanted, none there."""
    view = View(policy=Policy(), budget=Budget(1.0))
    evolve(view, ReplicasSet(2))
    return view


def notifier_of(receiver: socket.socket) -> SystemdNotifier:
    """A notifier that reaches this socket."""
    return SystemdNotifier(receiver.getsockname(), lambda: [""])


def told(receiver: socket.socket) -> list[str]:
    """The lines that came since the last look."""
    lines: list[str] = []
    while True:
        try:
            lines += receiver.recv(4096).decode().split("\n")
        except BlockingIOError:
            return lines


def test_the_first_round_says_ready(systemd: socket.socket, view: View) -> None:
    """`systemctl start` would time out and kill a healthy daemon."""
    notify = notifier_of(systemd)
    notify([], Plan(), view)
    assert told(systemd) == ["WATCHDOG=1", "READY=1", "STATUS=0/2 registered, ZooKeeper suspended"]
    notify([], Plan(), view)
    assert told(systemd) == ["WATCHDOG=1"]


def test_stopping_is_said_once(systemd: socket.socket, view: View) -> None:
    """A stop under way would look like a running service."""
    notify = notifier_of(systemd)
    notify([], Plan(), view)
    told(systemd)
    evolve(view, StopRequested())
    notify([], Plan(), view)
    notify([], Plan(), view)
    assert told(systemd).count("STOPPING=1") == 1


def test_a_frozen_decider_does_not_look_alive(systemd: socket.socket, view: View) -> None:
    """A daemon that acts no more would be left as it is for ever."""
    notify = notifier_of(systemd)
    notify([], Plan(), view)
    told(systemd)
    evolve(view, InvariantBroken(("the model is wrong",)))
    notify([], Plan(), view)
    assert told(systemd) == []


def test_without_systemd_nothing_is_sent(view: View) -> None:
    """Outside systemd the daemon would crash at its first round."""
    SystemdNotifier(None, lambda: [""])([], Plan(), view)


def test_an_abstract_address_is_understood(view: View) -> None:
    """In a container whose NOTIFY_SOCKET starts with `@` systemd would hear nothing."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(f"\0autohealer-test-{os.getpid()}")
        receiver.setblocking(False)
        SystemdNotifier(f"@autohealer-test-{os.getpid()}", lambda: [""])([], Plan(), view)
        assert "READY=1" in told(receiver)


def test_a_systemd_that_is_away_does_no_harm(tmp_path: Path, view: View) -> None:
    """`systemctl daemon-reexec` would end the daemon."""
    SystemdNotifier(str(tmp_path / "missing"), lambda: [""])([], Plan(), view)


@pytest.mark.parametrize("line", ["READY=1", "STOPPING=1"])
def test_what_could_not_be_told_is_told_again(tmp_path: Path, view: View, line: str) -> None:
    """A start while systemd is re-executed would be timed out and killed."""
    path = tmp_path / "notify"
    notify = SystemdNotifier(str(path), lambda: [""])
    evolve(view, StopRequested())
    notify([], Plan(), view)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(path))
        receiver.setblocking(False)
        notify([], Plan(), view)
        assert line in told(receiver)


def test_a_systemd_that_does_not_read_does_not_stop_healing(
    systemd: socket.socket, view: View
) -> None:
    """A busy systemd would stop the decider, and with it all healing."""
    notify = notifier_of(systemd)

    def rounds() -> None:
        for _ in range(MANY):
            notify([], Plan(), view)

    thread = threading.Thread(target=rounds, daemon=True)
    thread.start()
    thread.join(1.5)
    is_stuck = thread.is_alive()
    while thread.is_alive():
        told(systemd)
        thread.join(0.01)
    assert not is_stuck


@pytest.mark.parametrize(
    ("environment", "heartbeat_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": ""}, None),
    ],
)
def test_the_heartbeat_is_half_the_watchdogs_patience(
    environment: dict[str, str], heartbeat_s: float | None
) -> None:
    """systemd would restart a healthy daemon, or a typing error would end it."""
    assert watchdog_heartbeat_s(environment) == heartbeat_s


def _view_of(group: str) -> View:
    view = View(policy=Policy(), budget=Budget(1.0), group=group)
    evolve(view, ReplicasSet(2))
    return view


def test_of_several_groups_all_must_turn(systemd: socket.socket) -> None:
    """One group's loop would hang for ever, because another's kept the watchdog fed."""
    notify = SystemdNotifier(systemd.getsockname(), lambda: ["web", "queue"])
    web, queue = _view_of("web"), _view_of("queue")
    notify([], Plan(), web)
    assert "READY=1" not in told(systemd)
    notify([], Plan(), queue)
    assert told(systemd) == ["WATCHDOG=1", "READY=1", "STATUS=0/4 registered, ZooKeeper suspended"]
    notify([], Plan(), web)
    notify([], Plan(), web)
    assert told(systemd) == []
    notify([], Plan(), queue)
    assert told(systemd) == ["WATCHDOG=1"]


def test_one_frozen_group_lets_systemd_restart_the_daemon(systemd: socket.socket) -> None:
    """A group that acts no more would be left as it is because the others go on."""
    notify = SystemdNotifier(systemd.getsockname(), lambda: ["web", "queue"])
    web, queue = _view_of("web"), _view_of("queue")
    notify([], Plan(), web)
    notify([], Plan(), queue)
    told(systemd)
    evolve(web, InvariantBroken(("the model is wrong",)))
    for view in (queue, web, queue):
        notify([], Plan(), view)
    assert told(systemd) == []


def test_a_group_that_hangs_while_all_stop_does_not_look_alive(systemd: socket.socket) -> None:
    """A stop would wait for a loop that turns no more, and the watchdog be fed by the others."""
    notify = SystemdNotifier(systemd.getsockname(), lambda: ["web", "queue"])
    web, queue = _view_of("web"), _view_of("queue")
    for view in (web, queue):
        notify([], Plan(), view)
        evolve(view, StopRequested())
    for view in (web, queue):
        notify([], Plan(), view)
    told(systemd)
    notify([], Plan(), web)
    notify([], Plan(), web)
    assert "WATCHDOG=1" not in told(systemd)
    notify([], Plan(finished=True), queue)
    assert "WATCHDOG=1" in told(systemd)
    notify([], Plan(), web)
    assert "WATCHDOG=1" in told(systemd)
