"""The secret: made once, whole, for its owner, and never exchanged."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from autohealer.statedir.secret import load_secret, put_secret, read_secret


def test_the_secret_is_made_once_and_for_its_owner(tmp_path: Path) -> None:
    """A next daemon could not prove its predecessor's workers, or others could forge them."""
    path = tmp_path / "secret"
    secret = load_secret(path)
    assert len(secret) == 32
    assert load_secret(path) == read_secret(path) == secret
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_secret(tmp_path / "other") != secret


def test_an_empty_secret_is_not_used(tmp_path: Path) -> None:
    """A daemon starting beside another, or after a crash, would sign with nothing: forgeable, and never adopted."""
    path = tmp_path / "secret"
    path.touch(0o600)
    with suppress(OSError):
        assert load_secret(path) != b""


def test_a_secret_that_is_there_stays(tmp_path: Path) -> None:
    """Two daemons that put the lost secret back would take each other's away."""
    path = tmp_path / "secret"
    put_secret(path, b"a" * 32)
    put_secret(path, b"b" * 32)
    assert load_secret(path) == b"a" * 32
    assert [file.name for file in tmp_path.iterdir()] == ["secret"]


def test_a_secret_that_is_a_link_is_not_read(tmp_path: Path) -> None:
    """Whoever planted the link would know the secret."""
    (tmp_path / "known").write_bytes(b"k" * 32)
    (tmp_path / "secret").symlink_to(tmp_path / "known")
    with pytest.raises(OSError, match="is a symbolic link"):
        load_secret(tmp_path / "secret")
