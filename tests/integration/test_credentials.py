"""A ZooKeeper that wants to know who asks, from end to end: daemon, workers, and strangers who are kept out."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil
import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import NoAuthError
from kazoo.security import CREATOR_ALL_ACL

from autohealer.contract import ENV_ZOOKEEPER_AUTH, WORKERS_PATH, ZnodeName
from autohealer.credentials import Credentials
from tests.support.apache import SASL_PASSWORD, SASL_USER, SecuredApacheZooKeeper
from tests.support.certificates import Authority
from tests.support.clients import connected, with_chroot
from tests.support.daemon import Daemon, environment_of, exists
from tests.support.eventually import eventually
from tests.support.logins import (
    DIGEST,
    PASSWORD,
    credentials,
    digest_login,
    login_file,
    require_sasl,
)
from tests.support.ports import HOST
from tests.support.servers import ZooKeeperServer, ZooKeeperUnderTest
from tests.support.workers import launched
from tests.support.znodes import await_output, await_znode

WITHIN_S = 30.0
NAME = ZnodeName("web", 3, 17)
WORKS = """
from autohealer.worker import Worker
with Worker(register=False) as worker:
    print("registered", worker.register(), flush=True)
    worker.stopping.wait()
"""


def options_of(shown: Credentials) -> list[str]:
    """The command line that says the same."""
    option = "--{}".format
    named = shown.environment().items()
    return [
        word
        for name, path in named
        for word in (option(name.removeprefix("AUTOHEALER_").lower().replace("_", "-")), path)
    ]


def daemon_with(folder: Path, zookeeper: str, shown: Credentials, replicas: int = 3) -> Daemon:
    """The daemon as a user starts it."""
    return Daemon(folder, zookeeper, replicas=replicas, options=options_of(shown))


def said(daemon: Daemon, event: str) -> str:
    """Wait for a log line of this kind; its sentence."""
    lines = eventually(lambda: daemon.log(event), within_s=WITHIN_S, view=daemon.view)
    assert lines
    return str(lines[0]["why"])


def everything_shown(daemon: Daemon) -> bytes:
    """What anybody may come to see: files, command lines, environments."""
    shown = [path.read_bytes() for path in daemon.state_dir.rglob("*") if path.is_file()]
    for process in [psutil.Process(daemon.pid), *daemon.everything_started()]:
        with suppress(psutil.NoSuchProcess):
            shown += [" ".join(process.cmdline()).encode(), repr(process.environ()).encode()]
    return b"\n".join(shown)


def test_a_stranger_can_do_nothing_and_learns_nothing(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, tmp_path: Path
) -> None:
    """Any client of the ensemble could end all workers, or any user of the machine read the password."""
    with daemon_with(tmp_path / "state", zookeeper.connection, digest_login(tmp_path)) as daemon:
        pids = daemon.becomes_whole()
        with connected(zookeeper.connection, digest=DIGEST) as owner:
            registered = [f"{WORKERS_PATH}/{name}" for name in owner.get_children(WORKERS_PATH)]
        assert len(registered) == daemon.replicas
        for path in registered:
            attempts: list[Callable[[], object]] = [
                partial(zk_client.delete, path),
                partial(zk_client.set, path, b"{}"),
                partial(zk_client.get, path),
                partial(zk_client.create, f"{path}0"),
            ]
            for attempt in attempts:
                with pytest.raises(NoAuthError):
                    attempt()
        psutil.Process(pids[1]).kill()
        new = daemon.replaces({1: pids[1]}, WITHIN_S)
        assert [new[0], new[2]] == [pids[0], pids[2]]
        assert PASSWORD.encode() not in everything_shown(daemon)
        assert daemon.stop() == 0
        assert daemon.log("zookeeper_permissions") == []


@pytest.mark.parametrize("scheme", ["digest", "sasl"])
@pytest.mark.thorough
def test_tls_from_end_to_end(
    secured_apache: SecuredApacheZooKeeper, authority: Authority, tmp_path: Path, scheme: str
) -> None:
    """An ensemble that lets in TLS alone could not be used, by the daemon or by its workers."""
    require_sasl()
    text = f"digest:{DIGEST}" if scheme == "digest" else f"sasl:{SASL_USER}:{SASL_PASSWORD}"
    auth = login_file(tmp_path / f"auth-{scheme}", text)
    shown = credentials(auth=auth, ca=authority.ca, cert=authority.issue("client"))
    chroot = with_chroot(secured_apache).connection.removeprefix(secured_apache.address)
    zookeeper = f"localhost:{secured_apache.secure_port}{chroot}"
    options = [*options_of(shown), "--session-timeout", "600"]
    with Daemon(tmp_path / "state", zookeeper, replicas=2, options=options) as daemon:
        pids = daemon.becomes_whole()
        eventually(
            lambda: daemon.log("session_timeout_clipped"), within_s=WITHIN_S, view=daemon.view
        )
        with connected(secured_apache.address) as stranger, pytest.raises(NoAuthError):
            stranger.get_children(f"{chroot}{WORKERS_PATH}")
        psutil.Process(pids[0]).kill()
        daemon.replaces({0: pids[0]}, WITHIN_S)
        assert daemon.stop() == 0
        stops = [str(line["how"]) for line in daemon.log("worker_stopped")]
        assert stops == ["exited with code 0"] * 2


def test_a_wrong_password_ends_a_start_with_a_sentence(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """Workers would be launched that can never register, and nobody would know why."""
    with daemon_with(tmp_path / "state", zookeeper.connection, digest_login(tmp_path)) as first:
        first.becomes_whole()
        wrong = digest_login(tmp_path, "not-it")
        with daemon_with(tmp_path / "other", zookeeper.connection, wrong) as second:
            assert second.wait(WITHIN_S) == 3
            last = second.output.read_text().splitlines()[-1]
            assert last.startswith("autohealer: ")
            assert "/workers in ZooKeeper may not be read (NoAuth)" in last
            assert zookeeper.server.address in last
            assert str(tmp_path / "auth-other") in last
            assert not second.everything_started()
        assert first.is_whole()


@pytest.mark.thorough
def test_the_next_daemon_with_other_credentials_says_so_and_heals(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """A mistake in an upgrade would leave the group without a keeper, or end workers that are well."""
    state = tmp_path / "state"
    shown = digest_login(tmp_path)
    with daemon_with(state, zookeeper.connection, shown) as first:
        pids = first.becomes_whole()
        first.kill()
        wrong = digest_login(tmp_path, "not-it")
        with daemon_with(state, zookeeper.connection, wrong) as second:
            assert "may not be read (NoAuth)" in said(second, "registrations_not_listed")
            psutil.Process(pids[0]).kill()
            eventually(
                lambda: second.log("worker_started")[-1]["pid"] not in pids.values(),
                within_s=WITHIN_S,
                view=second.view,
            )
            assert exists(pids[1])
            assert exists(pids[2])
            second.kill()
        with daemon_with(state, zookeeper.connection, shown) as third:
            third.becomes_whole()
            assert third.stop() == 0


@pytest.mark.thorough
def test_a_daemon_that_may_not_connect_any_more_says_so_and_heals(
    secured_apache: SecuredApacheZooKeeper, authority: Authority, tmp_path: Path
) -> None:
    """A certificate that has run out would end the keeper of workers that are well, or be a mystery."""
    state = tmp_path / "state"
    zookeeper = with_chroot(secured_apache)
    with daemon_with(state, zookeeper.connection, digest_login(tmp_path)) as first:
        pids = first.becomes_whole()
        first.kill()
        chroot = zookeeper.connection.removeprefix(secured_apache.address)
        secure = f"{HOST}:{secured_apache.secure_port}{chroot}"
        other = credentials(ca=Authority(tmp_path / "other").ca)
        with daemon_with(state, secure, other) as second:
            eventually(
                lambda: "certificate that is not accepted" in second.output.read_text(),
                within_s=WITHIN_S,
                view=second.view,
            )
            psutil.Process(pids[0]).kill()
            eventually(
                lambda: second.log("worker_started")[-1]["pid"] not in pids.values(),
                within_s=WITHIN_S,
                view=second.view,
            )
            assert exists(pids[1])
            assert second.stop() == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--zookeeper-auth", "digest:ada:secret"], "takes the name of a file"),
        (["--zookeeper-auth", "missing"], "cannot be read: No such file or directory"),
        (["--zookeeper-tls-key", "missing"], "need --zookeeper-tls-ca"),
        (["--zookeeper-tls-ca", "missing"], "cannot be used as certificates of a CA"),
    ],
)
def test_a_mistake_in_the_options_is_wrong_usage(
    tmp_path: Path, options: list[str], words: str
) -> None:
    """A service would be started again and again over a file that is not there."""
    with Daemon(tmp_path, "127.0.0.1:1", options=options) as daemon:
        assert daemon.wait(WITHIN_S) == 2
        (line,) = daemon.output.read_text().splitlines()
        assert words in line
        assert "secret" not in line


@pytest.mark.parametrize(
    "zookeeper_option", [pytest.param("auto", marks=pytest.mark.thorough), "embedded"]
)
def test_the_embedded_server_takes_no_tls_and_no_sasl(
    authority: Authority, tmp_path: Path, zookeeper_option: str
) -> None:
    """The daemon would wait for an answer that its own server never gives."""
    require_sasl()
    sasl = credentials(auth=login_file(tmp_path / "auth-sasl", "sasl:a:b"))
    for shown, words in (
        (credentials(ca=authority.ca), "the embedded server speaks no TLS"),
        (sasl, "the embedded server takes no SASL"),
    ):
        with daemon_with(tmp_path / "state", zookeeper_option, shown) as daemon:
            assert daemon.wait(WITHIN_S) == 2
            assert words in daemon.output.read_text()


# --- the worker SDK ---------------------------------------------------------------------------


def test_a_worker_registers_for_its_user_alone(
    own_zookeeper: ZooKeeperServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker would not be let in, or its registration be everybody's, at the latest after the first outage."""
    monkeypatch.setenv(ENV_ZOOKEEPER_AUTH, str(login_file(tmp_path / "auth")))
    with launched(("-c", WORKS), own_zookeeper.address, tmp_path / "out", name=NAME) as worker:
        await_output(worker, "registered True")
        with connected(own_zookeeper.address) as stranger:
            with pytest.raises(NoAuthError):
                stranger.get(NAME.path)
            with pytest.raises(NoAuthError):
                stranger.delete(NAME.path)
        own_zookeeper.restart()
        with connected(own_zookeeper.address, digest=DIGEST) as owner:
            owner.delete(WORKERS_PATH, recursive=True)  # it comes back, and with it the worker
            await_znode(owner, NAME.path, worker)
            acl, _ = owner.get_acls(WORKERS_PATH)
            assert [entry.id.scheme for entry in acl] == ["digest"]
        worker.process.send_signal(signal.SIGTERM)
        assert worker.exit_code() == 0


