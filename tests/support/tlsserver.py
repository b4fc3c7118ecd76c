"""A server that does nothing but shake hands in TLS, for what a real one would have to be restarted for.

Limits: one connection at a time; after the handshake it says one byte, hears one request, and ends the connection.
"""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from tests.support.ports import HOST

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def shaking_hands(certificate: Path, *, clients_ca: Path | None = None) -> Iterator[int]:
    """Show this certificate on a port, and with `clients_ca` want one in return."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    if clients_ca is not None:
        context.load_verify_locations(clients_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    with socket.create_server((HOST, 0)) as door:
        serving = threading.Thread(target=_serve, args=(door, context))
        serving.start()
        try:
            yield door.getsockname()[1]
        finally:
            door.shutdown(socket.SHUT_RDWR)
            serving.join()


def _serve(door: socket.socket, context: ssl.SSLContext) -> None:
    while True:
        try:
            plain, _ = door.accept()
        except OSError:
            return  # the block is over
        plain.settimeout(5.0)
        with plain, suppress(OSError), context.wrap_socket(plain, server_side=True) as secured:
            secured.sendall(b"!")
            secured.recv(1024)
