"""Strike: make one step of a schedule happen to an arena.

Theory of operation: a blow happens at once and returns what ends it, if it lasts. It is written into the history
before it strikes. Only workers that have registered and were not hit before are targets: what befalls a worker
that is starting is another matter (back-off), and so is what befalls one that is dying.

Must never know: when a blow is due, who judges.
"""

from __future__ import annotations

import random
import signal
from typing import TYPE_CHECKING

from tests.chaos.schedule import Kind, Step, Where
from tests.chaos.worker import GROW_TREE, HOLD_GIL
from tests.support.history import Fault, Harm, Relief

if TYPE_CHECKING:
    from collections.abc import Callable

    from autohealer.core.model import Incarnation
    from tests.chaos.arena import Arena

    Undo = Callable[[], None]

_SIGNALS: dict[Kind, tuple[Harm, int]] = {
    Kind.KILL: (Harm.KILLS, signal.SIGKILL),
    Kind.SEGFAULT: (Harm.KILLS, signal.SIGSEGV),
    Kind.TERM: (Harm.KILLS, signal.SIGTERM),
    Kind.KILL_SEVERAL: (Harm.KILLS, signal.SIGKILL),
    Kind.KILL_ALL: (Harm.KILLS, signal.SIGKILL),
    Kind.BURST: (Harm.KILLS, signal.SIGKILL),
    Kind.FREEZE: (Harm.UNREGISTERS, signal.SIGSTOP),
    Kind.FREEZE_BRIEFLY: (Harm.UNREGISTERS, signal.SIGSTOP),
    Kind.FREEZE_AND_THAW: (Harm.UNREGISTERS, signal.SIGSTOP),
    Kind.HOLD_GIL: (Harm.UNREGISTERS, HOLD_GIL),
    Kind.TREE: (Harm.KILLS, GROW_TREE),
    Kind.KILL_DAEMON_IN_BURST: (Harm.KILLS, signal.SIGKILL),
}
_THAWED = (Kind.FREEZE_BRIEFLY, Kind.FREEZE_AND_THAW)
_SLOW_S = 0.3


class Blows:
    """Strikes one arena; `hits` counts the workers hit so far."""

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self._witness = arena.witness
        self.hits = 0

    def strike(self, step: Step) -> Undo | None:
        """Do what a step says; what ends it, or None when it is over already."""
        if step.kind.where is Where.WORKERS:
            return self._hit_workers(step)
        if step.kind.where is Where.DAEMON:
            return self._disturb_daemon(step)
        if step.kind in {Kind.UNREGISTER, Kind.UNREGISTER_HALF}:
            self._unregister(step)
            return None
        return self._disturb_store(step.kind)

    # --- workers --------------------------------------------------------------------------------

    def _chosen(self, step: Step) -> list[Incarnation]:
        targets = self._witness.targets()
        rng = random.Random(step.draw)
        return rng.sample(targets, min(_how_many(step.kind, rng), len(targets)))

    def _hit_workers(self, step: Step) -> Undo | None:
        harm, number = _SIGNALS[step.kind]
        hit = [n for n in self._chosen(step) if self._hit(step.kind, harm, n, number)]
        if step.kind not in _THAWED:
            return None

        def thaw() -> None:
            for name in hit:
                self._witness.relieve(step.kind.label, name, signal.SIGCONT)

        return thaw

    def _hit(self, kind: Kind, harm: Harm, name: Incarnation, number: int | None) -> bool:
        has_hit = self._witness.strike(kind.label, harm, name, number)
        self.hits += has_hit
        return has_hit

    def _unregister(self, step: Step) -> None:
        chosen = [
            name
            for name in self._chosen(step)
            if self._hit(step.kind, Harm.UNREGISTERS, name, None)
        ]
        group = self._arena.daemon.group
        self._arena.registry.delete(f"{group}-{slot}-{generation}" for slot, generation in chosen)

    # --- the daemon -----------------------------------------------------------------------------

    def _disturb_daemon(self, step: Step) -> Undo | None:
        if step.kind is Kind.FREEZE_DAEMON:
            return self._freeze_daemon()
        if step.kind is Kind.DETACH:
            return self._arena.start_daemon if self._arena.detach_daemon() else None
        if step.kind is Kind.KILL_DAEMON_IN_BURST:
            self._hit_workers(step)
        self._arena.end_daemon()
        return self._arena.start_daemon

    def _freeze_daemon(self) -> Undo:
        label = Kind.FREEZE_DAEMON.label
        self._witness.tell(lambda at: Fault(at, label, Harm.IMPAIRS))
        self._arena.daemon.signal(signal.SIGSTOP)

        def thaw() -> None:
            self._arena.daemon.signal(signal.SIGCONT)
            self._witness.tell(lambda at: Relief(at, label))

        return thaw

    # --- the store ------------------------------------------------------------------------------

    def _disturb_store(self, kind: Kind) -> Undo:
        match kind:
            case Kind.KILL_STORE | Kind.WIPE_STORE | Kind.KILL_BOTH:
                return self._kill_store(kind)
            case Kind.FREEZE_STORE:
                return self._freeze_store()
            case Kind.CUT_OFF_HALF:
                return self._cut_off_half()
            case _:
                return self._disturb_network(kind)

    def _kill_store(self, kind: Kind) -> Undo:
        arena = self._arena
        arena.disturb_store(kind.label, is_away=True)
        arena.server.kill()
        if kind is Kind.KILL_BOTH:
            arena.end_daemon()

        def start() -> None:
            if kind is Kind.WIPE_STORE:
                arena.server.wipe()
            arena.server.start()
            if kind is Kind.WIPE_STORE:
                arena.registry.renew()
            arena.store_is_back(kind.label, was_away=True)
            if kind is Kind.KILL_BOTH:
                arena.start_daemon()

        return start

    def _freeze_store(self) -> Undo:
        arena, label = self._arena, Kind.FREEZE_STORE.label
        arena.disturb_store(label, is_away=False)
        arena.server.freeze()

        def thaw() -> None:
            arena.server.resume()
            arena.store_is_back(label, was_away=False)

        return thaw

    def _disturb_network(self, kind: Kind) -> Undo:
        is_away = kind is Kind.CUT_OFF
        self._arena.disturb_store(kind.label, is_away=is_away)
        for door in self._arena.doors():
            match kind:
                case Kind.CUT_OFF:
                    door.refuse()
                    door.cut()
                case Kind.SILENCE:
                    door.blackhole()
                case Kind.SLOW:
                    door.delay(to_server_s=_SLOW_S, to_client_s=_SLOW_S)
                case _:
                    door.cut()

        def heal() -> None:
            for door in self._arena.doors():
                door.heal()
            self._arena.store_is_back(kind.label, was_away=is_away)

        return heal

    def _cut_off_half(self) -> Undo:
        arena, label = self._arena, Kind.CUT_OFF_HALF.label
        arena.disturb_store(label, is_away=False)
        half = [name for name in self._witness.live() if name.slot % 2]
        self._witness.afflict(label, Harm.UNREGISTERS, half)
        arena.side_door.refuse()
        arena.side_door.cut()

        def heal() -> None:
            arena.side_door.heal()
            for name in half:
                self._witness.relieve(label, name)
            arena.store_is_back(label, was_away=False)

        return heal


def _how_many(kind: Kind, rng: random.Random) -> int:
    match kind:
        case Kind.KILL_SEVERAL | Kind.KILL_DAEMON_IN_BURST:
            return rng.randint(2, 5)
        case Kind.UNREGISTER_HALF:
            return 5
        case Kind.KILL_ALL:
            return 10
        case _:
            return 1
