"""A stranger on a chosen pid: what the kernel does sooner or later, made to happen now.

Theory of operation: root may tell the kernel which pid it gave out last, so the next fork gets the one after
it, unless somebody else forks in between; then we try again.

Limits: the pid must be free. The stranger leads a session of its own, so a signal to "its group" hits it, and it
writes down every signal it gets; a KILL shows in its being gone.
"""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.eventually import eventually
from tests.support.require import require

if TYPE_CHECKING:
    from collections.abc import Iterator

_LAST_PID = Path("/proc/sys/kernel/ns_last_pid")
_ATTEMPTS = 500
_SCRIPT = """
for s in HUP INT QUIT USR1 USR2 TERM CONT; do trap "echo $s >>$0" $s; done
echo up >>$0
while :; do sleep 600 & wait $!; done
"""


@dataclass(frozen=True, slots=True)
class Stranger:
    """A process that is nobody's worker."""

    process: subprocess.Popen[bytes]
    diary: Path

    @property
    def was_left_alone(self) -> bool:
        """Whether it lives and got no signal."""
        return self.process.poll() is None and self.diary.read_text() == "up\n"


@contextmanager
def stranger_on(pid: int, diary: Path) -> Iterator[Stranger]:
    """Have a stranger on a free pid for a block."""
    require("a settable last pid (root)", os.access(_LAST_PID, os.W_OK))
    process = _started_on(pid, diary)
    try:
        eventually(lambda: diary.exists() and "up" in diary.read_text(), within_s=10.0)
        yield Stranger(process, diary)
    finally:
        _end_session(process)


def _started_on(pid: int, diary: Path) -> subprocess.Popen[bytes]:
    for _ in range(_ATTEMPTS):
        _LAST_PID.write_text(str(pid - 1))
        process = subprocess.Popen(("sh", "-c", _SCRIPT, str(diary)), start_new_session=True)
        if process.pid == pid:
            return process
        _end_session(process)
        diary.unlink(missing_ok=True)
    raise AssertionError(f"pid {pid} was not to be had")


def _end_session(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, 9)
        process.wait()
