"""Whether a group can be scaled beside the others."""

from __future__ import annotations

import pytest

from autohealer.assembly.scaling import Size, why_not


@pytest.mark.parametrize(
    ("wanted", "others", "reason"),
    [
        (Size("web", 5), [Size("queue", 5)], ""),
        (Size("web", -1), [], "the number of workers cannot be negative, as -1 is"),
        (Size("web", 9_000), [Size("queue", 2_000)], "with these, 11000 workers are wanted"),
        (Size("web", 3, 65_534), [], "the last of 3 workers would have port 65536"),
        (Size("web", 3, 8000), [Size("api", 2, 8002)], "port 8002 would be that of a slot of"),
        (Size("web", 2, 8000), [Size("api", 2, 8002), Size("queue", 9)], ""),
        (Size("web", 0, 8000), [Size("api", 2, 8000)], ""),
    ],
)
def test_what_cannot_be(wanted: Size, others: list[Size], reason: str) -> None:
    """A worker would be launched again and again that finds its port taken, or the daemon have more than it keeps."""
    told = why_not(wanted, others)
    assert told.startswith(reason)
    assert bool(told) is bool(reason)
