"""The daemon's session where ZooKeeper wants to know who asks: TLS, SASL, and one sentence for each mistake."""

from __future__ import annotations

import asyncio
import random
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from kazoo.client import KazooClient

from autohealer.coordination.calls import call
from autohealer.coordination.registry import Registry, RegistryForbidden
from autohealer.coordination.session import Session, ZooKeeperUnreachable
from autohealer.core.model import Store
from autohealer.credentials import NO_CREDENTIALS, Credentials
from tests.support.apache import (
    SASL_PASSWORD,
    SASL_USER,
    SecuredApacheZooKeeper,
)
from tests.support.certificates import Authority
from tests.support.clients import connected
from tests.support.embedded import EmbeddedZooKeeper
from tests.support.eventually import eventually_async
from tests.support.logins import credentials, login_file, require_sasl
from tests.support.ports import HOST
from tests.support.servers import ZooKeeperServer, ZooKeeperUnderTest, running
from tests.support.tlsproxy import ending_tls
from tests.support.tlsserver import shaking_hands

WITHIN_S = 20.0
PATIENCE_S = 3.0
"""Less than a daemon without workers waits."""

ANSWERS = 300


@asynccontextmanager
async def session_on(
    connection: str,
    shown: Credentials,
    said: list[str] | None = None,
    *,
    timeout_s: float = 10.0,
) -> AsyncIterator[Session]:
    """Have a session for a block, which is yet to begin."""
    session = Session(connection, timeout_s, shown, None if said is None else said.append)
    try:
        yield session
    finally:
        await session.stop()


async def refusal(connection: str, shown: Credentials = NO_CREDENTIALS) -> str:
    """Why no session comes about."""
    async with session_on(connection, shown) as session:
        began_s = time.monotonic()
        with pytest.raises(ZooKeeperUnreachable) as refused:
            await session.start(PATIENCE_S)
        assert time.monotonic() - began_s < WITHIN_S
        assert session.client.client_id is None
    sentence = str(refused.value)
    assert f"ZooKeeper at {connection} " in sentence
    assert sentence.isprintable()
    return sentence


@pytest.fixture
def secure(secured_apache: SecuredApacheZooKeeper) -> str:
    """The address of the port for TLS."""
    return f"{HOST}:{secured_apache.secure_port}"


async def test_tls_with_a_certificate_of_our_own(secure: str, authority: Authority) -> None:
    """Nobody could use an ensemble that speaks TLS alone."""
    shown = credentials(ca=authority.ca, cert=authority.issue("client"))
    async with session_on(secure, shown) as session:
        await session.start(WITHIN_S)
        assert await call(session.client.exists_async, "/")


async def test_answers_that_come_together_are_all_read(
    tmp_path: Path, authority: Authority
) -> None:
    """Of several answers in one TLS record all but the first would wait for a third of the session timeout."""
    with running(EmbeddedZooKeeper(tmp_path / "server")) as server:
        async with (
            ending_tls(authority.issue("proxy"), server.address) as address,
            session_on(address, credentials(ca=authority.ca), timeout_s=60.0) as session,
        ):
            await session.start(WITHIN_S)
            async with asyncio.timeout(WITHIN_S / 2):
                exist = session.client.exists_async
                await asyncio.gather(*[call(exist, "/") for _ in range(ANSWERS)])


async def test_no_certificate_where_one_is_wanted_is_said(
    secure: str, authority: Authority
) -> None:
    """The daemon would say that no ZooKeeper answers, where one does and refuses it."""
    assert "it may want another --zookeeper-tls-cert" in await refusal(
        secure, credentials(ca=authority.ca)
    )


async def test_tls_to_the_plain_port_is_said(
    zookeeper: ZooKeeperUnderTest, authority: Authority
) -> None:
    """The wrong one of two ports would look like a server that is down."""
    said = await refusal(zookeeper.server.address, credentials(ca=authority.ca))
    assert "does not answer in TLS: take its secure port" in said


