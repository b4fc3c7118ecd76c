"""What a process is doing right now, sampled when somebody asks for the status; never on a timer."""

from __future__ import annotations

from dataclasses import dataclass

import psutil


@dataclass(frozen=True, slots=True)
class Vitals:
    """One sample. `state` is the kernel's word: running, sleeping, stopped, zombie, disk-sleep …"""

    state: str
    rss_bytes: int
    cpu_s: float


def sample(pid: int) -> Vitals | None:
    """Look at a process; None when it is gone."""
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            cpu = process.cpu_times()
            return Vitals(
                state=str(process.status()),
                rss_bytes=process.memory_info().rss,
                cpu_s=cpu.user + cpu.system,
            )
    except psutil.Error:
        return None
