"""Real worker processes, launched as a daemon would launch them.

Theory of operation: a worker gets its identity through the environment and writes to a file of its
own, so that nothing it prints can block it and everything can be shown when a test fails.

Limits: whatever state a worker is in, it is killed and reaped when its block ends.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from autohealer import contract

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

TOKEN = "0123456789abcdef" * 2
KEEPER = "0123456789ab"
"""What a daemon of one state directory gives to a worker, as far as a worker can tell."""

_ENDS_WITHIN_S = 20.0


@dataclass(frozen=True, slots=True)
class RunningWorker:
    """One worker process and what it has printed."""

    process: subprocess.Popen[bytes]
    output_path: Path

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    @property
    def output(self) -> str:
        """Everything printed so far, errors included."""
        return self.output_path.read_text(errors="replace")

    @property
    def is_running(self) -> bool:
        """Whether the process has not ended yet."""
        return self.process.poll() is None

    def exit_code(self) -> int:
        """Wait for the end and return the exit code, negative for a signal."""
        return self.process.wait(_ENDS_WITHIN_S)


def environment_of(
    connection: str, name: contract.ZnodeName | None, session_timeout_s: float
) -> Mapping[str, str]:
    """What a daemon puts into a worker's environment; without a name, what a person would."""
    given = {
        contract.ENV_ZOOKEEPER: connection,
        contract.ENV_SESSION_TIMEOUT_S: str(session_timeout_s),
    }
    if name is not None:
        given[contract.ENV_GROUP] = name.group
        given[contract.ENV_SLOT] = str(name.slot)
        given[contract.ENV_GENERATION] = str(name.generation)
        given[contract.ENV_ZNODE] = name.path
        given[contract.ENV_TOKEN] = TOKEN
        given[contract.ENV_KEEPER] = KEEPER
    return given


@contextmanager
def launched(
    arguments: Sequence[str],
    connection: str,
    output_path: Path,
    *,
    name: contract.ZnodeName | None,
    session_timeout_s: float = 10.0,
) -> Iterator[RunningWorker]:
    """Run `python <arguments>` as a worker for the duration of a block."""
    with output_path.open("wb") as output:
        process = subprocess.Popen(
            (sys.executable, *arguments),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env=os.environ | environment_of(connection, name, session_timeout_s),
        )
    try:
        yield RunningWorker(process, output_path)
    finally:
        process.kill()
        process.communicate()
