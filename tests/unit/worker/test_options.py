"""The arguments for a worker's own client."""

from __future__ import annotations

import pytest

from autohealer.worker import kazoo_options


@pytest.mark.parametrize(
    ("told", "hosts"),
    [
        (None, "127.0.0.1:2181"),
        ("auto", "127.0.0.1:2181"),
        ("embedded:2191", "127.0.0.1:2191"),
        ("zk1:2181/app", "zk1:2181/app"),
    ],
)
def test_an_own_client_goes_where_the_worker_registers(
    monkeypatch: pytest.MonkeyPatch, told: str | None, hosts: str
) -> None:
    """A worker started by hand would register, and its own client would ask for a host called `auto`."""
    monkeypatch.delenv("AUTOHEALER_ZOOKEEPER", raising=False)
    if told is not None:
        monkeypatch.setenv("AUTOHEALER_ZOOKEEPER", told)
    assert kazoo_options() == {"hosts": hosts}