@pytest.mark.parametrize(("auth", "who"), [(None, "without credentials"), ("eve:x", "the user in")])
@pytest.mark.thorough
def test_a_worker_that_is_not_let_in_says_who_it_is(
    zookeeper: ZooKeeperUnderTest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    auth: str | None,
    who: str,
) -> None:
    """The end of every such worker would be put down to a stranger's znode."""
    if auth is not None:
        monkeypatch.setenv(ENV_ZOOKEEPER_AUTH, str(login_file(tmp_path / "auth", f"digest:{auth}")))
    with connected(zookeeper.connection, digest=DIGEST) as owner:
        owner.create(WORKERS_PATH, acl=CREATOR_ALL_ACL)
    with launched(("-c", WORKS), zookeeper.connection, tmp_path / "out", name=NAME) as worker:
        await_output(worker, "registered False")
        (told,) = [line for line in worker.output.splitlines() if "cannot register" in line]
        assert who in told
        assert "(NoAuth" in told
        assert worker.is_running


@pytest.mark.thorough
def test_a_worker_says_what_only_a_person_can_mend(
    secured_apache: SecuredApacheZooKeeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused worker would say that ZooKeeper does not answer, or end with a traceback of kazoo's."""
    require_sasl()
    auth = login_file(tmp_path / "auth", f"sasl:{SASL_USER}:not-it")
    monkeypatch.setenv(ENV_ZOOKEEPER_AUTH, str(auth))
    with launched(("-c", WORKS), secured_apache.address, tmp_path / "out", name=NAME) as worker:
        await_output(worker, "registered False")
        told = (
            f"ZooKeeper at {secured_apache.address} does not accept the user and password in {auth}"
        )
        assert worker.output.count(told) == 1
        assert "Traceback" not in worker.output
        assert "not-it" not in worker.output
        worker.process.send_signal(signal.SIGTERM)
        assert worker.exit_code() == 0


def test_a_worker_without_its_file_ends_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would work on unregistered for half a minute and be killed, and its last words tell nothing."""
    monkeypatch.setenv(ENV_ZOOKEEPER_AUTH, str(tmp_path / "gone"))
    with launched(("-c", WORKS), "127.0.0.1:1", tmp_path / "out", name=NAME) as worker:
        assert worker.exit_code() == 1
        assert f"{tmp_path / 'gone'} with user and password" in worker.output.splitlines()[-1]


def test_a_workers_child_needs_no_credentials(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child that drops the worker's rights, and registers nowhere, would be ended by a file it may not read."""
    auth = login_file(tmp_path / "auth")
    monkeypatch.setenv(ENV_ZOOKEEPER_AUTH, str(auth))
    family = f"""
import os, subprocess, sys
from autohealer.worker import Worker
with Worker() as worker:
    os.unlink({str(auth)!r})
    child = "from autohealer.worker import Worker; print('child', Worker().register())"
    print(subprocess.run((sys.executable, "-c", child)).returncode, flush=True)
"""
    with launched(("-c", family), zookeeper.connection, tmp_path / "out", name=NAME) as worker:
        assert worker.exit_code() == 0
        assert worker.output.split() == ["child", "False", "0"]


def test_workers_are_told_where_the_credentials_are_and_not_what(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """A program with a client of its own could not find them."""
    shown = digest_login(tmp_path)
    assert shown.login is not None
    with daemon_with(tmp_path / "state", zookeeper.connection, shown, 1) as daemon:
        daemon.becomes_whole()
        (worker,) = daemon.workers_alive()
        assert environment_of(worker)[ENV_ZOOKEEPER_AUTH] == str(shown.login.file)
        assert daemon.stop() == 0
