"""What daemon and worker agree on: names and records survive the way there and back."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from autohealer.contract import (
    RECORD_BYTES_MAX,
    RecordError,
    WorkerRecord,
    ZnodeName,
    adoption_token,
    decode_record,
    encode_record,
    is_group_name,
    keeper_id,
    manual_znode_path,
    parse_znode_name,
    registration_proof,
    worker_connection,
)

groups = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}", fullmatch=True).filter(is_group_name)
names = st.builds(
    ZnodeName,
    group=groups,
    slot=st.integers(0, 999_999),
    generation=st.integers(0, 2**63 - 1),
)
texts = st.text(max_size=128).filter(lambda text: text.isprintable())
records = st.builds(
    WorkerRecord,
    pid=st.integers(1, 2**22),
    start=st.integers(0, 2**63 - 1),
    boot=st.uuids().map(str),
    host=texts,
    address=texts,
    pidns=st.integers(0, 2**32 - 1),
    keeper=st.from_regex(r"([0-9a-f]{12})?", fullmatch=True),
    proof=st.from_regex(r"([0-9a-f]{16})?", fullmatch=True),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(records)
def test_a_record_survives_the_way_through_a_znode(record: WorkerRecord) -> None:
    """A daemon would adopt another process than the one that registered."""
    assert decode_record(encode_record(record)) == record


def test_an_ordinary_record_is_small() -> None:
    """Ten thousand registrations would be felt by the server."""
    record = WorkerRecord(
        pid=4_194_304,
        start=10**10,
        boot="d1b6b7a8-0c5e-4f0e-9f61-0f6d2d1a7c55",
        host="worker-17.eu-central-1.example.com",
        address="10.20.30.40:65535",
    )
    assert len(encode_record(record)) < 200
    said = replace(record, pidns=4_026_531_836, keeper="0" * 12, proof="0" * 16)
    assert len(encode_record(said)) < 256


def test_an_older_reader_understands_a_record() -> None:
    """After an upgrade of the workers, a daemon of before would not know which process a registration is."""
    record = WorkerRecord(7, 12, "boot", "host", "10.0.0.1:80", pidns=5, keeper="k", proof="p")
    fields = json.loads(encode_record(record))
    expected = {"pid": 7, "start": 12, "boot": "boot", "host": "host", "address": "10.0.0.1:80"}
    assert {key: fields[key] for key in expected} == expected
    assert fields["version"] == 1


def test_a_record_of_before_is_understood() -> None:
    """After an upgrade of the daemon, workers launched by an older one would be taken for strangers."""
    raw = b'{"pid":7,"start":12,"boot":"boot","host":"host","address":"","version":1}'
    assert decode_record(raw) == WorkerRecord(7, 12, "boot", "host")
    assert encode_record(WorkerRecord(7, 12, "boot", "host")) == raw


@given(st.binary(max_size=2 * RECORD_BYTES_MAX))
def test_garbage_is_refused_and_nothing_worse(raw: bytes) -> None:
    """Any program's znode below /workers could stop the daemon."""
    with pytest.raises(RecordError):
        decode_record(raw)


@given(json_values)
def test_any_json_is_a_record_or_refused(value: object) -> None:
    """A foreign program's JSON could stop the daemon or put odd types into its view."""
    try:
        record = decode_record(json.dumps(value).encode())
    except RecordError:
        return
    assert record.pid > 0


@given(
    st.dictionaries(
        st.sampled_from(
            ["start", "boot", "host", "address", "version", "pidns", "keeper", "proof"]
        ),
        json_values,
    )
)
def test_only_the_pid_must_be_sound(fields: dict[str, object]) -> None:
    """A foreign program that says only its pid, or says the rest badly, would not be counted."""
    raw = json.dumps({**fields, "pid": 7}).encode()
    assume(len(raw) <= RECORD_BYTES_MAX)
    record = decode_record(raw)
    assert record.pid == 7
    assert all(isinstance(number, int) for number in (record.start, record.version, record.pidns))
    texts = (record.boot, record.host, record.address, record.keeper, record.proof)
    assert all(isinstance(text, str) for text in texts)


