"""Whose a process or a socket is: of a worker's tree, of somebody else, or of nobody who can be seen."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest

from autohealer.contract import ENV_TOKEN, WorkerRecord
from autohealer.core.model import Incarnation
from autohealer.processes.identity import boot_id, start_ticks
from autohealer.processes.kinship import Family, Kin, is_own
from autohealer.zkserver.endpoints import Address, Pair, address_of

NAME = Incarnation(0, 7)
CONNECTS = "import socket, sys; s = socket.create_connection(('127.0.0.1', int(sys.argv[1]))); sys.stdin.read()"
AS_A_CHILD = (
    f"import subprocess, sys; subprocess.run([sys.executable, '-c', {CONNECTS!r}, sys.argv[1]])"
)
AS_A_STRAY = AS_A_CHILD.replace("sys.argv[1]])", "sys.argv[1]], start_new_session=True)")


@contextmanager
def connecting(code: str, token: str = "") -> Iterator[tuple[int, list[Pair]]]:
    """A process that connects, or has one connect: its pid, and the client's end of the connection."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(port)],
            stdin=subprocess.PIPE,
            start_new_session=True,
            env={**os.environ, ENV_TOKEN: token},
        )
        with process:
            connection, client = server.accept()
            with connection:
                yield process.pid, [Pair(address_of(*client), address_of("127.0.0.1", port))]


@pytest.mark.parametrize("code", [CONNECTS, AS_A_CHILD, AS_A_STRAY])
def test_a_connection_of_a_workers_tree_is_its(code: str) -> None:
    """A worker behind a wrapper, or one that forks, could never be proven to have registered."""
    with connecting(code) as (pid, ends):
        kin = Family({pid: NAME}, {}).behind(ends)
        assert kin is not None
        assert kin.name == NAME


def test_what_carries_a_workers_token_is_its() -> None:
    """What its leader left to itself would pass for somebody else's."""
    with connecting(CONNECTS, token="secret") as (pid, ends):
        assert Family({}, {"secret": NAME}).behind(ends) == Kin(pid, NAME)


def test_a_connection_of_another_process_is_somebody_elses() -> None:
    """A foreigner's registration would be taken for a worker's."""
    with connecting(CONNECTS) as (pid, ends):
        assert Family({os.getpid() + 1: NAME}, {"secret": NAME}).behind(ends) == Kin(pid, None)


def test_what_we_have_open_is_seen_every_time() -> None:
    """Descriptors come and go while they are looked at: foreigners would pass for workers now and then."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
        with closing(socket.create_connection(("127.0.0.1", port))) as client:
            ends = [Pair(address_of(*client.getsockname()), address_of("127.0.0.1", port))]
            assert all(is_own(ends) for _ in range(50))
            assert all(Family({}, {}).behind(ends) == Kin(os.getpid(), None) for _ in range(5))


def test_of_a_connection_that_is_not_of_this_machine_nothing_is_known() -> None:
    """Whoever registers from another host would be taken for a foreigner, or for a worker, without a proof."""
    elsewhere = Address(bytes((192, 0, 2, 1)), 4711)
    assert Family({os.getpid(): NAME}, {}).behind([Pair(elsewhere, elsewhere)]) is None
    assert Family({}, {}).behind([]) is None


def test_a_record_is_believed_where_it_names_a_process_of_here() -> None:
    """A pid from another host would make a worker's of a foreigner's registration."""
    pid = os.getpid()
    record = WorkerRecord(pid, start_ticks(pid) or 0, boot_id(), os.uname().nodename)
    family = Family({pid: NAME}, {})
    assert family.behind_record(record) == Kin(pid, NAME)
    assert Family({}, {}).behind_record(record) == Kin(pid, None)
    for other in (
        replace(record, host="there"),
        replace(record, boot="other"),
        replace(record, start=0),
        replace(record, start=record.start + 1),
        replace(record, pidns=1),
    ):
        assert family.behind_record(other) is None
