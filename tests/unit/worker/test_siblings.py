"""Whose registration is it: records of living and ended processes, true and forged."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from autohealer.contract import WorkerRecord, encode_record, registration_proof
from autohealer.worker.identity import Identity
from autohealer.worker.siblings import is_living_sibling, is_successor

TOKEN = "0123456789abcdef" * 2
BOOT = "this boot"
NAMESPACE = 4_026_531_836


def record_of(pid: int, token: str = TOKEN) -> WorkerRecord:
    """What a process of the worker with that token writes."""
    start = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    proof = registration_proof(token, pid, start, BOOT)
    return WorkerRecord(pid, start, BOOT, "here", pidns=NAMESPACE, proof=proof)


def me(token: str = TOKEN) -> Identity:
    """This process as a worker."""
    return Identity("", 4.0, "/workers/web-3-17", "web-3-17", token, None, record_of(os.getpid()))


@contextmanager
def sibling() -> Iterator[subprocess.Popen[bytes]]:
    """Another process that lives as long as a block."""
    with subprocess.Popen(("sleep", "600")) as process:
        yield process
        process.kill()


def test_a_living_sibling_is_known() -> None:
    """A worker's processes would delete each other's registration in turn."""
    with sibling() as other:
        assert is_living_sibling(encode_record(record_of(other.pid)), me())


def test_a_sibling_that_has_ended_is_none() -> None:
    """A copy of its record would keep the worker from registering for ever."""
    with sibling() as other:
        record = record_of(other.pid)
    assert not is_living_sibling(encode_record(record), me())


def test_a_reused_pid_is_no_sibling() -> None:
    """Whatever runs under its old pid would be taken for it."""
    with sibling() as other:
        record = record_of(other.pid)
        earlier = record.start - 1
        proof = registration_proof(TOKEN, other.pid, earlier, BOOT)
        assert not is_living_sibling(
            encode_record(replace(record, start=earlier, proof=proof)), me()
        )


def test_who_cannot_be_seen_may_live() -> None:
    """A sibling in another container would lose its registration."""
    with sibling() as other:
        record = record_of(other.pid)
    for pidns in (0, NAMESPACE + 1):
        assert is_living_sibling(encode_record(replace(record, pidns=pidns)), me())


@pytest.mark.parametrize("proof", ["", "0" * 16, "ä"])
def test_who_has_no_proof_is_no_sibling(proof: str) -> None:
    """Anybody could name a living process and keep the worker from registering."""
    with sibling() as other:
        assert not is_living_sibling(
            encode_record(replace(record_of(other.pid), proof=proof)), me()
        )


def test_without_a_token_a_record_is_believed() -> None:
    """Processes started without a daemon would delete each other's registration."""
    with sibling() as other:
        record = replace(record_of(other.pid), proof="")
        assert is_living_sibling(encode_record(record), me(token=""))


def test_its_own_past_is_no_sibling() -> None:
    """A worker would wait for its own lost session to expire."""
    assert not is_living_sibling(encode_record(record_of(os.getpid())), me())


@pytest.mark.parametrize("raw", [b"", b"{}", b"[" * 5000, b"\xff", b'{"pid":99999999999999}'])
def test_rubbish_is_no_sibling(raw: bytes) -> None:
    """A stranger's data would crash the worker."""
    assert not is_living_sibling(raw, me())


@pytest.mark.parametrize(
    ("mine", "newer", "expected"),
    [
        (WorkerRecord(1, keeper="a"), WorkerRecord(2, keeper="a", host="elsewhere"), True),
        (WorkerRecord(1, keeper="a"), WorkerRecord(2, keeper="b"), False),
        (WorkerRecord(1, keeper="a"), WorkerRecord(2), False),
        (WorkerRecord(1, boot="x", host="h"), WorkerRecord(2, boot="x", host="h"), True),
        (WorkerRecord(1, boot="x", host="h"), WorkerRecord(2, boot="y", host="h"), False),
        (WorkerRecord(1, boot="x", host="h"), WorkerRecord(2, boot="x", host="i"), False),
    ],
)
def test_only_those_who_launched_a_worker_have_a_successor_for_it(
    mine: WorkerRecord, newer: WorkerRecord, expected: bool
) -> None:
    """Two hosts that run the same command would end each other's workers."""
    assert is_successor(newer, mine) is expected
