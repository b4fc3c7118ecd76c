"""TLS for a client of ZooKeeper: a context of the operator's files, and words for what goes wrong.

Theory of operation. Nobody is believed to be the server but who shows a certificate for the name that was asked for,
signed by the operator's CA; kazoo alone would take any CA of the system's, and any name. Files that have changed since
are read again for the next connection, so that a renewed certificate needs no restart. If they are gone or broken by
then, what was read before goes on being used.

Must never know: ZooKeeper. Limits: TLS 1.2 or newer; no key with a passphrase, because nobody is there to type it.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress

from autohealer.credentials import CredentialsError

TYPE_CHECKING = False  # what `typing` says too, and importing it would cost 2 ms
if TYPE_CHECKING:
    from pathlib import Path

    from autohealer.credentials import TlsFiles

_CA_OPTION = "--zookeeper-tls-ca (AUTOHEALER_ZOOKEEPER_TLS_CA)"
_CERT_OPTION = "--zookeeper-tls-cert (AUTOHEALER_ZOOKEEPER_TLS_CERT)"

SPEAKS_TLS = (
    f"speaks TLS, and was spoken to without: name its CA with {_CA_OPTION}, or take its other port"
)


class TlsClient:
    """Makes one connection after the other secure. Raises `CredentialsError` where the files will not do."""

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._stamp = _stamp(files)
        self._context = make_context(files)
        self._is_shaking_hands = False
        self.is_secured = False
        """Whether the last handshake came to a good end."""

    def forget(self) -> None:
        """There is to be another connection."""
        self._is_shaking_hands = self.is_secured = False

    def secure(self, plain: socket.socket, host: str, within_s: float) -> ssl.SSLSocket:
        """Shake hands with a server that has to prove to be `host`. Raises `OSError`, and then the socket is closed."""
        self._is_shaking_hands = True
        if (stamp := _stamp(self._files)) != self._stamp:
            with suppress(CredentialsError):
                self._context, self._stamp = make_context(self._files), stamp
        plain.settimeout(within_s)
        try:
            secured = self._context.wrap_socket(plain, server_hostname=host)
        except OSError:
            plain.close()
            raise
        self._is_shaking_hands, self.is_secured = False, True
        return secured

    @property
    def refuses_afterwards(self) -> str:
        """Said of a server that ends each connection after a handshake that came to a good end."""
        return f"agrees on TLS and then ends each connection: it may want another {_CERT_OPTION}, {self._ours}"

    @property
    def _ours(self) -> str:
        cert = self._files.cert
        return "none was given" if cert is None else f"which is {cert}"

    def what_went_wrong(self, error: BaseException | None) -> str | None:
        """The mistake behind a connection that failed, said of the server; None when TLS has no part in it."""
        match error:
            case ssl.SSLCertVerificationError():
                return (
                    f"shows a certificate that is not accepted ({error.verify_message}): "
                    f"mend that, or {_CA_OPTION}, which is {self._files.ca}"
                )
            case ssl.SSLError(reason=str(reason)) if "ALERT" in reason:
                # Of a client's certificate TLS 1.3 says only afterwards what it thinks.
                alert = reason.partition("ALERT_")[2].replace("_", " ").lower()
                return f"refuses the TLS connection ({alert}); it may want another {_CERT_OPTION}, {self._ours}"
            case TimeoutError() if self._is_shaking_hands:
                return "does not come to an end with the TLS handshake: it is overloaded, or this is no port for TLS"
            case OSError() if self._is_shaking_hands:
                return f"does not answer in TLS: take its secure port, or leave out {_CA_OPTION}"
            case _:
                return None


def make_context(files: TlsFiles) -> ssl.SSLContext:
    """Load the files. Raises `CredentialsError`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(files.ca)
    except OSError as error:
        raise _unusable(files.ca, "certificates of a CA (PEM)", error) from None
    if files.cert is not None:
        try:
            context.load_cert_chain(files.cert, files.key, password=_refuse_passphrase)
        except OSError as error:
            what = "a certificate" if files.key else "a certificate and its key"
            which = files.cert if files.key is None else f"{files.cert} and {files.key}"
            raise _unusable(which, f"{what} (PEM) that belong together", error) from None
    return context


def speaks_tls(address: tuple[str, int], within_s: float) -> bool:
    """Whether a server answers a TLS handshake, if only with a refusal."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection(address, within_s) as plain,
            context.wrap_socket(plain),
        ):
            return True
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "")
    except OSError:
        return False


def _refuse_passphrase() -> str:
    raise CredentialsError(
        "the key of --zookeeper-tls-key has a passphrase, which nobody is there to type: give one without"
    )


def _unusable(which: object, what: str, error: OSError) -> CredentialsError:
    why = error.reason if isinstance(error, ssl.SSLError) else error.strerror
    return CredentialsError(f"{which} cannot be used as {what}: {why or error}")


def _stamp(files: TlsFiles) -> tuple[object, ...]:
    """What changes when a file does."""
    return tuple(map(_stamp_of, (files.ca, files.cert, files.key)))


def _stamp_of(path: Path | None) -> tuple[int, int, int] | None:
    if path is None:
        return None
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
