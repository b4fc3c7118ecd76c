"""The secret that proves a worker ours: it appears whole or not at all, and is put back when lost."""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import suppress
from pathlib import Path

from autohealer.statedir.files import open_private, read_private

SECRET_NAME = "secret"
SECRET_BYTES = 32


def load_secret(path: Path) -> bytes:
    """Read the secret, making it on first use, whoever else starts or crashes meanwhile. Raises `OSError`."""
    if not os.path.lexists(path):
        put_secret(path, secrets.token_bytes(SECRET_BYTES))
    with os.fdopen(open_private(path, os.O_RDONLY), "rb") as file:
        return _whole(path, file.read())


def read_secret(path: Path) -> bytes:
    """Read it without making or changing anything. Raises `OSError`."""
    return _whole(path, read_private(path))


def put_secret(path: Path, secret: bytes) -> None:
    """Write it where there is none; one that is there stays. Raises `OSError`."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    try:
        with os.fdopen(open_private(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
            file.write(secret)
        with suppress(FileExistsError):
            path.hardlink_to(draft)
    finally:
        draft.unlink(missing_ok=True)


def _whole(path: Path, secret: bytes) -> bytes:
    if len(secret) != SECRET_BYTES:
        raise OSError(errno.EINVAL, f"its file {path.name!r} is damaged: remove it")
    return secret
