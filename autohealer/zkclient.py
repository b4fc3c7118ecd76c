"""A kazoo client set up to keep its session through trouble; the daemon's and every worker's.

Theory of operation: a session outlives its connection by the session timeout, so everything that
precedes the next connection must fit into it several times: the pauses between attempts, the wait
for a silent host, and the wait for a server that accepts a connection and does not answer the
handshake, as Apache ZooKeeper does for a moment while it starts.

A server whose history is shorter than what the client has seen drops its handshakes without a word, so that
nobody reads an older state. After a store came back empty that is every server, for ever. Once handshakes have
been dropped for a whole session timeout, the client therefore forgets what it has seen. It keeps its session:
one that still exists is taken up again, one that does not is lost and replaced.

Must never know: what the session is for.

Limits: this replaces two methods of kazoo, one of them private. After the client forgot, a lagging server may
show it an older state than it saw before; who cannot bear that calls `sync` before the first read of a connection.
"""

from __future__ import annotations

import logging
import time

from kazoo.client import KazooClient
from kazoo.exceptions import ConnectionDropped
from kazoo.handlers.threading import SequentialThreadingHandler
from kazoo.protocol.serialization import Connect
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
    _watch_handshakes(client, session_timeout_s)
    return client


def _shorten_connect(client: KazooClient, at_most_s: float) -> None:
    """Leave a silent host early; kazoo would spend the whole session timeout on each."""
    connect = client.handler.create_connection

    def connect_soon(*args: object, timeout: float, **options: object) -> object:
        return connect(*args, timeout=min(timeout, at_most_s), **options)

    client.handler.create_connection = connect_soon


def _watch_handshakes(client: KazooClient, session_timeout_s: float) -> None:
    """Leave a silent server early, where kazoo would wait for the whole session timeout; come to terms with an
    empty one, which kazoo would ask in vain for ever."""
    invoke = client._connection._invoke
    at_most_s = max(PATIENCE_MIN_S, session_timeout_s / HANDSHAKES_PER_SESSION)
    dropped_since_s: float | None = None

    def invoke_watched(timeout: float, request: object, **options: object) -> object:
        nonlocal dropped_since_s
        try:
            answer = invoke(min(timeout, at_most_s), request, **options)
        except ConnectionDropped:
            if isinstance(request, Connect):
                now_s = time.monotonic()
                dropped_since_s = now_s if dropped_since_s is None else dropped_since_s
                if now_s - dropped_since_s > session_timeout_s:
                    client.last_zxid = 0
            raise
        dropped_since_s = None
        return answer

    client._connection._invoke = invoke_watched