@pytest.mark.parametrize("pid", ["7", 0, -7, 7.0, True, None, []])
def test_a_pid_that_is_none_is_refused(pid: object) -> None:
    """The daemon would signal process 0, a group, or process 1 called true."""
    with pytest.raises(RecordError, match="pid"):
        decode_record(json.dumps({"pid": pid}).encode())


def test_too_large_a_record_is_refused_before_it_is_read() -> None:
    """One znode of a megabyte would stall the daemon."""
    raw = json.dumps({"pid": 7, "more": "x" * RECORD_BYTES_MAX}).encode()
    with pytest.raises(RecordError, match=str(RECORD_BYTES_MAX)):
        decode_record(raw)


def test_a_deeply_nested_record_is_refused() -> None:
    """A hostile znode would end the daemon with RecursionError."""
    with pytest.raises(RecordError):
        decode_record(b"[" * (RECORD_BYTES_MAX - 1))


@given(names)
def test_a_name_survives_the_way_there_and_back(name: ZnodeName) -> None:
    """A registration would be counted for another slot."""
    assert parse_znode_name(str(name)) == name
    assert name.path == f"/workers/{name}"


@given(st.text())
def test_only_names_given_out_are_recognised(text: str) -> None:
    """Two spellings would stand for one incarnation."""
    name = parse_znode_name(text)
    assert name is None or str(name) == text


@pytest.mark.parametrize(
    "text",
    [
        "web",
        "web-1",
        "web-01-2",
        "web-1-02",
        "-1-2",
        "web-1-2-",
        "web--1-2x",
        "manual-host-1-2",
        "web-1-2\n",
        "web-\uff11-2",
        "a/b-1-2",
    ],
)
def test_foreign_names_are_left_alone(text: str) -> None:
    """The daemon would take somebody else's znode for a worker of its own."""
    assert parse_znode_name(text) is None


@given(st.from_regex(r"[a-z0-9.-]{1,40}", fullmatch=True), st.integers(1), st.integers(0))
def test_a_manual_name_is_never_taken_for_a_slot(host: str, pid: int, start: int) -> None:
    """A worker started by hand would be counted for a slot of the group."""
    path = manual_znode_path(host, pid, start)
    assert parse_znode_name(path.rpartition("/")[2]) is None


@given(st.binary(min_size=16), st.binary(min_size=16), names, names)
def test_a_token_fits_one_secret_and_one_incarnation(
    secret: bytes, other_secret: bytes, name: ZnodeName, other_name: ZnodeName
) -> None:
    """A stranger's process, or an older incarnation, could be adopted in a worker's place."""
    token = adoption_token(secret, str(name))
    assert len(token) == 32
    if name != other_name:
        assert token != adoption_token(secret, str(other_name))
    if len(secret) == len(other_secret) and secret != other_secret:
        assert token != adoption_token(other_secret, str(name))


PROVEN = ("0123456789abcdef" * 2, 4711, 12, "boot")


def test_a_proof_is_always_the_same() -> None:
    """A daemon of another version could not tell its own workers any more."""
    assert registration_proof(*PROVEN) == "44336389eb149de2"
    assert keeper_id(bytes(32)) == "5d842117ecec"


@pytest.mark.parametrize(
    "other",
    [
        ("f" * 32, 4711, 12, "boot"),
        (PROVEN[0], 4712, 12, "boot"),
        (PROVEN[0], 4711, 13, "boot"),
        (PROVEN[0], 4711, 12, "reboot"),
        (PROVEN[0], 471, 112, "boot"),
    ],
)
def test_a_proof_holds_for_one_process_and_one_token(other: tuple[str, int, int, str]) -> None:
    """Who copies a record out of a znode would pass for the worker it speaks of."""
    assert registration_proof(*other) != registration_proof(*PROVEN)


@pytest.mark.parametrize(
    ("told", "connection"),
    [
        ("", "127.0.0.1:2181"),
        ("auto", "127.0.0.1:2181"),
        ("embedded", "127.0.0.1:2181"),
        ("embedded:2191", "127.0.0.1:2191"),
        ("zk1:2181,zk2:2181/app", "zk1:2181,zk2:2181/app"),
    ],
)
def test_a_worker_understands_what_the_daemon_does(told: str, connection: str) -> None:
    """Started by hand with the daemon's own setting it would look for a host called `embedded`."""
    assert worker_connection(told) == connection