async def test_no_tls_to_the_secure_port_is_said(secure: str) -> None:
    """A forgotten option would look like a server that is down."""
    assert "speaks TLS, and was spoken to without" in await refusal(secure)


@pytest.mark.parametrize(
    ("names", "days", "words"),
    [("IP:127.0.0.1", -1, "certificate has expired"), ("DNS:a.example", 9, "mismatch")],
)
async def test_a_wrong_certificate_is_said(
    authority: Authority, names: str, days: int, words: str
) -> None:
    """A certificate that has run out would look like a server that is down."""
    with shaking_hands(authority.issue("wrong", names=names, days=days)) as port:
        said = await refusal(f"{HOST}:{port}", credentials(ca=authority.ca))
    assert "shows a certificate that is not accepted" in said
    assert words in said


async def test_a_certificate_refused_afterwards_is_said(authority: Authority) -> None:
    """A server that says nothing of why it ends a connection would look like one that starts for ever."""
    with shaking_hands(authority.issue("server")) as port:
        said = await refusal(f"{HOST}:{port}", credentials(ca=authority.ca))
    assert "agrees on TLS and then ends each connection" in said


async def test_trouble_is_said_once_and_ends_with_its_cause(
    secure: str, authority: Authority, tmp_path: Path
) -> None:
    """A daemon that lives on would be silent about why it has no ZooKeeper, or need a restart when that is mended."""
    ca = tmp_path / "ca.pem"
    shutil.copy(Authority(tmp_path / "other").ca, ca)
    said: list[str] = []
    shown = credentials(ca=ca, cert=authority.issue("client"))
    async with session_on(secure, shown, said) as session:
        told: list[Store] = []
        session.subscribe(told.append)
        with pytest.raises(ZooKeeperUnreachable):
            await session.start(0.0)
        await eventually_async(lambda: said, within_s=WITHIN_S)
        shutil.copy(authority.ca, tmp_path / "new")
        (tmp_path / "new").replace(ca)
        await eventually_async(lambda: Store.CONNECTED in told, within_s=WITHIN_S)
    assert len(said) == 1
    assert "not accepted" in said[0]


def sasl(folder: Path, password: str = SASL_PASSWORD) -> Credentials:
    """A user of the secured server's."""
    require_sasl()
    return credentials(auth=login_file(folder / "auth", f"sasl:{SASL_USER}:{password}"))


async def test_sasl_makes_znodes_its_users(
    secured_apache: SecuredApacheZooKeeper, tmp_path: Path
) -> None:
    """Nobody could use an ensemble that wants SASL, or what is created there would be everybody's."""
    async with session_on(secured_apache.address, sasl(tmp_path)) as session:
        await session.start(WITHIN_S)
        await call(session.client.create_async, "/sasl", ephemeral=True)
        acl, _ = session.client.get_acls("/sasl")
        assert [(entry.id.scheme, entry.id.id) for entry in acl] == [("sasl", SASL_USER)]


async def test_a_wrong_sasl_password_is_said_and_never_taken_for_a_connection(
    secured_apache: SecuredApacheZooKeeper, tmp_path: Path
) -> None:
    """kazoo says CONNECTED before it asks, so a daemon would act on what it may not do, and then end."""
    shown = sasl(tmp_path, "wrong-password")
    async with session_on(secured_apache.address, shown) as session:
        told: list[Store] = []
        session.subscribe(told.append)
        with pytest.raises(ZooKeeperUnreachable, match="does not accept the user and pass") as no:
            await session.start(PATIENCE_S)
        assert told == []
        assert session.client._connection._connection_routine.is_alive()
    assert str(tmp_path / "auth") in str(no.value)
    assert "wrong-password" not in str(no.value)


async def test_a_server_without_sasl_is_said(zookeeper: ZooKeeperUnderTest, tmp_path: Path) -> None:
    """The client would ask for ever, at the cost of a processor, or its thread end with a traceback."""
    said = await refusal(zookeeper.server.address, sasl(tmp_path))
    assert "takes no SASL" in said


