"""Who is registered, as a ZooKeeper client of the tests' own sees it, on a direct connection.

Theory of operation: a thread lists `/workers` over and over and keeps the latest list. While no list can be
had, nothing is known, which is not the same as nobody.

Must never know: proxies, processes.

Limits: after the store was wiped the client has to be renewed, because a client that has seen a later state
is refused by an emptied server.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException, NoNodeError
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.retry import KazooRetry

from autohealer.contract import WORKERS_PATH
from tests.chaos.watcher import Watcher

if TYPE_CHECKING:
    from collections.abc import Iterable

_PAUSE_S = 0.03
_ANSWER_WITHIN_S = 1.0
_SESSION_TIMEOUT_S = 10.0
_AWAY = (KazooException, KazooTimeoutError)


class RegistryWitness(Watcher):
    """The names under `/workers`; use it as a context manager."""

    def __init__(self, address: str) -> None:
        super().__init__("registry witness")
        self._address = address
        self._renew = threading.Event()
        self._names: frozenset[str] | None = None

    def names(self) -> frozenset[str] | None:
        """The latest list, or None while none can be had."""
        return self._names

    def renew(self) -> None:
        """Look through a new client from now on."""
        self._names = None
        self._renew.set()

    def delete(self, names: Iterable[str]) -> None:
        """Delete registrations, as an operator would; those that are gone already are no matter."""
        client = self._client()
        try:
            client.start(timeout=_SESSION_TIMEOUT_S)
            for name in names:
                try:
                    client.delete(f"{WORKERS_PATH}/{name}")
                except NoNodeError:
                    continue
        finally:
            client.stop()
            client.close()

    def _client(self) -> KazooClient:
        patience = KazooRetry(max_tries=-1, delay=0.1, backoff=1.3, max_delay=0.3)
        return KazooClient(
            hosts=self._address, timeout=_SESSION_TIMEOUT_S, connection_retry=patience
        )

    def _watch(self) -> None:
        while not self._over.is_set():
            self._renew.clear()
            client = self._client()
            client.start_async()
            while not self._over.wait(_PAUSE_S) and not self._renew.is_set():
                self._names = _list(client)
            client.stop()
            client.close()


def _list(client: KazooClient) -> frozenset[str] | None:
    try:
        return frozenset(client.get_children_async(WORKERS_PATH).get(timeout=_ANSWER_WITHIN_S))
    except NoNodeError:
        return frozenset()
    except _AWAY:
        return None
