"""Clients that tests look at ZooKeeper with.

Limits: a test's own client keeps its session long, so that a test about a lost session loses only
the one it means to lose.
"""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kazoo.client import KazooClient

from tests.support.servers import ZooKeeperUnderTest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.servers import ZooKeeperServer

_SESSION_TIMEOUT_S = 10.0
_CONNECTED_WITHIN_S = 15.0


@contextmanager
def connected(
    connection: str,
    *,
    client_id: tuple[int, bytes] | None = None,
    timeout_s: float = _SESSION_TIMEOUT_S,
    digest: str | None = None,
) -> Iterator[KazooClient]:
    """Have a started KazooClient for the duration of a block, in its own session or `client_id`.

    `digest`: the user and password it proves, `USER:PASSWORD`.
    """
    auth = None if digest is None else [("digest", digest)]
    client = KazooClient(hosts=connection, timeout=timeout_s, client_id=client_id, auth_data=auth)
    try:
        client.start(timeout=_CONNECTED_WITHIN_S)
        yield client
    finally:
        client.stop()
        client.close()


def with_chroot(server: ZooKeeperServer) -> ZooKeeperUnderTest:
    """Create an empty chroot that no other test uses."""
    chroot = f"/t-{uuid.uuid4().hex[:12]}"
    with connected(server.address) as client:
        client.create(chroot)
    return ZooKeeperUnderTest(f"{server.address}{chroot}", server)
