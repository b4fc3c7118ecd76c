"""What the process and its machine say of themselves when a four-letter word asks.

Must never know: the words, the tree, what time it is.
"""

from __future__ import annotations

import os
import resource
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class HostFacts:
    """One look at the process: its port, milliseconds since it started, descriptors, bytes on disk."""

    port: int
    uptime_ms: int
    open_file_count: int = 0
    open_file_max: int = 0
    data_bytes: int = 0
    environment: dict[str, str] = field(default_factory=dict)


def look(port: int, uptime_ms: int, data_dir: Path) -> HostFacts:
    """Look now; what can not be read counts as its limit (descriptors) or as nothing (bytes)."""
    file_max = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return HostFacts(
        port,
        uptime_ms,
        _open_file_count(file_max),
        file_max,
        _size_bytes(data_dir),
        {
            "host.name": os.uname().nodename,
            "client.port": str(port),
            "python.version": sys.version.split()[0],
            "process.pid": str(os.getpid()),
        },
    )


def _open_file_count(file_max: int) -> int:
    try:
        return len(list(Path("/proc/self/fd").iterdir())) - 1  # the listing's own
    except OSError:  # none is left to look with
        return file_max


def _size_bytes(directory: Path) -> int:
    size_bytes = 0
    with suppress(OSError):  # a journal may be replaced meanwhile
        for file in directory.iterdir():
            size_bytes += file.stat().st_size
    return size_bytes
