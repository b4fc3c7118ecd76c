"""Goal: what was acknowledged outlives kill -9, a full disk and a stall. Method: real processes."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from autohealer.zkserver.protocol import Code
from tests.support.eventually import eventually

from .rawclient import WITHIN_S, Client, LimitedZooKeeper, limited
from .world import EPHEMERAL

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SESSIONS = 20
TIMEOUT_MS = 1000
"""The shortest the server grants."""


def test_twenty_of_twenty_sessions_and_ephemerals_survive_a_kill(tmp_path: Path) -> None:
    """A crash of the embedded server would end every worker of the machine."""
    with limited(tmp_path) as server, ExitStack() as undo:
        before = [undo.enter_context(Client(server)) for _ in range(SESSIONS)]
        for number, client in enumerate(before):
            assert client.create(f"/e-{number}", mode=EPHEMERAL).code is Code.OK
            assert client.create(f"/p-{number}", b"kept").code is Code.OK
        zxid = before[-1].exists("/").zxid
        server.kill()
        server.start()
        for number, old in enumerate(before):
            back = undo.enter_context(Client(server, 10_000, old.session_id, old.password, zxid))
            assert (back.session_id, back.timeout_ms) == (old.session_id, 10_000)
            assert back.exists(f"/e-{number}").stat.ephemeral_owner == old.session_id
            assert back.exists(f"/p-{number}").stat.data_bytes == 4


@pytest.mark.thorough
def test_zxids_never_go_back_over_kills(tmp_path: Path) -> None:
    """kazoo clients that saw a higher zxid would be locked out until they are restarted."""
    with limited(tmp_path) as server:
        seen, czxids = 0, []
        for number in range(4):
            with Client(server, last_zxid=seen) as client:
                client.create(f"/{number}")
                czxids.append(client.exists(f"/{number}").stat.czxid)
                seen = max(client.delete("/nothing").zxid for _ in range(50))
            server.kill()
            server.start()
        with Client(server, last_zxid=seen) as client:
            assert client.exists("/").zxid > seen
        assert czxids == sorted(set(czxids))


def test_a_record_cut_short_by_the_kill_is_dropped(tmp_path: Path) -> None:
    """A server killed in the middle of a write could not start again."""
    with limited(tmp_path) as server:
        with Client(server) as client:
            for number in range(5):
                client.create(f"/{number}")
        server.kill()
        raw = server.journal.read_bytes()
        server.journal.write_bytes(raw[:-5])
        server.start()
        with Client(server) as client:
            assert sorted(client.children("/")) == ["0", "1", "2", "3", "zookeeper"]
            assert client.create("/4").code is Code.OK
        assert "dropped" in server.log
        server.kill()
        server.start()
        with Client(server) as client:
            assert client.exists("/4").code is Code.OK


def test_damage_in_the_middle_is_named_and_left_as_it_is(tmp_path: Path) -> None:
    """The server would start with an empty tree, and every worker would be launched a second time."""
    with limited(tmp_path) as server:
        with Client(server) as client:
            for number in range(20):
                client.create(f"/{number}")
        server.kill()
        raw = bytearray(server.journal.read_bytes())
        raw[len(raw) // 2] ^= 0x40
        server.journal.write_bytes(raw)
        code, said = _run(server)
        assert code == 3
        assert re.search(rf"{server.journal} is corrupt at offset \d+: ", said)
        assert "Traceback" not in said
        assert server.journal.read_bytes() == raw
        raw[len(raw) // 2] ^= 0x40
        server.journal.write_bytes(raw)
        server.start()


def _run(server: LimitedZooKeeper) -> tuple[int, str]:
    run = subprocess.run(
        server.command, capture_output=True, text=True, timeout=WITHIN_S, check=False
    )
    return run.returncode, run.stderr


def test_nothing_acknowledged_is_lost_on_a_full_disk(tmp_path: Path) -> None:
    """A full disk would take the registry away, or make it forget what it had promised."""
    with limited(tmp_path) as server, Client(server) as client:
        kept = [f"/before-{number}" for number in range(3)]
        assert all(client.create(path).code is Code.OK for path in kept)
        room_bytes = server.journal.stat().st_size + 2_000
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (room_bytes, -1))
        codes = {path: client.create(path, b"x" * 90).code for path in _paths("full", 40)}
        kept += [path for path, code in codes.items() if code is Code.OK]
        assert 0 < list(codes.values()).count(Code.OK) < 40
        assert set(codes.values()) == {Code.OK, Code.SYSTEM_ERROR}
        assert all(client.exists(path).code is Code.OK for path in kept)
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (-1, -1))
        assert client.create("/after").code is Code.OK
        server.kill()
        server.start()
        with Client(server) as back:
            found = {f"/{name}" for name in back.children("/")}
        assert found == {*kept, "/after", "/zookeeper"}


def _paths(prefix: str, count: int) -> list[str]:
    return [f"/{prefix}-{number}" for number in range(count)]


def test_a_stall_of_three_timeouts_expires_none_of_twenty(tmp_path: Path) -> None:
    """A suspended laptop or a frozen virtual machine would end every healthy worker."""
    with limited(tmp_path) as server, ExitStack() as undo:
        clients = [undo.enter_context(Client(server, TIMEOUT_MS)) for _ in range(SESSIONS)]
        assert {client.timeout_ms for client in clients} == {TIMEOUT_MS}
        for number, client in enumerate(clients):
            client.create(f"/e-{number}", mode=EPHEMERAL)
        server.freeze()
        # Half of them stay awake and ping; the others slept as well, as on a laptop.
        _ping_for(3 * TIMEOUT_MS / 1000, clients[: SESSIONS // 2])
        server.resume()
        eventually(lambda: re.search("stalled|expired", server.log), within_s=WITHIN_S)
        assert "expired" not in server.log  # not even those whose pings come only now
        _ping_for(2 * TIMEOUT_MS / 1000, clients)
        assert len(clients[0].children("/")) == SESSIONS + 1
        for number, client in enumerate(clients):
            assert client.exists(f"/e-{number}").stat.ephemeral_owner == client.session_id
        for client in clients[1:]:
            client.close()
        eventually(_alone(clients[0]), within_s=WITHIN_S)  # deaths are still noticed


@pytest.mark.thorough
def test_a_stop_across_an_expiry_costs_a_niced_server_the_stop(tmp_path: Path) -> None:
    """A dead worker of a quiet group would stay registered for one more timeout, or for ever."""
    timeout_s, stop_s, tick_s, load_s = 2.0, 1.0, 0.5, 1.0
    with limited(tmp_path) as server:
        os.setpriority(os.PRIO_PROCESS, server.pid, 10)
        with Client(server, round(1000 * timeout_s)) as client:
            assert client.create("/e", mode=EPHEMERAL).code is Code.OK
        began_s, size_bytes = time.monotonic(), server.journal.stat().st_size
        _ping_for(timeout_s - 0.1, [])
        server.freeze()
        _ping_for(stop_s, [])
        server.resume()
        eventually(lambda: server.journal.stat().st_size != size_bytes, within_s=WITHIN_S)
        assert time.monotonic() - began_s < timeout_s + tick_s + stop_s + load_s


def _ping_for(seconds: float, clients: list[Client]) -> None:
    """Ping four times per timeout."""
    end_s = time.monotonic() + seconds
    next_s = 0.0

    def is_over() -> bool:
        nonlocal next_s
        if time.monotonic() >= next_s:
            next_s = time.monotonic() + TIMEOUT_MS / 4000
            for client in clients:
                client.ping()
        return time.monotonic() >= end_s

    eventually(is_over, within_s=seconds + WITHIN_S)


def _alone(client: Client) -> Callable[[], bool]:
    return lambda: len(client.children("/")) == 2
