"""Certificates for tests: an authority of its own, and who it has signed.

Theory of operation: `openssl` makes small keys in milliseconds. Every certificate is for 127.0.0.1 and localhost
unless its name says otherwise.

Limits: a certificate that has expired ends a day before it begins, which is all that `openssl` can do without a
clock of its own.
"""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
HERE = "IP:127.0.0.1,DNS:localhost"


def openssl_is_installed() -> bool:
    """Whether certificates can be made."""
    return shutil.which("openssl") is not None


class Authority:
    """One CA, its certificate in `ca`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.ca = folder / "ca.pem"
        self._ca_key = folder / "ca.key"
        _openssl(
            *("req", "-x509", *_KEY, "-keyout", self._ca_key, "-out", self.ca),
            *("-subj", f"/CN=CA of {folder.name}", "-days", "9"),
        )

    def issue(self, name: str, *, names: str = HERE, days: int = 9) -> Path:
        """Sign a certificate; key and certificate are in one file."""
        key, request, cert, both, more = (
            self._folder / f"{name}.{ending}" for ending in ("key", "csr", "crt", "pem", "ext")
        )
        more.write_text(f"subjectAltName={names}\n")
        _openssl("req", *_KEY, "-keyout", key, "-out", request, "-subj", f"/CN={name}")
        _openssl(
            *("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self._ca_key),
            *("-days", str(days), "-extfile", more, "-out", cert),
        )
        both.touch(0o600)
        both.write_text(key.read_text() + cert.read_text())
        return both


def _openssl(*words: object) -> None:
    done = subprocess.run(("openssl", *map(str, words)), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
