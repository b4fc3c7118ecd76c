"""Seeded stories: faults strike a few daemons that share a port, then everything is put right and must heal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from autohealer.embedded.facts import Listener
from tests.unit.embedded.world import FAULTS_S, PORT, RETURNS_WITHIN_S, World

FOLDERS = ("here", "here", "there")
"""Two of three daemons share a state directory."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one seed."""

    violations: tuple[str, ...]
    faults: dict[str, int]
    said: int


def play(seed: int) -> Outcome:
    """Tell one story."""
    world = World(seed)
    for folder in FOLDERS[: world.rng.randrange(1, 4)]:
        world.start_daemon(folder, has_workers=world.rng.random() < 0.7)
    world.later(0.1, world.sessions)
    _strike_later(world)
    world.run_until(FAULTS_S)
    _put_right(world)
    world.run_until(FAULTS_S + RETURNS_WITHIN_S)
    _judge(world)
    return Outcome(tuple(world.violations), dict(world.faults), len(world.said))


def _strike_later(world: World) -> None:
    world.later(world.rng.expovariate(1 / 6.0), lambda: _strike(world))


def _strike(world: World) -> None:
    if world.now >= FAULTS_S:
        return
    name = world.rng.choice(list(FAULTS))
    if FAULTS[name](world):
        world.faults[name] += 1
    _strike_later(world)


def _put_right(world: World) -> None:
    world.stranger = None
    world.launches_fail = world.servers_die_at_once = world.is_blind = False
    for server in world.servers:
        if server.hangs_since is not None and server.alive and server.owner is None:
            world.end(server)  # nobody is there to do it
    if world.rng.random() < 0.5:  # otherwise the others have to do without those
        for daemon in world.daemons:
            world.thaw(daemon)
    for server in world.servers:
        if server.owner is not None and server.owner.frozen:
            world.end(server)


def _judge(world: World) -> None:
    alive = [d for d in world.daemons if d.alive and not d.frozen]
    if not alive:
        return
    if world.listener() is not Listener.EMBEDDED:
        world.violations.append(f"port {PORT} is not served: {world.listener()}")
    for daemon in alive:
        if daemon.keeping.wake_at is not None:
            world.violations.append(f"daemon {daemon.name} goes on looking for nothing")


# --- faults -----------------------------------------------------------------------------------


def _dies(world: World) -> bool:
    server = world.serving()
    if server is None:
        return False
    world.end(server)
    return True


def _hangs(world: World) -> bool:
    """For good, or for less time than it takes to be sure."""
    server = world.serving()
    if server is None or server.hangs_since is not None:
        return False
    server.hangs_since = world.now
    if world.rng.random() < 0.5:
        world.later(world.rng.uniform(0.1, 1.9), lambda: setattr(server, "hangs_since", None))
    return True


def _for_a_while(flag: str, value: object, off: object) -> Callable[[World], bool]:
    def strike(world: World) -> bool:
        setattr(world, flag, value)
        world.later(world.rng.uniform(0.5, 40.0), lambda: setattr(world, flag, off))
        return True

    return strike


def _port_taken(world: World) -> bool:
    """Only a free port can be taken."""
    if world.listener() is not Listener.NOBODY and not _dies(world):
        return False
    who = (Listener.STRANGER, Listener.SILENT, Listener.ZOOKEEPER, Listener.FOREIGN)
    return _for_a_while("stranger", world.rng.choice(who), off=None)(world)


def _daemon_crashes(world: World) -> bool:
    alive = [d for d in world.daemons if d.alive]
    if not alive:
        return False
    victim = world.rng.choice(alive)
    world.crash_daemon(victim)
    world.later(
        world.rng.uniform(0.1, 5.0),
        lambda: _again(world, victim.folder),
    )
    return True


def _daemon_stops(world: World) -> bool:
    alive = [d for d in world.daemons if d.alive]
    if len(alive) < 2:
        return False
    victim = world.rng.choice(alive)
    world.stop_daemon(victim)
    world.later(world.rng.uniform(0.1, 5.0), lambda: _again(world, victim.folder))
    return True


def _again(world: World, folder: str) -> None:
    world.start_daemon(folder, has_workers=True)


def _daemon_freezes(world: World) -> bool:
    alive = [d for d in world.daemons if d.alive and not d.frozen]
    if not alive:
        return False
    victim = world.rng.choice(alive)
    victim.frozen = True
    if world.rng.random() < 0.8:
        world.later(world.rng.uniform(0.5, 30.0), lambda: world.thaw(victim))
    return True


FAULTS: dict[str, Callable[[World], bool]] = {
    "server dies": _dies,
    "server hangs": _hangs,
    "servers die at once": _for_a_while("servers_die_at_once", value=True, off=False),
    "launches fail": _for_a_while("launches_fail", value=True, off=False),
    "nothing can be looked at": _for_a_while("is_blind", value=True, off=False),
    "port taken": _port_taken,
    "daemon crashes": _daemon_crashes,
    "daemon stops": _daemon_stops,
    "daemon freezes": _daemon_freezes,
}
