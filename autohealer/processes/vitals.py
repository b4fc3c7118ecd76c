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
        process = _serving(psutil.Process(pid))
        with process.oneshot():
            cpu = process.cpu_times()
            return Vitals(
                state=str(process.status()),
                rss_bytes=process.memory_info().rss,
                cpu_s=cpu.user + cpu.system,
            )
    except psutil.Error:
        return None


def _serving(process: psutil.Process) -> psutil.Process:
    """The process as another of its threads shows it, where the first has ended: the kernel calls that a zombie."""
    if process.status() != psutil.STATUS_ZOMBIE:
        return process
    others = (thread.id for thread in process.threads() if thread.id != process.pid)
    other = next(others, None)
    return process if other is None else psutil.Process(other)
