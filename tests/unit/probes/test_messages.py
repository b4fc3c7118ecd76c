"""What of a notify message means something."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autohealer.probes.messages import STATUS_CHARS_MAX, Message, parse_message


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"READY=1", Message(ready=True)),
        (b"READY=1\nSTATUS=Serving 5\n", Message(ready=True, status="Serving 5")),
        (b"READY=0\nX=1\nMAINPID=7\nnonsense\n=\n", Message()),
        (b"WATCHDOG=1", Message(ping=True)),
        (b"WATCHDOG=trigger", Message(trigger=True)),
        (b"STOPPING=1", Message(stopping=True)),
        (b"EXTEND_TIMEOUT_USEC=1500000", Message(extend_s=1.5)),
        (b"WATCHDOG_USEC=250000", Message(watchdog_s=0.25)),
        (b"EXTEND_TIMEOUT_USEC=-1\nWATCHDOG_USEC=soon", Message()),
        (b"EXTEND_TIMEOUT_USEC=" + b"9" * 19, Message(extend_s=1e7)),
        (b"STATUS=one\nSTATUS=two", Message(status="two")),
        (b"STATUS=", Message(status="")),
        (b"STATUS=\xff\x1b[31mred", Message(status="\N{REPLACEMENT CHARACTER}\\x1b[31mred")),
    ],
)
def test_lines_that_mean_something_are_read(raw: bytes, message: Message) -> None:
    """A worker that says it is ready would not be believed, or its words be obeyed by a terminal."""
    assert parse_message(raw) == message


@given(st.binary(max_size=6000))
def test_whatever_comes_is_read(raw: bytes) -> None:
    """A worker could end the daemon by a message."""
    status = parse_message(raw).status
    assert status is None or len(status) <= STATUS_CHARS_MAX + 1
