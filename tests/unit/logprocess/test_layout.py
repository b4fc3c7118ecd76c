"""What daemon and log process make of a pipe and a file together."""

from __future__ import annotations

import pytest

from autohealer.logprocess.layout import news


@pytest.mark.parametrize(
    ("waiting", "kept", "expected"),
    [
        (b"two\n", b"one\n", b"two\n"),
        (b"two\nthree\n", b"one\ntwo\n", b"three\n"),
        (b"two\n", b"one\ntwo\n", b""),
        (b"", b"one\n", b""),
        (b"two\n", b"", b"two\n"),
    ],
)
def test_what_is_in_both_is_told_once(waiting: bytes, kept: bytes, expected: bytes) -> None:
    """Last words would stand there twice, or lack what no file has yet."""
    assert news(waiting, kept) == expected
