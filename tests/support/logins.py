"""Files with credentials, as an operator makes them, and what they say to the daemon."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from autohealer.credentials import Credentials, read_credentials
from tests.support.require import require

USER, PASSWORD = "ada", "lovelace-1815"
DIGEST = f"{USER}:{PASSWORD}"


def login_file(path: Path, text: str = f"digest:{DIGEST}") -> Path:
    """Write a file that is its user's alone."""
    path.touch(0o600)
    path.write_text(f"{text}\n")
    return path


def require_sasl() -> None:
    """Skip the running test where kazoo cannot speak SASL."""
    require("pure-sasl", find_spec("puresasl") is not None)


def digest_login(folder: Path, password: str = PASSWORD) -> Credentials:
    """The test's user, with this password."""
    name = "auth" if password == PASSWORD else "auth-other"
    return credentials(auth=login_file(folder / name, f"digest:{USER}:{password}"))


def credentials(
    *,
    auth: Path | None = None,
    ca: Path | None = None,
    cert: Path | None = None,
    key: Path | None = None,
) -> Credentials:
    """What these files come to."""
    names = dict(zip(("auth", "tls_ca", "tls_cert", "tls_key"), (auth, ca, cert, key), strict=True))
    given = {name: None if path is None else str(path) for name, path in names.items()}
    return read_credentials(**given)
