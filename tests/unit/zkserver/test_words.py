"""Goal: whoever reads four-letter words can read ours. Method: their ways of reading, a real process.

kazoo's are its own methods; the others are written after zktop (`srvr`, `cons`), the plug-ins that
collect `mntr`, and Apache's `zkServer.sh status`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from kazoo.client import KazooClient

from tests.support.clients import connected
from tests.support.servers import four_letter_word

from .rawclient import limited

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KazooClient]:
    """A client with an ephemeral, a sequence and two watches; its `hosts` is the server's address."""
    with (
        limited(tmp_path_factory.mktemp("words") / "zookeeper") as server,
        connected(server.address) as one,
    ):
        one.create("/e", b"12345", ephemeral=True)
        one.exists("/e", watch=print)
        one.get_children("/", watch=print)
        one.address = server.address
        yield one


def _ask(client: KazooClient, word: str) -> str:
    return four_letter_word(client.address, word)


def _fields(text: str, separator: str) -> dict[str, str]:
    lines = (line.partition(separator) for line in text.splitlines())
    return {key.strip(): value.strip() for key, found, value in lines if found}


def test_kazoo_reads_version_and_mode(client: KazooClient) -> None:
    """kazoo would refuse features, or take the server for a broken one."""
    assert client.server_version()[:2] == (3, 8)
    assert client.command(b"ruok") == "imok"
    assert client.command(b"isro") == "rw"


def test_zktop_finds_every_number_of_a_server(client: KazooClient) -> None:
    """zktop would show an empty row or stop with a traceback."""
    text = _ask(client, "srvr")
    version = re.search(r"Zookeeper version: (\d+\.\d+\.\d+)", text)
    assert version is not None
    assert version[1] == "3.8.0"
    fields = _fields(text, ":")
    assert fields["Mode"] in {"leader", "follower", "standalone", "observer"}
    assert int(fields["Zxid"], 16) > 0
    low, average, high = map(float, fields["Latency min/avg/max"].split("/"))
    assert low <= average <= high
    for name in ("Received", "Sent", "Connections", "Outstanding", "Node count"):
        assert int(fields[name]) >= 0


@pytest.mark.parametrize("word", ["stat", "cons"])
def test_zktop_finds_every_client(client: KazooClient, word: str) -> None:
    """zktop would show nobody although the server is in use."""
    shape = re.compile(r"^ /([\d.]+):(\d+)\[(\d+)\]\((.*)\)$", re.MULTILINE)
    found = shape.findall(_ask(client, word))
    assert all(address == "127.0.0.1" and int(port) > 0 for address, port, *_ in found)
    details = [dict(part.split("=") for part in rest.split(",")) for *_, rest in found]
    assert all(int(one["queued"]) == 0 and int(one["recved"]) >= 0 for one in details)
    if word == "cons":
        assert f"{client.client_id[0]:#x}" in {one.get("sid") for one in details}


def test_collectors_of_mntr_get_name_tab_number(client: KazooClient) -> None:
    """Graphs and alarms would stay empty."""
    values = dict(line.split("\t") for line in _ask(client, "mntr").splitlines())
    assert values.pop("zk_version").startswith("3.8.0")
    assert values.pop("zk_server_state") == "standalone"
    numbers = {name: float(value) for name, value in values.items()}
    assert numbers["zk_ephemerals_count"] == 1
    assert numbers["zk_watch_count"] == 2
    assert numbers["zk_znode_count"] == 5
    assert 8 <= numbers["zk_open_file_descriptor_count"] < numbers["zk_max_file_descriptor_count"]
    assert 0 < numbers["zk_uptime"] < 600_000
    assert numbers["zk_stalled_ms"] == 0
    for name in ("avg_latency", "max_latency", "min_latency", "outstanding_requests"):
        assert numbers[f"zk_{name}"] == 0


def test_the_rest_reads_as_apaches(client: KazooClient) -> None:
    """Scripts that look for one line would not find it."""
    assert int(_fields(_ask(client, "conf"), "=")["tickTime"]) == 500
    assert _fields(_ask(client, "envi"), "=")["zookeeper.version"].startswith("3.8.0")
    assert re.search(r"^1 connections watching 2 paths$", _ask(client, "wchs"), re.MULTILINE)
    assert "Total watches:2" in _ask(client, "wchs")
    assert int(_fields(_ask(client, "conf"), "=")["dataDirSize"]) > 0
    dump = _ask(client, "dump")
    assert f"{client.client_id[0]:#x}:\n\t/e\n" in dump


def test_an_unknown_word_closes_the_connection(client: KazooClient) -> None:
    """A probe would wait for ever."""
    assert _ask(client, "nope") == ""
