"""How many processors there are to use, and how idle they are, from the kernel's own words."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from autohealer.processes import processors
from autohealer.processes.processors import APART_MAX_S, Processors


class Kernel:
    """What a machine of files says."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self._stat = folder / "stat"
        self._cgroups = folder / "cgroup"
        self._own = folder / "own"
        (self._cgroups / "pod" / "app").mkdir(parents=True)
        self._own.write_text("0::/pod/app\n")
        monkeypatch.setattr(processors, "_STAT", self._stat)
        monkeypatch.setattr(processors, "_CGROUPS", self._cgroups)
        monkeypatch.setattr(processors, "_OWN_CGROUP", self._own)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)))
        self.machine(busy=0, idle=0)

    def clock(self) -> float:
        """The time."""
        return self.now

    def machine(self, *, busy: int, idle: int, waiting: int = 0) -> None:
        """Ticks of all processors so far."""
        self._stat.write_text(f"cpu {busy} 0 0 {idle} {waiting} 0 0 0 0 0\ncpu0 1 1 1 1 1 1 1 1\n")

    def quota(self, folder: str, text: str) -> None:
        """What a control group may use."""
        (self._cgroups / folder / "cpu.max").write_text(text)

    def used(self, folder: str, seconds: float) -> None:
        """What it has used."""
        text = f"usage_usec {round(seconds * 1e6)}\nuser_usec 1\n"
        (self._cgroups / folder / "cpu.stat").write_text(text)


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """One without quotas."""
    return Kernel(tmp_path, monkeypatch)


def test_all_that_may_be_used_are_counted(kernel: Kernel) -> None:
    """A daemon bound to two of sixty-four processors would launch for all of them."""
    del kernel
    assert Processors().cores == 8


@pytest.mark.parametrize(
    ("pod", "app", "cores"),
    [
        ("max 100000\n", "max 100000\n", 8),
        ("max 100000\n", "150000 100000\n", 2),
        ("50000 100000\n", "max 100000\n", 1),
        ("900000 100000\n", "1600000 100000\n", 8),
    ],
)
def test_a_quota_counts_wherever_it_is_set(kernel: Kernel, pod: str, app: str, cores: int) -> None:
    """A container with half a processor would launch for all of its host's, and collapse."""
    kernel.quota("pod", pod)
    kernel.quota("pod/app", app)
    assert Processors().cores == cores


def test_idleness_is_what_nobody_used_between_two_looks(kernel: Kernel) -> None:
    """Slow starters would be held back on an idle machine, or piled up on a busy one."""
    gauge = Processors(kernel.clock)
    assert gauge.idle() is None
    kernel.now += 1.0
    kernel.machine(busy=300, idle=400, waiting=100)
    assert gauge.idle() == 0.625
    kernel.now += 1.0
    kernel.machine(busy=1100, idle=400, waiting=100)
    assert gauge.idle() == 0.0


def test_looks_close_together_are_one(kernel: Kernel) -> None:
    """A share of a few ticks would be noise."""
    gauge = Processors(kernel.clock)
    gauge.idle()
    kernel.now += 1.0
    kernel.machine(busy=0, idle=800)
    assert gauge.idle() == 1.0
    kernel.now += 0.01
    kernel.machine(busy=8, idle=800)
    assert gauge.idle() == 1.0


def test_a_look_long_ago_tells_nothing_of_now(kernel: Kernel) -> None:
    """An hour of idleness would be taken for room in the first moment of a storm."""
    gauge = Processors(kernel.clock)
    gauge.idle()
    kernel.now += APART_MAX_S + 1.0
    kernel.machine(busy=0, idle=3200)
    assert gauge.idle() is None


def test_under_a_quota_idle_is_what_is_left_of_it(kernel: Kernel) -> None:
    """On an idle host a container that is at its limit would go on launching."""
    kernel.quota("pod/app", "200000 100000\n")
    kernel.used("pod/app", 10.0)
    gauge = Processors(kernel.clock)
    gauge.idle()
    kernel.now += 1.0
    kernel.used("pod/app", 11.5)
    assert gauge.idle() == pytest.approx(0.25)


def test_a_kernel_that_does_not_tell_is_no_trouble(kernel: Kernel, tmp_path: Path) -> None:
    """A sandbox without /proc/stat would end the daemon."""
    (tmp_path / "stat").unlink()
    assert Processors().idle() is None
    del kernel


def test_this_machine_tells() -> None:
    """Only made-up files could be read."""
    gauge = Processors()
    assert 1 <= gauge.cores <= (os.cpu_count() or 1)
    assert gauge.idle() is None
