"""Keep a kazoo client from believing an impostor: who took the embedded server's port while that was away.

Theory of operation: the embedded server is of a known user. As soon as a connection stands, and before a word is
said, the kernel is asked whose the other end is; one of another user, root excepted, counts as no connection, and kazoo
tries again. Where the kernel does not tell, nothing is known against it.

Must never know: what is said over the connection.

Limits: only connections over loopback are looked at. This replaces one method of kazoo's handler.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Mapping
from contextlib import closing

from kazoo.client import KazooClient

from autohealer.contract import ENV_ZOOKEEPER, ENV_ZOOKEEPER_USER
from autohealer.zkserver.endpoints import (
    Kernel,
    UnknownOwnerError,
    address_of,
    is_loopback,
    users_behind,
)

ROOT = 0


def trust_as_told(client: KazooClient, connection: str, environ: Mapping[str, str]) -> None:
    """In a worker: trust whom the daemon said, if this is the ZooKeeper it said it of."""
    user = environ.get(ENV_ZOOKEEPER_USER, "")
    if user.isdecimal() and connection == environ.get(ENV_ZOOKEEPER):
        trust_only(client, int(user))


def trust_only(client: KazooClient, user: int) -> None:
    """Have a client connect to nobody on this machine but a user and root."""
    connect = client.handler.create_connection

    def connect_to_user(*args: object, **options: object) -> socket.socket:
        connection: socket.socket = connect(*args, **options)
        try:
            _check(connection, user)
        except OSError:
            connection.close()
            raise
        return connection

    client.handler.create_connection = connect_to_user


def _check(connection: socket.socket, user: int) -> None:
    """Raises `OSError`, which kazoo takes for a connection that failed."""
    if not is_loopback(address_of(*connection.getpeername()[:2])):
        return
    try:
        with closing(Kernel()) as kernel:
            strangers = users_behind(kernel, connection) - {user, ROOT}
    except UnknownOwnerError:
        return
    if strangers:
        why = f"the server there is of user {min(strangers)}, not of {user}"
        raise OSError(errno.EACCES, why)
