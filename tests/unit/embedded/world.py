"""A simulated machine for the decider of the embedded server: one port, several daemons, strangers, a clock that jumps.

Theory of operation. Each daemon is a real decider whose orders are carried out here, with delays, on a heap of events;
one seed draws what goes wrong. The world knows what is true and writes down what breaks a promise:

- two servers of one state directory live at once by our own doing, or one is launched although the port is served;
- a server is killed that answers, or that has not hung for long;
- more than so many launches or looks by one daemon in any minute; the same trouble told twice without relief;
- a daemon gives up although workers depend on it.

After the last fault everything is put right, and then the port must be served and every session connected in time.

Must never know: what the decider remembers.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from autohealer.embedded import decider
from autohealer.embedded.decider import Keeping
from autohealer.embedded.facts import (
    Adopted,
    Begun,
    Ended,
    Event,
    Fact,
    GiveUp,
    Kill,
    Launch,
    Launched,
    Listener,
    Look,
    Looked,
    NotLaunched,
    Say,
    SessionChanged,
    Stopped,
    TimePassed,
)

FAULTS_S = 240.0
"""How long things go wrong."""

RETURNS_WITHIN_S = 60.0
"""The longest pause between launches, a launch, a session's return, and a hanging server's fifteen seconds."""

LAUNCHES_A_MINUTE = 16
LOOKS_A_MINUTE = 130
"""Each launch is followed by at most a second of looks every ten milliseconds while it starts, not counted here."""

HANGS_FOR_S = 4.0
"""No server is killed that hung for less: two looks of two seconds."""

KNOWN_AFTER_S = 5.0
"""By then every look shows a server that was born."""

PORT = 2181
PROBE_S = 2.0
TROUBLES = {Event.DIED, Event.HANGS, Event.NOT_LAUNCHED, Event.OBSTRUCTED, Event.UNSEEN}


@dataclass(slots=True, eq=False)
class Server:
    """One of our server processes; it listens once it has started, if the port is free then."""

    pid: int
    folder: str
    born: float
    listens: bool = False
    alive: bool = True
    hangs_since: float | None = None
    owner: Daemon | None = None


@dataclass(slots=True, eq=False)
class Daemon:
    """One keeper: a decider with its process, its claim and its session."""

    name: int
    folder: str
    has_workers: bool
    keeping: Keeping = field(default_factory=lambda: Keeping(PORT))
    alive: bool = True
    frozen: bool = False
    thawed: float = 0.0
    untold: list[Fact] = field(default_factory=list)
    server: Server | None = None
    connected: bool = False
    launches: list[float] = field(default_factory=list)
    looks: list[float] = field(default_factory=list)
    told: set[Say] = field(default_factory=set)
    gave_up: bool = False


class World:
    """What is true."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.now = 0.0
        self.violations: list[str] = []
        self.faults: Counter[str] = Counter()
        self.said: list[tuple[float, int, Say]] = []
        self.daemons: list[Daemon] = []
        self.servers: list[Server] = []
        self.stranger: Listener | None = None
        self.claims: dict[str, Daemon] = {}
        self.launches_fail = False
        self.servers_die_at_once = False
        self.is_blind = False
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._pids = count(100)
        self._names = count()

    # --- the clock ------------------------------------------------------------------------------

    def later(self, delay_s: float, act: Callable[[], None]) -> None:
        """Have something happen in a while."""
        heapq.heappush(self._events, (self.now + delay_s, next(self._order), act))

    def run_until(self, end: float) -> None:
        """Let everything happen that is due by then."""
        while self._events and self._events[0][0] <= end:
            self.now, _, act = heapq.heappop(self._events)
            act()
        self.now = end

    # --- daemons --------------------------------------------------------------------------------

    def start_daemon(self, folder: str, *, has_workers: bool) -> Daemon:
        """A daemon begins to keep a server."""
        daemon = Daemon(next(self._names), folder, has_workers)
        self.daemons.append(daemon)
        self.tell(daemon, Begun(may_give_up=not has_workers))
        return daemon

    def crash_daemon(self, daemon: Daemon) -> None:
        """It is gone; its server lives on and belongs to nobody."""
        daemon.alive = False
        self._let_go(daemon)

    def thaw(self, daemon: Daemon) -> None:
        """It goes on, with what it was told before it froze."""
        if daemon.frozen:
            daemon.frozen, daemon.thawed = False, self.now
            facts, daemon.untold = daemon.untold, []
            for fact in facts:
                self.tell(daemon, fact)

    def stop_daemon(self, daemon: Daemon) -> None:
        """It ends and takes its server along."""
        self.tell(daemon, Stopped())
        daemon.alive = False
        if daemon.server is not None:
            self.end(daemon.server)
        self._let_go(daemon)

    def _let_go(self, daemon: Daemon) -> None:
        if daemon.server is not None:
            daemon.server.owner = None
        if self.claims.get(daemon.folder) is daemon:
            del self.claims[daemon.folder]

    def tell(self, daemon: Daemon, fact: Fact) -> None:
        """Hand a fact to a decider and do what it orders."""
        if not daemon.alive:
            return
        if daemon.frozen:
            daemon.untold.append(fact)
            return
        daemon.keeping, orders = decider.decide(daemon.keeping, fact, self.now)
        for order in orders:
            match order:
                case Look():
                    self._look(daemon)
                case Launch():
                    self._launch(daemon)
                case Kill():
                    self._kill(daemon)
                case GiveUp():
                    self._give_up(daemon)
                case Say():
                    self._say(daemon, order)
        self._set_timer(daemon)

    def _set_timer(self, daemon: Daemon) -> None:
        wake_at = daemon.keeping.wake_at
        if wake_at is not None:
            # An outdated one only tells that time has passed.
            self.later(max(0.0, wake_at - self.now), lambda: self._wake(daemon, wake_at))

    def _wake(self, daemon: Daemon, wake_at: float) -> None:
        if daemon.keeping.wake_at == wake_at:
            self.tell(daemon, TimePassed())

    # --- orders ---------------------------------------------------------------------------------

    def _look(self, daemon: Daemon) -> None:
        young = daemon.server is not None and self.now - daemon.server.born < 1.5
        if not young:
            self._count(daemon.looks, LOOKS_A_MINUTE, f"daemon {daemon.name} looks too often")
        is_slow = self.rng.random() < 0.1
        self.later(self.rng.uniform(0.1, 1.9) if is_slow else 0.001, lambda: self._answer(daemon))

    def _answer(self, daemon: Daemon) -> None:
        listener = self.listener()
        if listener is Listener.SILENT:
            self.later(PROBE_S, lambda: self._looked(daemon, listener))
        else:
            self._looked(daemon, listener)

    def _looked(self, daemon: Daemon, listener: Listener) -> None:
        if not daemon.alive:
            return
        if self.is_blind:
            self.tell(daemon, Looked(Listener.UNSEEN, is_claimed=False, why="no descriptors"))
            return
        if self.claims.setdefault(daemon.folder, daemon) is daemon and daemon.server is None:
            self._adopt(daemon)
        self.tell(daemon, Looked(listener, is_claimed=self.claims[daemon.folder] is daemon))

    def _adopt(self, daemon: Daemon) -> None:
        for server in self.servers:
            if server.alive and server.owner is None and server.folder == daemon.folder:
                server.owner, daemon.server = daemon, server
                self.tell(daemon, Adopted(server.pid))
                return

    def _launch(self, daemon: Daemon) -> None:
        self._count(daemon.launches, LAUNCHES_A_MINUTE, f"daemon {daemon.name} launches too often")
        if daemon.server is not None:
            self.violations.append(f"{self.now:.2f}: a second server was launched beside ours")
        is_known = (serving := self.serving()) is not None and (
            self.now - max(serving.born, daemon.thawed) > KNOWN_AFTER_S
        )
        if is_known:
            self.violations.append(f"{self.now:.2f}: launched although the port is served")
        if self.launches_fail:
            self.later(0.001, lambda: self.tell(daemon, NotLaunched("no memory")))
            return
        server = Server(next(self._pids), daemon.folder, self.now, owner=daemon)
        self.servers.append(server)
        daemon.server = server
        self.tell(daemon, Launched(server.pid))
        self.later(self.rng.uniform(0.05, 0.4), lambda: self._comes_up(server))

    def _comes_up(self, server: Server) -> None:
        """As the real one: the directory's lock first, then the port."""
        if not server.alive:
            return
        others = [s for s in self.servers if s.alive and s is not server]
        if self.servers_die_at_once or self.stranger or any(s.listens for s in others):
            self.end(server)
        else:
            server.listens = True

    def _kill(self, daemon: Daemon) -> None:
        server = daemon.server
        if server is None:
            return
        if server.hangs_since is None or self.now - server.hangs_since < HANGS_FOR_S:
            self.violations.append(f"{self.now:.2f}: a server was killed that does not hang")
        self.end(server)

    def _give_up(self, daemon: Daemon) -> None:
        if daemon.has_workers:
            self.violations.append(f"{self.now:.2f}: gave up although workers live")
        daemon.gave_up = True
        self.stop_daemon(daemon)

    def _say(self, daemon: Daemon, say: Say) -> None:
        self.said.append((self.now, daemon.name, say))
        if say.event in TROUBLES:
            cause = Say(say.event, why=say.why)
            if cause in daemon.told:
                self.violations.append(f"{self.now:.2f}: said twice: {say}")
            daemon.told.add(cause)
        elif say.event is Event.ANSWERS:
            daemon.told.clear()

    def _count(self, times: list[float], most: int, sentence: str) -> None:
        times.append(self.now)
        if len(times) > most and times[-1] - times[-most - 1] < 60.0:
            self.violations.append(f"{self.now:.2f}: {sentence}")

    # --- what is true ---------------------------------------------------------------------------

    def serving(self) -> Server | None:
        """Who of ours has the port."""
        return next((s for s in self.servers if s.alive and s.listens), None)

    def listener(self) -> Listener:
        """What a look at the port finds."""
        if self.stranger is not None:
            return self.stranger
        server = self.serving()
        if server is None:
            return Listener.NOBODY
        return Listener.EMBEDDED if server.hangs_since is None else Listener.SILENT

    def end(self, server: Server) -> None:
        """A server of ours ends."""
        if not server.alive:
            return
        server.alive = server.listens = False
        daemon = server.owner
        if daemon is not None and daemon.alive:
            daemon.server = None
            lived_s = self.now - server.born
            self.tell(daemon, Ended(server.pid, lived_s, "the last line"))

    def sessions(self) -> None:
        """Every session follows the port within a second or so."""
        is_served = self.listener() in {Listener.EMBEDDED, Listener.ZOOKEEPER}
        for daemon in self.daemons:
            if daemon.alive and not daemon.frozen and daemon.connected != is_served:
                daemon.connected = is_served
                self.tell(daemon, SessionChanged(is_served))
        live = Counter(s.folder for s in self.servers if s.alive)
        if any(n > 1 for n in live.values()) and not self._is_race():
            self.violations.append(f"{self.now:.2f}: two servers of one directory: {live}")
        self.later(self.rng.uniform(0.1, 1.0), self.sessions)

    def _is_race(self) -> bool:
        """One that has not come up yet ends by itself when it finds the directory locked."""
        return any(s.alive and not s.listens for s in self.servers)
