"""A kazoo client set up to keep its session through trouble; the daemon's and every worker's.

Theory of operation: a session outlives its connection by the session timeout, so everything that
precedes the next connection must fit into it several times: the pauses between attempts, the wait
for a silent host, and the wait for a server that accepts a connection and does not answer the
handshake, as Apache ZooKeeper does for a moment while it starts.

Must never know: what the session is for.

Limits: shortening the handshake replaces two methods of kazoo, one of them private.
"""

from __future__ import annotations

import logging

from kazoo.client import KazooClient
from kazoo.handlers.threading import SequentialThreadingHandler
from kazoo.retry import KazooRetry

PATIENCE_MIN_S = 1.0
"""However short the session, a busy server gets this long to answer."""
CONNECTS_PER_SESSION = 10
HANDSHAKES_PER_SESSION = 3


def client_for(connection: str, session_timeout_s: float) -> KazooClient:
    """Prepare a client; nothing is connected yet."""
    # A dropped connection is nobody's error: kazoo would warn on standard error every second.
    log = logging.getLogger("autohealer.kazoo")
    log.setLevel(logging.ERROR)
    client = KazooClient(
        hosts=connection,
        timeout=session_timeout_s,
        handler=SequentialThreadingHandler(),
        logger=log,
        # kazoo's own default doubles the pause up to an hour, far beyond any session.
        connection_retry=KazooRetry(
            max_tries=-1, delay=0.1, backoff=1.3, max_delay=1.0, max_jitter=0.3
        ),
    )
    _shorten_connect(client, max(PATIENCE_MIN_S, session_timeout_s / CONNECTS_PER_SESSION))
    _shorten_handshake(client, max(PATIENCE_MIN_S, session_timeout_s / HANDSHAKES_PER_SESSION))
    return client


def _shorten_connect(client: KazooClient, at_most_s: float) -> None:
    """Leave a silent host early; kazoo would spend the whole session timeout on each."""
    connect = client.handler.create_connection

    def connect_soon(*args: object, timeout: float, **options: object) -> object:
        return connect(*args, timeout=min(timeout, at_most_s), **options)

    client.handler.create_connection = connect_soon


def _shorten_handshake(client: KazooClient, at_most_s: float) -> None:
    """Leave a silent server early; kazoo would wait for the whole session timeout."""
    invoke = client._connection._invoke

    def invoke_soon(timeout: float, *args: object, **options: object) -> object:
        return invoke(min(timeout, at_most_s), *args, **options)

    client._connection._invoke = invoke_soon
