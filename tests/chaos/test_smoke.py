"""Chaos smoke: sixty seeded kills, freezes and bursts among ten workers, judged by independent witnesses.

Theory of operation: a seed gives a schedule of blows. While it runs, a watcher reads the kernel's
process table over and over and notes every moment at which two live processes claim the same slot.
Afterwards the group must be exactly whole again, with nothing left over.

`AUTOHEALER_CHAOS_SEED` replays a schedule, `AUTOHEALER_CHAOS_BLOWS` makes it longer.
"""

from __future__ import annotations

import os
import random
import signal
import threading
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import psutil
import pytest

from autohealer.contract import ENV_SLOT, parse_znode_name
from tests.support.clients import connected
from tests.support.daemon import Daemon, environment_of
from tests.support.eventually import eventually
from tests.support.servers import ZooKeeperUnderTest

SEED = int(os.environ.get("AUTOHEALER_CHAOS_SEED", "20261120"))
BLOWS = int(os.environ.get("AUTOHEALER_CHAOS_BLOWS", "60"))
WHOLE_WITHIN_S = 60.0


class Blow(Enum):
    """One kind of fault, with how many workers it hits."""

    KILL = "kill one"
    FREEZE = "freeze one"
    SEGFAULT = "segfault one"
    TERM = "terminate one"
    BURST = "kill several"
    MASSACRE = "kill all"


_WEIGHTS = {
    Blow.KILL: 30,
    Blow.FREEZE: 8,
    Blow.SEGFAULT: 6,
    Blow.TERM: 6,
    Blow.BURST: 8,
    Blow.MASSACRE: 2,
}
_SIGNALS = {
    Blow.KILL: signal.SIGKILL,
    Blow.FREEZE: signal.SIGSTOP,
    Blow.SEGFAULT: signal.SIGSEGV,
    Blow.TERM: signal.SIGTERM,
    Blow.BURST: signal.SIGKILL,
    Blow.MASSACRE: signal.SIGKILL,
}


def schedule_of(seed: int, blows: int) -> list[Blow]:
    """A shuffled schedule that holds every kind of blow at least once."""
    rng = random.Random(seed)
    drawn = rng.choices(list(_WEIGHTS), weights=list(_WEIGHTS.values()), k=blows)
    drawn[: len(Blow)] = list(Blow)
    rng.shuffle(drawn)
    return drawn


@dataclass
class SlotWatcher:
    """Looks for two leaders of one slot alive at the same moment, all the time."""

    daemon: Daemon
    doubles: list[str] = field(default_factory=list)
    looks: int = 0

    def __enter__(self) -> SlotWatcher:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            leaders = [p for p in self.daemon.workers_alive() if is_leader(p)]
            slots = Counter(environment_of(p).get(ENV_SLOT) for p in leaders)
            self.looks += 1
            self.doubles += [
                f"slot {slot}: {[p.pid for p in leaders if environment_of(p).get(ENV_SLOT) == slot]}"
                for slot, count in slots.items()
                if slot is not None and count > 1 and still_double(self.daemon, slot)
            ]


def is_leader(process: psutil.Process) -> bool:
    """Whether a process leads its session, as a worker does and what it starts does not."""
    try:
        return os.getsid(process.pid) == process.pid
    except ProcessLookupError:
        return False


def still_double(daemon: Daemon, slot: str) -> bool:
    """A second look, because the first one read two processes at two different moments."""
    leaders = [p for p in daemon.workers_alive() if is_leader(p)]
    return sum(environment_of(p).get(ENV_SLOT) == slot for p in leaders) > 1


def strike(daemon: Daemon, blow: Blow, rng: random.Random) -> None:
    """Hit workers that are ready right now."""
    pids = sorted(eventually(daemon.pids, within_s=WHOLE_WITHIN_S, view=daemon.view).values())
    several = {Blow.BURST: rng.randint(2, 10), Blow.MASSACRE: 10}.get(blow, 1)
    for pid in rng.sample(pids, min(several, len(pids))):
        try:
            os.kill(pid, _SIGNALS[blow])
        except ProcessLookupError:
            continue


@pytest.mark.chaos
@pytest.mark.timeout(400)
def test_after_sixty_blows_exactly_ten_serve_and_nothing_is_left_over(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """Under fire a slot would be lost, doubled, or leave orphans and zombies behind."""
    rng = random.Random(SEED)
    schedule = schedule_of(SEED, BLOWS)
    print(f"AUTOHEALER_CHAOS_SEED={SEED}: {[blow.value for blow in schedule]}")
    with Daemon(tmp_path / "state", zookeeper.connection) as daemon:
        daemon.becomes_whole()
        with SlotWatcher(daemon) as watcher:
            for blow in schedule:
                strike(daemon, blow, rng)
                if (
                    rng.random() < 0.4
                ):  # otherwise the next blow lands while this one is being healed
                    daemon.becomes_whole(WHOLE_WITHIN_S)
            pids = daemon.becomes_whole(WHOLE_WITHIN_S)
        assert watcher.doubles == []
        assert watcher.looks > len(schedule)
        assert sorted(p.pid for p in daemon.workers_alive()) == sorted(pids.values())
        assert zombies_of(daemon.pid) == []
        with connected(zookeeper.connection) as client:
            eventually(
                lambda: len(client.get_children("/workers")) == 10, within_s=10, view=daemon.view
            )
            names = client.get_children("/workers")
        slots = [parsed.slot for n in names if (parsed := parse_znode_name(n)) is not None]
        assert sorted(slots) == list(range(10))
        assert daemon.stop() == 0
        assert daemon.everything_started() == []


def zombies_of(pid: int) -> list[int]:
    """Dead children a process never collected."""
    children = psutil.Process(pid).children()
    return [child.pid for child in children if child.status() == psutil.STATUS_ZOMBIE]
