"""The daemon whose own ZooKeeper cannot be had, or is not where it was: workers are kept, and it comes back."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Thread

import pytest

from tests.integration.test_embedded_daemon import has_another_server, server_pid
from tests.integration.test_resource_faults import fill, small_disk
from tests.support.daemon import Daemon, exists
from tests.support.eventually import eventually
from tests.support.ports import HOST, free_port
from tests.support.require import require
from tests.support.servers import four_letter_word

WITHIN_S = 40.0


@pytest.fixture
def port() -> int:
    """A port for an embedded server."""
    return free_port()


@contextmanager
def stranger_at(port: int, *, greets: bool) -> Iterator[None]:
    """Something that is not ZooKeeper has the port for a block."""
    with socket.create_server((HOST, port)) as listening:
        if greets:
            Thread(target=_greet, args=(listening,), daemon=True).start()
        yield
        with suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)


def _greet(listening: socket.socket) -> None:
    with suppress(OSError):
        while True:
            client, _ = listening.accept()
            client.sendall(b"hello")
            client.close()


def crash(daemon: Daemon) -> None:
    """The daemon and its server are killed; the workers live."""
    server = server_pid(daemon)
    daemon.kill()
    os.kill(server, signal.SIGKILL)
    eventually(lambda: not exists(server), within_s=WITHIN_S)


def has_said(daemon: Daemon, event: str, words: str) -> bool:
    """Whether a line of the log has an event and some words."""
    return any(words in str(line) for line in daemon.log(event))


def is_connected_again(daemon: Daemon) -> bool:
    """Whether the store is there and every worker in it."""
    status = daemon.status()
    return status is not None and status.store == "connected" and daemon.is_whole()


def heals_an_exit(daemon: Daemon, old: dict[int, int]) -> None:
    """Kill one of the workers; its slot gets another while the rest are left alone."""
    os.kill(old[0], signal.SIGKILL)

    def replaced() -> bool:
        now = {slot.slot: slot.pid for slot in daemon.slots() if slot.pid is not None}
        return now.get(0) not in {None, old[0]} and all(now[s] == old[s] for s in old if s)

    eventually(replaced, within_s=WITHIN_S, view=daemon.view)


@pytest.mark.thorough
def test_a_damaged_journal_leaves_no_worker_unattended(port: int, tmp_path: Path) -> None:
    """After a crash with a damaged journal nobody would look after the workers; repaired, nobody would notice."""
    with Daemon(tmp_path / "state", f"embedded:{port}", replicas=3) as daemon:
        before = daemon.becomes_whole()
        crash(daemon)
        (journal,) = (daemon.state_dir / f"zkserver-{port}" / "data").glob("journal-*")
        journal.write_bytes(b"damaged" + journal.read_bytes()[7:])
        daemon.start()
        told = partial(has_said, daemon, "embedded_server_died", "is corrupt at offset 0")
        eventually(told, within_s=WITHIN_S, view=daemon.view)
        heals_an_exit(daemon, before)
        journal.unlink()
        connected = partial(is_connected_again, daemon)
        eventually(connected, within_s=WITHIN_S, view=daemon.view)
        assert [daemon.pids()[slot] for slot in (1, 2)] == [before[1], before[2]]
        assert (
            len(daemon.log("embedded_server_died")) <= 2
        )  # the one with the cause, and none for each attempt
        assert daemon.stop() == 0
        assert daemon.everything_started() == []


@pytest.mark.parametrize("greets", [True, False])
@pytest.mark.thorough
def test_a_taken_port_leaves_no_worker_unattended(
    port: int, tmp_path: Path, *, greets: bool
) -> None:
    """Somebody takes the port while no daemon runs, and nobody would look after the workers, even when it is free."""
    with Daemon(tmp_path / "state", f"embedded:{port}", replicas=3) as daemon:
        before = daemon.becomes_whole()
        crash(daemon)
        with stranger_at(port, greets=greets):
            daemon.start()
            told = partial(has_said, daemon, "embedded_server_obstructed", f"port {port} is taken")
            eventually(told, within_s=WITHIN_S, view=daemon.view)
            heals_an_exit(daemon, before)
        connected = partial(is_connected_again, daemon)
        eventually(connected, within_s=WITHIN_S, view=daemon.view)
        assert [daemon.pids()[slot] for slot in (1, 2)] == [before[1], before[2]]
        assert len(daemon.log("embedded_server_obstructed")) == 1
        assert daemon.stop() == 0


@pytest.mark.thorough
def test_auto_goes_where_the_living_workers_are_registered(port: int, tmp_path: Path) -> None:
    """Started again without the option, the daemon would use another ZooKeeper and replace every worker."""
    with Daemon(tmp_path / "state", f"embedded:{port}", replicas=2) as first:
        before = first.becomes_whole()
        crash(first)
        with Daemon(tmp_path / "state", "auto", replicas=2) as again:
            eventually(lambda: len(again.log("zookeeper_chosen")) == 2, within_s=WITHIN_S)
            chosen = again.log("zookeeper_chosen")[-1]
            assert chosen["address"] == f"{HOST}:{port}"
            assert "workers of an earlier daemon are registered there" in str(chosen["why"])
            assert again.becomes_whole() == before
            assert again.stop() == 0
            assert again.everything_started() == []


@pytest.mark.thorough
def test_a_server_on_another_port_goes_when_no_worker_needs_it(port: int, tmp_path: Path) -> None:
    """Started again on another port, the old server would stay for ever."""
    with Daemon(tmp_path / "state", f"embedded:{port}", replicas=2) as first:
        first.becomes_whole()
        old = server_pid(first)
        first.kill()
        with Daemon(tmp_path / "state", f"embedded:{free_port()}", replicas=2) as again:
            eventually(
                partial(has_said, again, "embedded_server_adopted", str(old)), within_s=WITHIN_S
            )
            assert exists(old)
            assert again.stop() == 0
            assert not exists(old)
            assert again.everything_started() == []


@pytest.mark.thorough
def test_when_the_daemon_that_brought_the_server_dies_the_other_takes_it_along(
    port: int, tmp_path: Path
) -> None:
    """Two groups share a server, the first one's daemon crashes with its workers: the server would stay for ever."""
    first = Daemon(tmp_path / "state", f"embedded:{port}", replicas=1)
    second = Daemon(
        tmp_path / "state",
        f"embedded:{port}",
        replicas=1,
        options=("--group", "blue"),
        group="blue",
    )
    with first:
        workers = first.becomes_whole()
        server = server_pid(first)
        with second:
            second.becomes_whole()
            first.kill()
            os.kill(workers[0], signal.SIGKILL)
            assert exists(server)
            assert second.stop() == 0
            assert not exists(server)
            assert four_letter_word(f"{HOST}:{port}", "ruok") == ""


@pytest.mark.thorough
def test_a_server_killed_while_the_disk_is_full_is_back(port: int, tmp_path: Path) -> None:
    """Out of room the server could not be started again, or would start empty."""
    require("root", os.geteuid() == 0)
    (state := tmp_path / "state").mkdir()
    with small_disk(state):
        daemon = Daemon(state, f"embedded:{port}", replicas=2)
        daemon.output = tmp_path / "daemon.out"
        with daemon:
            before = daemon.becomes_whole()
            fill(state / "ballast")
            server = server_pid(daemon)
            os.kill(server, signal.SIGKILL)
            restarted = partial(has_another_server, daemon, server)
            eventually(restarted, within_s=WITHIN_S, view=daemon.view)
            connected = partial(is_connected_again, daemon)
            eventually(connected, within_s=WITHIN_S, view=daemon.view)
            (state / "ballast").unlink()
            assert daemon.becomes_whole() == before
            assert daemon.stop() == 0
            assert daemon.everything_started() == []
