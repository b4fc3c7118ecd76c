"""A campaign against a file of several kinds of programs: rounds of blows, each round judged when all is whole again.

Theory of operation. A blow says whom it may cost: whole groups, or slots of them. Of everybody else the same process
must live after the round as before; who was hit for good must be another one; and while anything lasts no slot may be
led by two. A daemon that dies or leaves takes no znode of those with it that it had registered.

Must never know: what the daemon believes, but for whether it says that its groups are whole.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, TypeVar

import psutil
from kazoo.exceptions import KazooException, NoNodeError
from kazoo.handlers.threading import KazooTimeoutError

from autohealer.cli.exit_codes import ExitCode
from autohealer.contract import WORKERS_PATH
from tests.chaos.fleet import AGENTS, REPLICAS, Look, MixedFleet
from tests.chaos.watcher import Watcher
from tests.integration.test_command_line import autohealer
from tests.integration.test_several_groups import registrations
from tests.support.clients import connected
from tests.support.proxy import ChaosProxy

if TYPE_CHECKING:
    from pathlib import Path

    from kazoo.client import KazooClient

    from tests.support.servers import ZooKeeperServer

    Place = tuple[str, int]

T = TypeVar("T")

WHOLE_WITHIN_S = 90.0
ANSWERS_WITHIN_S = 30.0
SESSION_LASTS_S = 5.0
"""For so long without a daemon its session lasts surely: the Apache server of the tests grants 10 s at most."""
LOOKS_EVERY_S = 0.1
LOOKS_AGAIN_S = 0.05
NOBODY = Look()


class Blow(Enum):
    """What strikes."""

    KILL = "kill one"
    KILL_SEVERAL = "kill all of a group"
    TERM = "terminate one"
    STOP = "stop one for good"
    KILL_CHILD = "kill what one started"
    KILL_DAEMON = "kill the daemon"
    KILL_IN_DOWNTIME = "kill one while no daemon runs"
    DETACH = "detach, and start again"
    UNREGISTER = "delete a registration"
    CUT = "cut the connections of the daemon and of those that use the SDK"
    OUTAGE = "no server for a while"
    RELOAD = "another environment for one group"
    RELOAD_MISTAKE = "a mistake in the file"


@dataclass(slots=True)
class Costs:
    """Whom a round may cost, and who cannot have lived through it."""

    may: set[Place] = field(default_factory=set)
    must: set[Place] = field(default_factory=set)


def churned(before: Look, after: Look, may: Collection[Place]) -> list[str]:
    """Those that are others than before although nothing was to cost them."""
    return [
        f"{group} {slot} was {was} and is {after.leaders.get((group, slot))} although nothing hit it"
        for (group, slot), was in sorted(before.leaders.items())
        if (group, slot) not in may and after.leaders.get((group, slot)) != was
    ]


def unchanged(before: Look, after: Look, must: Collection[Place]) -> list[str]:
    """Those that are the same as before although something was to end them."""
    return [
        f"{group} {slot} is still {before.leaders[group, slot]}"
        for group, slot in sorted(must)
        if before.leaders.get((group, slot)) == after.leaders.get((group, slot))
    ]


class Doubles(Watcher):
    """Looks all the time whether a slot is led by two; use it as a context manager."""

    def __init__(self, look: Callable[[], Look]) -> None:
        super().__init__("doubles")
        self.found: set[str] = set()
        self._look = look
        self._lock = threading.Lock()

    def now(self) -> Look:
        """Who leads what now."""
        with self._lock:
            return self._look()

    def _watch(self) -> None:
        while not self._over.wait(LOOKS_EVERY_S):
            if suspects := self.now().doubled():
                # One that has just ended may have been seen with the one that came after it.
                self._over.wait(LOOKS_AGAIN_S)
                still = self.now().doubled()
                self.found |= {
                    f"{group} {slot} was led by {pids} at once"
                    for (group, slot), pids in suspects
                    if ((group, slot), pids) in still
                }


class MixedCampaign:
    """Blows at one fleet; `server` is what all use, `door` the way of the daemon to it."""

    def __init__(
        self,
        fleet: MixedFleet,
        server: ZooKeeperServer,
        door: ChaosProxy,
        client: KazooClient,
        rng: random.Random,
        say: Callable[[str], None],
    ) -> None:
        self._fleet, self._server, self._door, self._client = fleet, server, door, client
        self._rng, self._say = rng, say
        self._doubles = Doubles(fleet.look)
        self._paint = 0
        self._clock = threading.Event()
        self.struck: Counter[str] = Counter()
        self.violations: list[str] = []

    def run(self, blows: int) -> None:
        """Strike so often, a few at a time; every kind once before any comes again, if there are as many."""
        deck = self._deck(blows)
        with self._doubles:
            self._await_whole("the start")
            while deck and not self.violations:
                self._round(
                    [deck.pop() for _ in range(min(len(deck), self._rng.choice((1, 1, 2, 3))))]
                )
        self.violations += sorted(self._doubles.found)
        if self._fleet.stop() != 0 or self._fleet.everything_started():
            self.violations.append("something is left after the stop")

    def _deck(self, blows: int) -> list[Blow]:
        kinds = list(Blow)
        self._rng.shuffle(kinds)
        return (kinds + self._rng.choices(kinds, k=blows))[:blows]

    def _round(self, blows: list[Blow]) -> None:
        what = ", then ".join(blow.value for blow in blows)
        self._say(what)
        costs, before = Costs(), self._doubles.now()
        for blow in blows:
            self.struck[blow.value] += 1
            self._strike(blow, costs)
            self._clock.wait(self._rng.choice((0.0, 0.0, 0.1, 1.0)))
        after = self._await_whole(what, before, costs.must)
        self.violations += [
            f"after {what}: {sentence}" for sentence in churned(before, after, costs.may)
        ]

    # --- striking -------------------------------------------------------------------------------

    def _strike(self, blow: Blow, costs: Costs) -> None:
        match blow:
            case Blow.KILL:
                self._hit(costs, self._some(1), signal.SIGKILL)
            case Blow.KILL_SEVERAL:
                group = self._rng.choice(list(REPLICAS))
                places = [(group, slot) for slot in range(REPLICAS[group])]
                self._hit(costs, places, signal.SIGKILL)
            case Blow.TERM:
                self._hit(costs, self._some(1), signal.SIGTERM)
            case Blow.STOP:
                self._hit(costs, self._some(1), signal.SIGSTOP)
            case Blow.KILL_CHILD:
                self._kill_child()
            case Blow.KILL_DAEMON | Blow.KILL_IN_DOWNTIME | Blow.DETACH:
                self._without_daemon(blow, costs)
            case Blow.UNREGISTER:
                self._unregister(costs)
            case Blow.CUT:
                self._door.cut()
            case Blow.OUTAGE:
                # The Java worker ends by itself when its session is lost.
                costs.may |= {("java", slot) for slot in range(REPLICAS["java"])}
                self._server.kill()
                self._clock.wait(self._rng.uniform(0.2, 3.0))
                self._server.start()
            case Blow.RELOAD:
                self._reload(costs)
            case Blow.RELOAD_MISTAKE:
                self._reload_mistake()

    def _some(self, count: int) -> list[Place]:
        return self._rng.sample(
            [(g, slot) for g, n in REPLICAS.items() for slot in range(n)], count
        )

    def _hit(self, costs: Costs, places: list[Place], number: signal.Signals) -> None:
        leaders = self._doubles.now().leaders
        for place in places:
            for pid in leaders.get(place, ()):
                costs.may.add(place)
                costs.must.add(place)
                with suppress(psutil.NoSuchProcess):
                    psutil.Process(pid).send_signal(number)

    def _kill_child(self) -> None:
        """It is its parent's to see to."""
        leaders = self._doubles.now().leaders
        place = self._rng.choice([("web", 0), ("web", 1), ("loop", 0), ("loop", 1)])
        for pid in leaders.get(place, ()):
            with suppress(psutil.NoSuchProcess):
                for child in psutil.Process(pid).children():
                    child.kill()

    def _without_daemon(self, blow: Blow, costs: Costs) -> None:
        """While none runs, and when the next one has looked around, those it registered are so without a break."""
        if blow is Blow.DETACH:
            self._accepted("detach", "--group", "sdk")
            self._fleet.wait()
        else:
            self._fleet.kill()
        made, ended_at = self._agents_znodes(), time.monotonic()
        if blow is Blow.KILL_IN_DOWNTIME:
            self._hit(costs, self._some(1), signal.SIGKILL)
        self._clock.wait(self._rng.choice((0.0, 0.5, 3.0)))
        self._fleet.start()
        self._await(self._is_answering)
        if time.monotonic() - ended_at > SESSION_LASTS_S:
            return
        doomed = {f"{group}-{slot}-" for group, slot in costs.may}
        now = self._agents_znodes()
        self.violations += [
            f"{name} went with a daemon"
            for name, since in made.items()
            if not name.startswith(tuple(doomed)) and now.get(name) != since
        ]

    def _unregister(self, costs: Costs) -> None:
        """The daemon makes its own again; who made one itself may be ended for it."""
        name = self._rng.choice(sorted(self._registered()))
        if not name.startswith(tuple(f"{group}-" for group in AGENTS)):
            group = "java" if name.startswith("worker_") else "sdk"
            costs.may |= {(group, slot) for slot in range(REPLICAS[group])}
        with suppress(NoNodeError):
            self._client.delete(f"{WORKERS_PATH}/{name}")

    def _reload(self, costs: Costs) -> None:
        group = self._rng.choice(list(REPLICAS))
        self._paint += 1
        text = self._fleet.file.read_text()
        before, mark, after = text.partition(f'COLOUR = "{group} ')
        _, quote, rest = after.partition('"')
        self._fleet.file.write_text(before + mark + str(self._paint) + quote + rest)
        self._accepted("reload")
        places = {(group, slot) for slot in range(REPLICAS[group])}
        costs.may |= places
        costs.must |= places

    def _reload_mistake(self) -> None:
        text = self._fleet.file.read_text()
        self._fleet.file.write_text(text.replace("replicas = 2", "replicsa = 9", 1))
        code = self._await(lambda: self._command("reload") if self._is_answering() else None)
        self._fleet.file.write_text(text)
        if code != ExitCode.USAGE:
            self.violations.append(f"a file with a mistake was taken: exit code {code}")

    def _accepted(self, *words: str) -> None:
        """A command that is tried again until the daemon answers."""
        if self._await(lambda: True if self._command(*words) == 0 else None) is None:
            self.violations.append(f"{words[0]} was not done within {ANSWERS_WITHIN_S:g} s")

    def _command(self, *words: str) -> int:
        return autohealer(*words, "--state-dir", str(self._fleet.state_dir)).returncode

    # --- judging --------------------------------------------------------------------------------

    def _is_answering(self) -> bool | None:
        return True if all(self._fleet.of(group) is not None for group in REPLICAS) else None

    def _await(self, look: Callable[[], T | None], within_s: float = ANSWERS_WITHIN_S) -> T | None:
        until = time.monotonic() + within_s
        while (found := look()) is None and time.monotonic() < until:
            self._clock.wait(LOOKS_EVERY_S)
        return found

    def _await_whole(self, after: str, before: Look = NOBODY, must: Collection[Place] = ()) -> Look:
        """All are there and registered, by what is true and by what the daemon says; who had to go is another one."""
        flaws: list[str] = []

        def is_whole() -> bool | None:
            flaws[:] = self._flaws(before, must)
            return None if flaws else True

        if self._await(is_whole, WHOLE_WITHIN_S) is None:
            self.violations.append(f"not whole {WHOLE_WITHIN_S:g} s after {after}: {flaws}")
        return self._doubles.now()

    def _flaws(self, before: Look, must: Collection[Place]) -> Iterator[str]:
        now = self._doubles.now()
        yield from now.flaws()
        yield from unchanged(before, now, must)
        for group, count in REPLICAS.items():
            status = self._fleet.of(group)
            if status is None:
                yield f"{group} does not answer"
            elif not (status.ready == status.desired == len(status.slots) == count):
                yield f"{group} says that {status.ready} of {status.desired} are ready"
            elif status.holds or status.notes:
                yield f"{group} waits: {status.holds} {status.notes}"
        names = self._registered()
        for group in ("sdk", *AGENTS):
            there = [name for name in names if name.startswith(f"{group}-")]
            if len(there) != REPLICAS[group]:
                yield f"registered of {group}: {there}"
        there = [name for name in names if name.startswith("worker_")]
        if len(there) != REPLICAS["java"]:
            yield f"registered of java: {there}"

    def _registered(self) -> dict[str, int]:
        """Which registrations there are, and when each was made, as soon as a server says so."""

        def look() -> dict[str, int] | None:
            try:
                return registrations(self._client)
            except (KazooException, KazooTimeoutError):
                return None

        return self._await(look) or {}

    def _agents_znodes(self) -> dict[str, int]:
        prefixes = tuple(f"{group}-" for group in AGENTS)
        return {name: at for name, at in self._registered().items() if name.startswith(prefixes)}


@contextmanager
def mixed_campaign(
    server: ZooKeeperServer, folder: Path, rng: random.Random, say: Callable[[str], None]
) -> Iterator[MixedCampaign]:
    """A campaign against a fleet on a server that runs; the fleet is just starting, and ended afterwards."""
    with (
        ChaosProxy(server.address) as door,
        MixedFleet(folder / "fleet", door.address, server.address) as fleet,
        connected(server.address) as client,
    ):
        yield MixedCampaign(fleet, server, door, client, rng, say)