@pytest.mark.thorough
async def test_a_server_that_wants_sasl_is_said_and_left_in_peace(
    authority: Authority, tmp_path: Path
) -> None:
    """The daemon would connect dozens of times a second, be refused at its first request, and name a wrong reason."""
    server = SecuredApacheZooKeeper(
        tmp_path / "server", authority.issue("server"), authority.ca, wants_sasl=True
    )
    said: list[str] = []
    shown = credentials(auth=login_file(tmp_path / "auth"))
    with running(server):
        async with session_on(server.address, shown, said) as session:
            told: list[Store] = []
            session.subscribe(told.append)
            registry = Registry(session, random.Random(1), time.monotonic, said.append)
            await session.start(WITHIN_S)
            with pytest.raises(RegistryForbidden, match="wants another proof than") as refused:
                await registry.be_admitted(PATIENCE_S)
            registry.close()
        assert said == [str(refused.value)]
        assert told.count(Store.CONNECTED) == 1
        async with session_on(server.address, NO_CREDENTIALS) as session:
            registry = Registry(session, random.Random(1), time.monotonic, said.append)
            await session.start(WITHIN_S)
            with pytest.raises(RegistryForbidden, match="lets nobody in without credentials"):
                await registry.be_admitted(PATIENCE_S)
            registry.close()
        async with session_on(server.address, sasl(tmp_path)) as session:
            await session.start(WITHIN_S)
            assert await call(session.client.exists_async, "/")


async def test_who_we_are_is_said_again_at_each_connection(
    own_zookeeper: ZooKeeperServer, tmp_path: Path
) -> None:
    """After the first outage the daemon would not be let near its own znodes."""
    shown = credentials(auth=login_file(tmp_path / "auth"))
    async with session_on(own_zookeeper.address, shown) as session:
        await session.start(WITHIN_S)
        told: list[Store] = []
        session.subscribe(told.append)
        await call(session.client.create_async, "/mine", b"x")
        await asyncio.to_thread(own_zookeeper.kill)
        await eventually_async(lambda: Store.SUSPENDED in told, within_s=WITHIN_S)
        await asyncio.to_thread(own_zookeeper.start)
        await eventually_async(lambda: told[-1] is Store.CONNECTED, within_s=WITHIN_S)
        assert (await call(session.client.get_async, "/mine"))[0] == b"x"  # type: ignore[index]


async def test_a_password_does_not_show_in_kazoos_own_log(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever turns on kazoo's log to look for a fault would publish the password."""
    shown = credentials(auth=login_file(tmp_path / "auth"))
    async with session_on(zookeeper.connection, shown) as session:
        with caplog.at_level(1, "autohealer.kazoo"):
            await session.start(WITHIN_S)
            await call(session.client.exists_async, "/")
    said = [record.getMessage() for record in caplog.records]
    assert any("Auth(" in line for line in said)
    assert not any("lovelace" in line for line in said)


def test_a_users_own_client_is_let_in(
    secured_apache: SecuredApacheZooKeeper,
    authority: Authority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A worker that uses ZooKeeper for its own work could not, or would have to parse our files."""
    from autohealer.worker import kazoo_options

    for auth in ("digest:ada:x", f"sasl:{SASL_USER}:{SASL_PASSWORD}"):
        require_sasl()
        shown = credentials(
            auth=login_file(tmp_path / "auth", auth),
            ca=authority.ca,
            cert=authority.issue("client"),
        )
        for name, value in shown.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AUTOHEALER_ZOOKEEPER", f"{HOST}:{secured_apache.secure_port}")
        client = KazooClient(**kazoo_options())
        client.start(WITHIN_S)
        client.create("/own", ephemeral=True)
        with connected(secured_apache.address) as stranger:
            assert stranger.exists("/own")
            (entry,) = client.get_acls("/own")[0]
            assert entry.id.scheme == auth.partition(":")[0]
        client.stop()
        client.close()
