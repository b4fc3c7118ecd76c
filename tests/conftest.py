"""Fixtures every test may use: ZooKeeper servers of both kinds and a client.

Theory of operation: `zookeeper` gives a test a corner of its own (a chroot) on a server that works;
`own_zookeeper` gives it a whole server that it may kill and freeze. Both run the test once per kind
of server. A server of each kind is started once for all tests that only need a corner of it.

Limits: what a fixture starts it stops, by process id.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.support.apache import ApacheZooKeeper, SecuredApacheZooKeeper, apache_is_installed
from tests.support.certificates import Authority, openssl_is_installed
from tests.support.clients import connected, with_chroot
from tests.support.embedded import EmbeddedZooKeeper
from tests.support.require import require
from tests.support.servers import ServerProcess, ZooKeeperServer, ZooKeeperUnderTest, running

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from kazoo.client import KazooClient

    Plain = (
        dict[str, "Plain"] | list["Plain"] | tuple["Plain", ...] | str | int | float | bool | None
    )

# How long one example takes says something about the machine, nothing about the code.
settings.register_profile("unhurried", deadline=None, print_blob=True)
settings.load_profile("unhurried")

KINDS = ("embedded", "apache")

WORKERS_PER_CORE = 2
"""Test processes at once: a test waits for other processes more than it works."""


def pytest_configure() -> None:
    """Let bytecode be written even where the environment says not to: thousands of processes import the program.

    And let HUP and INT mean what they mean, also under `nohup` and in the background of a script: daemons begin with
    what they are given.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def pytest_xdist_auto_num_workers() -> int:
    """What `-n auto` means here."""
    return WORKERS_PER_CORE * len(os.sched_getaffinity(0))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Call thorough what needs Apache ZooKeeper, and let one process start the one with TLS and SASL."""
    for item in items:
        if _needs_apache(item):
            item.add_marker(pytest.mark.thorough)
        if "secured_apache" in _fixtures_of(item) and not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group("secured Apache ZooKeeper"))


def _needs_apache(item: pytest.Item) -> bool:
    """Whether a test starts a JVM that is a server: once for its fixtures, or as one of the kinds it is run on."""
    params = getattr(getattr(item, "callspec", None), "params", {})
    of_a_kind = any(kind in ("apache", ApacheZooKeeper) for kind in params.values())
    return of_a_kind or not _fixtures_of(item).isdisjoint(("shared_apache", "secured_apache"))


def _fixtures_of(item: pytest.Item) -> frozenset[str]:
    return frozenset(getattr(item, "fixturenames", ()))


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Plain, Plain]:
    """Let a report pass between the processes of a test run, whatever hostile text a test has logged."""
    return _encodable((yield))


def _encodable(value: Plain) -> Plain:
    """The same, with escapes for what no UTF-8 can say."""
    match value:
        case dict():
            return {key: _encodable(item) for key, item in value.items()}
        case list():
            return [_encodable(item) for item in value]
        case tuple():
            return tuple(_encodable(item) for item in value)
        case str():
            return value.encode(errors="backslashreplace").decode()
        case _:
            return value


@pytest.fixture(scope="session")
def shared_apache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The one JVM of the test run; a test must not kill or freeze it."""
    require("Apache ZooKeeper", apache_is_installed())
    with running(ApacheZooKeeper(tmp_path_factory.mktemp("apache"))) as server:
        yield server


@pytest.fixture(scope="session")
def shared_embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The one embedded server of the test run for tests that only need a corner of it; not to be killed or frozen."""
    with running(EmbeddedZooKeeper(tmp_path_factory.mktemp("embedded"))) as server:
        yield server


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who signs the certificates of `secured_apache` and its clients."""
    require("openssl", openssl_is_installed())
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def secured_apache(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority
) -> Iterator[SecuredApacheZooKeeper]:
    """A second JVM, with TLS and SASL; a test must not kill or freeze it."""
    require("Apache ZooKeeper", apache_is_installed())
    folder = tmp_path_factory.mktemp("secured")
    server = SecuredApacheZooKeeper(folder, authority.issue("server"), authority.ca)
    with running(server):
        yield server


@pytest.fixture(params=KINDS)
def zookeeper(request: pytest.FixtureRequest) -> ZooKeeperUnderTest:
    """A chroot, empty and already created, on a working server of each kind."""
    return with_chroot(request.getfixturevalue(f"shared_{request.param}"))


@pytest.fixture
def server(shared_embedded: ServerProcess) -> str:
    """The connection string of such a chroot on an embedded server, where the kind of server has no say."""
    return with_chroot(shared_embedded).connection


@pytest.fixture(params=KINDS)
def own_zookeeper(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ZooKeeperServer]:
    """A whole server of each kind, without chroot, that the test may kill, freeze and restart."""
    server: ServerProcess
    if request.param == "apache":
        require("Apache ZooKeeper", apache_is_installed())
        server = ApacheZooKeeper(tmp_path / "zookeeper")
    else:
        server = EmbeddedZooKeeper(tmp_path / "zookeeper")
    with running(server):
        yield server


@pytest.fixture
def zk_client(zookeeper: ZooKeeperUnderTest) -> Iterator[KazooClient]:
    """A started KazooClient in the test's own chroot."""
    with connected(zookeeper.connection) as client:
        yield client
