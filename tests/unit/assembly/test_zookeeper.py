"""Which ZooKeeper a daemon uses: where its living workers are registered, or what listens."""

from __future__ import annotations

import asyncio
import os
import resource
import secrets
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from autohealer.assembly.zookeeper import Choice, choose, too_few_files
from autohealer.contract import (
    ENV_GENERATION,
    ENV_GROUP,
    ENV_SLOT,
    ENV_TOKEN,
    ENV_ZOOKEEPER,
    ZnodeName,
    adoption_token,
)
from autohealer.launchspec import LaunchSpec
from autohealer.settings import (
    REPLICAS_MAX,
    AutoTarget,
    DaemonSettings,
    EmbeddedTarget,
    EnsembleTarget,
    GroupSettings,
    Target,
)
from autohealer.zkserver.settings import ServerSettings
from tests.support.otheruser import STRANGER, socket_of
from tests.support.ports import HOST, free_port
from tests.support.require import require

pytestmark = pytest.mark.xdist_group("port 2181")

SECRET = secrets.token_bytes()
"""Of this run's state directory: another run of these tests has living workers of its own."""
GROUP = "web"


def settings(state_dir: Path, target: Target) -> DaemonSettings:
    """A daemon's, with its folder made."""
    group = GroupSettings(GROUP, 1, LaunchSpec(("/bin/true",)))
    told = DaemonSettings(state_dir, target, (group,))
    told.folder_of(group).mkdir(parents=True, exist_ok=True)
    return told


def chosen(state_dir: Path, target: Target) -> Choice:
    """What a daemon would use now."""
    return asyncio.run(choose(settings(state_dir, target), SECRET))


@contextmanager
def worker_at(address: str, secret: bytes = SECRET) -> Iterator[None]:
    """A process that was launched as a worker and told of a ZooKeeper."""
    name = ZnodeName(GROUP, 0, 1)
    environment = os.environ | {
        ENV_GROUP: GROUP,
        ENV_SLOT: str(name.slot),
        ENV_GENERATION: str(name.generation),
        ENV_TOKEN: adoption_token(secret, str(name)),
        ENV_ZOOKEEPER: address,
    }
    with subprocess.Popen(("sleep", "600"), env=environment) as process:
        try:
            yield
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("earlier", "is_embedded"), [(EmbeddedTarget, True), (EnsembleTarget, False), (None, False)]
)
def test_auto_goes_where_living_workers_are_registered(
    tmp_path: Path, earlier: type[EmbeddedTarget | EnsembleTarget] | None, *, is_embedded: bool
) -> None:
    """After a crash every worker would be replaced, or an embedded server started in place of an ensemble."""
    port = free_port()
    address = f"{HOST}:{port}"
    match earlier:
        case None:
            pass
        case _ if earlier is EmbeddedTarget:
            chosen(tmp_path, EmbeddedTarget(port))
        case _:
            chosen(tmp_path, EnsembleTarget(address))
            (tmp_path / f"zkserver-{port}").mkdir()  # of a still earlier run
    with worker_at(address):
        found = chosen(tmp_path, AutoTarget())
    assert found.connection == address
    assert found.embedded_port == (port if is_embedded else None)
    assert "workers of an earlier daemon are registered there" in found.why


def test_without_its_note_the_state_directory_tells_what_it_was(tmp_path: Path) -> None:
    """On a disk that was full at the start nothing could be noted, and nothing would bring the server back."""
    port = free_port()
    (tmp_path / f"zkserver-{port}").mkdir()
    with worker_at(f"{HOST}:{port}"):
        assert chosen(tmp_path, AutoTarget()).embedded_port == port


@pytest.mark.parametrize("note", ["", "auto", "embedded:", "embedded:1", "\x00", "x" * 10_000])
def test_a_note_that_says_something_else_is_not_believed(tmp_path: Path, note: str) -> None:
    """A damaged note would keep the daemon from starting, or lead it astray."""
    port = free_port()
    settings(tmp_path, AutoTarget())
    (tmp_path / "groups" / GROUP / "zookeeper").write_text(note)
    with worker_at(f"{HOST}:{port}"):
        assert chosen(tmp_path, AutoTarget()).connection == f"{HOST}:{port}"


def test_somebody_elses_worker_and_an_old_note_lead_nowhere(tmp_path: Path) -> None:
    """A stranger could send the daemon to a ZooKeeper of their own; a group that ended would come back elsewhere."""
    port = free_port()
    chosen(tmp_path, EmbeddedTarget(port))
    with worker_at(f"{HOST}:{port}", secret=b"of another state directory"):
        assert chosen(tmp_path, AutoTarget()).connection == f"{HOST}:2181"


def test_what_was_told_is_used_whatever_is_there(tmp_path: Path) -> None:
    """A typing error, or a server that is down, would be answered with another ZooKeeper than the one named."""
    with worker_at("127.0.0.1:1"):
        assert chosen(tmp_path, EnsembleTarget("zk1:2181")).connection == "zk1:2181"
        assert chosen(tmp_path, EmbeddedTarget(2)).embedded_port == 2


def test_another_users_zookeeper_is_not_what_auto_takes(tmp_path: Path) -> None:
    """Whoever listens on the usual port first would be told of, and could end, every worker of everybody."""
    with socket_of(STRANGER) as listener:
        # What an earlier server's connections left on the port for a minute is no server.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, 2181))
        except OSError:
            require("a free port 2181", present=False)
        listener.listen()
        found = chosen(tmp_path, AutoTarget())
    assert found.embedded_port == 2181
    assert found.user == os.geteuid()


def test_where_workers_are_registered_is_not_trusted_by_that(tmp_path: Path) -> None:
    """Who took a dead server's port could end the workers that were registered there."""
    with socket_of(STRANGER) as listener:
        listener.bind((HOST, 0))
        listener.listen()
        address = f"{HOST}:{listener.getsockname()[1]}"
        with worker_at(address):
            found = chosen(tmp_path, AutoTarget())
    assert (found.connection, found.user) == (address, os.geteuid())
    assert f"of user {STRANGER}, which is not trusted" in found.why
    assert f"--zookeeper {address}" in found.why
    assert chosen(tmp_path, EnsembleTarget(address)).user is None


def test_too_few_files_for_the_embedded_server_are_told_with_the_number() -> None:
    """The last of many workers would never register and be replaced for ever, and nobody could tell why."""
    sentence = too_few_files(4096, 4096)
    assert (
        "the hard limit of open files, 4096, lets the embedded ZooKeeper server take 4032"
        in sentence
    )
    assert too_few_files(4031, 4096) == ""
    assert too_few_files(10_000, resource.RLIM_INFINITY) == ""
    assert ServerSettings(Path("/nowhere")).connections_max > REPLICAS_MAX
