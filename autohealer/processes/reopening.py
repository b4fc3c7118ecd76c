"""Tell whether a program may open its own output anew by name, as `echo … > /dev/stderr` does.

That empties a file that output goes to. Where it is written in what is run, a few steps deep, output had better go
through a pipe. Limits: texts alone are looked at; a binary that has the name in it need not use it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from autohealer.processes.registering import texts_of

SIGNS = (
    "/dev/stderr",
    "/dev/stdout",
    "/proc/self/fd/1",
    "/proc/self/fd/2",
    "/dev/fd/1",
    "/dev/fd/2",
)
"""What such a program names its output by."""


def sign_of_reopening(argv: Sequence[str], folder: Path = Path()) -> str:
    """Where a command, run in a folder, names its output, in words; empty where nothing does."""
    for sign in SIGNS:
        if any(sign in word for word in argv[1:]):
            return f"its command names {sign}"
    for path, text in texts_of(argv, folder):
        if b"\0" in text:
            continue
        if named := next((sign for sign in SIGNS if sign.encode() in text), ""):
            return f"{path} names {named}"
    return ""
