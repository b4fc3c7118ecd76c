"""What the daemon and its workers show to a ZooKeeper that wants to know who asks: read from files, handed on by name.

Theory of operation. The operator names files. Workers get their names, never what is in them: a command line is there
for everybody to see, and an environment gets into crash reports and is inherited. So there is one copy of a password,
in the operator's own file, and it is refused where others can read it. Whoever uses it reads it once, at its start.

Must never know: ZooKeeper clients, sockets. The worker SDK imports this: nothing here is imported that kazoo does not.

Limits: no message says what is in a file. A password changed in the file is used by those who start afterwards.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from autohealer import contract

TYPE_CHECKING = False  # what `typing` says too, and importing it would cost 2 ms
if TYPE_CHECKING:
    from collections.abc import Mapping

FILE_BYTES_MAX = 4096

_HOW = "a line `digest:USER:PASSWORD` or `sasl:USER:PASSWORD`"


class CredentialsError(ValueError):
    """The files will not do; the message is one sentence that names the file and never what is in it."""


class Secret(str):
    """Text that does not show where what holds it is printed or logged."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


class Scheme(Enum):
    """How a user proves who it is; the value is ZooKeeper's word."""

    DIGEST = "digest"
    SASL = "sasl"


@dataclass(frozen=True, slots=True)
class Login:
    """One user of ZooKeeper's, and the file that says so."""

    scheme: Scheme
    user: str
    password: Secret
    file: Path


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: who is believed to be the server (`ca`), and who we are (`cert`; its `key` if that is elsewhere)."""

    ca: Path
    cert: Path | None = None
    key: Path | None = None


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who we are to ZooKeeper, if anybody, and whether the connection is encrypted."""

    login: Login | None = None
    tls: TlsFiles | None = None

    def environment(self) -> dict[str, str]:
        """What tells a worker the same: names of files."""
        named = {
            contract.ENV_ZOOKEEPER_AUTH: self.login and self.login.file,
            contract.ENV_ZOOKEEPER_TLS_CA: self.tls and self.tls.ca,
            contract.ENV_ZOOKEEPER_TLS_CERT: self.tls and self.tls.cert,
            contract.ENV_ZOOKEEPER_TLS_KEY: self.tls and self.tls.key,
        }
        return {name: str(path) for name, path in named.items() if path is not None}


NO_CREDENTIALS = Credentials()


def credentials_named_in(environ: Mapping[str, str]) -> Credentials:
    """Read the files that the environment names; the names are as the daemon gave them. Raises `CredentialsError`."""
    return read_credentials(
        auth=environ.get(contract.ENV_ZOOKEEPER_AUTH),
        tls_ca=environ.get(contract.ENV_ZOOKEEPER_TLS_CA),
        tls_cert=environ.get(contract.ENV_ZOOKEEPER_TLS_CERT),
        tls_key=environ.get(contract.ENV_ZOOKEEPER_TLS_KEY),
    )


def read_credentials(
    *, auth: str | None, tls_ca: str | None, tls_cert: str | None, tls_key: str | None
) -> Credentials:
    """Read and check the files of these names; empty names count as none. Raises `CredentialsError`."""
    return Credentials(
        login=_login(auth) if auth else None, tls=_tls_files(tls_ca, tls_cert, tls_key)
    )


# --- user and password ------------------------------------------------------------------------


def _login(name: str) -> Login:
    if name.startswith(tuple(f"{scheme.value}:" for scheme in Scheme)):
        raise CredentialsError(
            "--zookeeper-auth (or AUTOHEALER_ZOOKEEPER_AUTH) takes the name of a file, not user and password, which "
            "everybody on this machine may have seen by now: put them into a file with mode 0600, and change them"
        )
    path = Path(name).absolute()
    try:
        text = _read_private(path, "user and password for ZooKeeper").decode()
    except UnicodeDecodeError:
        raise CredentialsError(f"{path} is not text: it has to hold {_HOW}") from None
    lines = [line.strip() for line in text.splitlines()]
    said = [line for line in lines if line and not line.startswith("#")]
    if len(said) != 1:
        raise CredentialsError(f"{path} holds {len(said)} lines: it has to hold {_HOW}")
    scheme, _, user_and_password = said[0].partition(":")
    user, _, password = user_and_password.partition(":")
    if scheme not in {known.value for known in Scheme} or not user or not password:
        raise CredentialsError(f"{path} does not hold {_HOW}")
    if not said[0].isprintable():
        raise CredentialsError(f"{path} holds characters that cannot be printed")
    login = Login(Scheme(scheme), user, Secret(password), path)
    if login.scheme is Scheme.SASL and not _sasl_is_there():
        raise CredentialsError(
            f"{path} asks for SASL, for which the package pure-sasl is missing: "
            "`pip install 'autohealer[sasl]'`, or use digest"
        )
    return login


def _sasl_is_there() -> bool:
    from importlib.util import find_spec  # who asks for SASL pays for it

    return find_spec("puresasl") is not None


# --- TLS --------------------------------------------------------------------------------------


def _tls_files(ca: str | None, cert: str | None, key: str | None) -> TlsFiles | None:
    if not ca:
        if cert or key:
            raise CredentialsError(
                "--zookeeper-tls-cert and --zookeeper-tls-key need --zookeeper-tls-ca, the certificates that "
                "ZooKeeper's own is checked against (the system's: /etc/ssl/certs/ca-certificates.crt)"
            )
        return None
    if key and not cert:
        raise CredentialsError(
            "--zookeeper-tls-key needs the certificate to it, --zookeeper-tls-cert"
        )
    files = TlsFiles(
        Path(ca).absolute(),
        Path(cert).absolute() if cert else None,
        Path(key).absolute() if key else None,
    )
    if (private := files.key or files.cert) is not None:
        _read_private(private, "a private key")
    return files


# --- files ------------------------------------------------------------------------------------


def _read_private(path: Path, what: str) -> bytes:
    """All of a file that nobody else can read, `what` being in there."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            _check_private(os.fstat(descriptor), path, what)
            return file.read(FILE_BYTES_MAX)
    except OSError as error:
        raise CredentialsError(f"{path} with {what} cannot be read: {error.strerror}") from None


def _check_private(found: os.stat_result, path: Path, what: str) -> None:
    """As PostgreSQL has it for keys: ours and for us alone, or root's and at most readable for a group."""
    if not stat.S_ISREG(found.st_mode):
        raise CredentialsError(
            f"{path} with {what} is not a plain file, which every worker could read for itself"
        )
    if found.st_uid not in {0, os.geteuid()}:
        raise CredentialsError(
            f"{path} with {what} belongs to another user: "
            "it has to be this user's (mode 0600) or root's (at most 0640)"
        )
    too_much = 0o037 if found.st_uid == 0 else 0o077
    if (mode := stat.S_IMODE(found.st_mode)) & too_much:
        raise CredentialsError(
            f"{path} with {what} is open to others (mode {mode:04o}): `chmod 600 {path}`, "
            "and change what they may have read"
        )
