"""Run one server: its socket, its journal, its signals.

Theory of operation. What can fail fails here, before the first client is taken; then the `acceptor` takes clients
past the `doorkeeper`, each a `client`, and the `shell` serves them until TERM or INT. Python does not look through
all its objects for circles: that takes a quarter of a second with half a million nodes, whoever made them, and what
a client had holds no circle when it is gone.

Must never know: what a client says.
Limits: the descriptors this process may have, as far as `connections_max` needs them.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import os
import resource
import signal
import socket
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from autohealer.zkserver import fourletter
from autohealer.zkserver.acceptor import Acceptor
from autohealer.zkserver.client import ClientConnection
from autohealer.zkserver.doorkeeper import Doorkeeper
from autohealer.zkserver.endpoints import Kernel
from autohealer.zkserver.journal import StartError, lock_directory, open_journal
from autohealer.zkserver.log import log_to
from autohealer.zkserver.machine import Machine
from autohealer.zkserver.shell import Shell, read_clocks

if TYPE_CHECKING:
    from autohealer.zkserver.log import OwnLog
    from autohealer.zkserver.settings import ServerSettings

EXIT_OK = 0
EXIT_CAN_NOT_START = 3

_SECRET_BYTES = 32
_LOOPBACK = "127.0.0.1"
_LOOPBACK_6 = "::1"
"""Java's client picks one of `localhost`'s addresses by chance, and waits a second when that refuses."""

_SPARE_FILES = 64

_NEVER = 2**31 - 1

_log = logging.getLogger(__name__)


def serve(settings: ServerSettings) -> int:
    """Run a server until TERM or INT; returns the exit code: 0 stopped, 3 could not start.

    Blocks. Why it could not start is one sentence on stderr.
    """
    gc.set_threshold(*gc.get_threshold()[:2], _NEVER)
    log = log_to(settings.log, time.monotonic)
    settings = _with_files(settings)
    try:
        lock = lock_directory(settings.data_dir)
        try:
            asyncio.run(_serve(settings, log))
        finally:
            os.close(lock)
    except StartError as error:
        sys.stderr.write(f"The embedded ZooKeeper server can not start: {error}.\n")
        return EXIT_CAN_NOT_START
    return EXIT_OK


async def _serve(settings: ServerSettings, log: OwnLog) -> None:
    loop = asyncio.get_running_loop()
    log.look_after(loop)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    journal, state = open_journal(settings.data_dir, settings, os.urandom(_SECRET_BYTES))
    shell = Shell(Machine(settings, state, journal, read_clocks()), loop)
    doorkeeper = Doorkeeper(Kernel(), os.geteuid(), is_open=settings.open_to_all)
    try:
        listeners = _listen(shell, settings)
        acceptors = [
            Acceptor(each, doorkeeper, partial(ClientConnection, shell)) for each in listeners
        ]
        await stop.wait()
        for acceptor in acceptors:
            acceptor.close()
        shell.close()
        await asyncio.sleep(0)  # lets the transports close their sockets
    finally:
        doorkeeper.close()
        journal.close()


def _listen(shell: Shell, settings: ServerSettings) -> list[socket.socket]:
    try:
        listeners = _listen_on(settings.host, settings.port)
    except OSError as error:
        reason = error.strerror or str(error)
        where = f"{settings.host}:{settings.port}"
        raise StartError(f"it can not listen on {where}: {reason}") from error
    shell.port = listeners[0].getsockname()[1]
    _log.info("serving on %s:%d, data in %s", settings.host, shell.port, settings.data_dir)
    _log.info("open to %s", "all" if settings.open_to_all else f"user {os.geteuid()} and root")
    if settings.host == _LOOPBACK:
        try:
            listeners += _listen_on(_LOOPBACK_6, shell.port)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                _log.warning("another program has port %d of %s", shell.port, _LOOPBACK_6)
    return listeners


def _listen_on(host: str, port: int) -> list[socket.socket]:
    """Listen on every address a name stands for. Raises `OSError`."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    with ExitStack() as undo:
        listeners: list[socket.socket] = []
        for family, address in dict.fromkeys((entry[0], entry[4]) for entry in found):
            listener = undo.enter_context(socket.socket(family, socket.SOCK_STREAM))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind(address)
            listener.listen(fourletter.LISTEN_BACKLOG)
            listeners.append(listener)
        undo.pop_all()
    return listeners


def _with_files(settings: ServerSettings) -> ServerSettings:
    """Raise the limit on open files as far as it is needed and allowed; take no more connections than it allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = settings.connections_max + _SPARE_FILES
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed == needed:
        return settings
    possible = max(1, allowed - _SPARE_FILES)
    _log.warning("the limit on open files, %d, allows %d connections at most", hard, possible)
    return replace(settings, connections_max=possible)
