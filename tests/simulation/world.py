"""The world a simulated daemon lives in: a host, a ZooKeeper with sessions, workers that behave or do not.

Theory of operation. Workers are processes of a `FakeHost` that register some time after their birth and hold
their znode by a session: it ends `SESSION_S` after they died or froze (time in which the store is away does not
count), at once after a clean end, or when a fault ends it; who lives and has lost it registers again. A newborn
takes the next `Temper` that a fault has laid out, else it behaves. Everything that becomes true is written into
the history, by the world and never by the daemon.

Must never know: the daemon's view, plans, the oracle.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from autohealer.contract import ZnodeName, encode_record
from autohealer.core.model import Exit, Incarnation
from autohealer.core.policy import Registrar
from tests.simulation.agency import AgentSession
from tests.simulation.anonymity import Sequences
from tests.simulation.witnessed import WitnessedStore
from tests.support.ailments import KNOWN_SICK, SICK, UNFIT
from tests.support.fakehost import KILL, FakeHost, FakeProcess, HostWitness
from tests.support.history import (
    UNPROVABLE,
    BystanderEnded,
    Emptied,
    Ended,
    Fault,
    Harm,
    Launched,
    Record,
    Relief,
    Signalled,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.simulation.luck import Luck
    from tests.simulation.voices import Voices

SESSION_S = 4.0
CLEAN_END_S = 0.003
KNOWN_WITHIN_S = 1.3
"""Whoever asks workers knows of a change within this."""
REJOINS_WITHIN_S = 1.5
"""A live worker whose session has ended registers again within this, well before the daemon's settle time."""


@dataclass(frozen=True, slots=True)
class Temper:
    """How one worker is going to behave."""

    registers_after_s: float | None = 0.2
    dies_after_s: float | None = None
    ignores_term: bool = False
    tree: int = 0
    resists_s: float = 0.0
    lingers: bool = False


class World(HostWitness):
    """What is true, and its history."""

    def __init__(
        self,
        luck: Luck,
        registrar: Registrar = Registrar.SELF,
        *,
        asked: bool = False,
        group: str = "web",
        store: WitnessedStore | None = None,
    ) -> None:
        """`asked`: whether workers are asked for their health; `store`: one that other groups' worlds look at, too."""
        self.luck = luck
        self.group = group
        self.asked = asked
        self.agent = AgentSession(self) if registrar is Registrar.AGENT else None
        self.store = WitnessedStore() if store is None else store
        self.store.worlds.append(self)
        self._sequences = Sequences(self.store.sequence)
        self.names = self._sequences if registrar is Registrar.ANONYMOUS else None
        self.history: list[Record] = []
        self.told: Callable[[Record], None] = lambda _record: None  # hears of all that, too
        self.host = FakeHost(witness=self)
        self.store_up = True
        self.tempers: deque[Temper] = deque()
        self.watch: Callable[[], None] = lambda: None
        self.voices: Voices | None = None
        self._timers = asyncio.get_running_loop()
        self._unregistered: set[Incarnation] = set()
        self._silent_since: dict[Incarnation, float] = {}
        self._overdue: set[Incarnation] = set()
        self._said_term: set[Incarnation] = set()
        self._told: dict[int, bytes] = {}

    @property
    def now(self) -> float:
        """The virtual time."""
        return self._timers.time()

    def tell(self, record: Record) -> None:
        """Write history."""
        self.history.append(record)
        self.told(record)

    def changed(self) -> None:
        """What is registered changed: whoever watches that learns of it."""
        for world in self.store.worlds:
            world.watch()

    def later(self, delay_s: float, act: Callable[[], None]) -> None:
        """Have something happen in a while."""
        self._timers.call_later(delay_s, act)

    # --- what the kernel shows ------------------------------------------------------------------

    def signalled(self, name: Incarnation, process: FakeProcess, number: int) -> None:
        """A daemon sent a signal."""
        self._said_term.add(process.name)
        is_its_own = process.proven and not process.held
        self.tell(
            Signalled(self.now, name, process.name if is_its_own else None, kill=number == KILL)
        )

    def ended(self, process: FakeProcess) -> None:
        """A process is gone; so is its session, soon or at once."""
        if not process.proven:
            self.tell(BystanderEnded(self.now, process.pid))
            return
        self.tell(Ended(self.now, process.name, process.tree, process.exit))
        if process.lingers:
            self.later(self.luck.between(0.1, 15.0, "lingers", process.name), process.kill_rest)
        self._unregistered.discard(process.name)
        if self.agent is not None:
            return
        if process.name in self._said_term and self.store_up:
            self.later(CLEAN_END_S, lambda: self.unregister(process.name))
        self.fall_silent(process.name)

    def emptied(self, process: FakeProcess) -> None:
        """The rest of a tree is gone."""
        self.tell(Emptied(self.now, process.name))

    def born(self, process: FakeProcess) -> None:
        """A daemon launched a worker."""
        temper = self.tempers.popleft() if self.tempers else self._good_temper(process.name)
        name = process.name
        self.tell(Launched(self.now, name, process.pid, process.revision))
        process.ignores_term, process.tree = temper.ignores_term, temper.tree
        process.lingers = temper.lingers
        if temper.resists_s:
            process.resists = True
            self.tell(Fault(self.now, "resists", Harm.IMPAIRS, name))
            self.later(temper.resists_s, lambda: self._give_in(process))
        if self.voices is not None:
            self.voices.born(process)
        if self.asked and self.unfit(process):
            self.later(self.luck.between(0.0, 0.8, "fit", name), lambda: self.fit(process))
        if self.agent is not None:
            pass
        elif temper.registers_after_s is None:
            self.tell(Fault(self.now, "mute", Harm.UNREGISTERS, name))
        elif temper.registers_after_s > 1.0:
            self.tell(Fault(self.now, "slow", Harm.UNREGISTERS, name))
        if temper.registers_after_s is not None and self.agent is None:
            self.later(temper.registers_after_s, lambda: self._come_up(process))
        if temper.dies_after_s is not None:
            self.later(temper.dies_after_s, lambda: self.crash(process))

    def _good_temper(self, name: Incarnation) -> Temper:
        return Temper(registers_after_s=self.luck.between(0.02, 0.4, "registers", name))

    def _give_in(self, process: FakeProcess) -> None:
        process.give_in()
        self.tell(Relief(self.now, "resists", process.name))

    def _come_up(self, process: FakeProcess) -> None:
        if process.alive:
            self.tell(Relief(self.now, "slow", process.name))
        self.register(process)

    # --- what happens to workers ----------------------------------------------------------------

    def workers(self) -> list[FakeProcess]:
        """Every live worker of ours."""
        return [process for process in self.host.running() if process.proven]

    def serving(self) -> list[FakeProcess]:
        """Those that are registered and not frozen."""
        return [p for p in self.workers() if not p.frozen and self.is_registered(p)]

    def crash(self, process: FakeProcess, exit_: Exit | None = None) -> None:
        """A worker ends by itself."""
        if process.alive:
            self.tell(Fault(self.now, "crash", Harm.KILLS, process.name))
            process.die(exit_ or Exit(signal=KILL))

    def freeze(self, process: FakeProcess) -> None:
        """A worker is stopped: its session is not kept any more."""
        process.frozen = True
        if self._sees_frozen:
            self.ails(process)
        if self.agent is not None:
            return
        self.tell(Fault(self.now, "frozen", Harm.UNREGISTERS, process.name))
        self.fall_silent(process.name)

    def thaw(self, process: FakeProcess) -> None:
        """A stopped worker goes on, and finds its session alive or lost."""
        if not (process.alive and process.frozen):
            return
        process.frozen = False
        if self._sees_frozen:
            self.well_again(process)
        if self.agent is not None:
            return
        self._silent_since.pop(process.name, None)
        self._overdue.discard(process.name)
        self.tell(Relief(self.now, "frozen", process.name))
        if process.name in self._unregistered:
            self._rejoin_soon(process)

    def sicken(self, process: FakeProcess) -> bool:
        """A worker fails its liveness probe from now on; false where nobody asks, or it did before."""
        if not self.asked or process.sick or not process.alive:
            return False
        process.sick = True
        self.ails(process)
        return True

    def cure(self, process: FakeProcess) -> None:
        """It answers again."""
        process.sick = False
        self.well_again(process)

    @property
    def _sees_frozen(self) -> bool:
        return self.agent is not None or self.asked

    def ails(self, process: FakeProcess) -> None:
        """There is something to end it for."""
        for kind in (SICK, KNOWN_SICK):
            self.tell(Fault(self.now, kind, Harm.UNREGISTERS, process.name))

    def well_again(self, process: FakeProcess) -> None:
        """Who asks knows of it some time later, and until then ends it with good reason."""
        if process.alive and not self._is_ill(process):
            self.tell(Relief(self.now, SICK, process.name))
            self.later(KNOWN_WITHIN_S, lambda: self._known_to_be_well(process))

    def _known_to_be_well(self, process: FakeProcess) -> None:
        if process.alive and not self._is_ill(process):
            self.tell(Relief(self.now, KNOWN_SICK, process.name))

    def _is_ill(self, process: FakeProcess) -> bool:
        is_late = self.voices is not None and self.voices.is_late(process.name)
        return is_late or process.sick or (process.frozen and self._sees_frozen)

    def unfit(self, process: FakeProcess) -> bool:
        """A worker fails its readiness probe from now on; false where nobody asks, or it did before."""
        if not self.asked or process.unfit or not process.alive:
            return False
        process.unfit = True
        harm = Harm.WITHHOLDS if self.agent is None else Harm.UNREGISTERS
        self.tell(Fault(self.now, UNFIT, harm, process.name))
        return True

    def fit(self, process: FakeProcess) -> None:
        """It can serve."""
        if process.alive:
            self.tell(Relief(self.now, UNFIT, process.name))
        process.unfit = False

    def blind(self, process: FakeProcess) -> None:
        """From now on no other daemon can prove whose a worker is; its registration may, some time."""
        process.unreadable = True
        process.tree = 0
        process.record_proves = self.luck.share("record proves", process.name) < 0.3
        self.tell(Fault(self.now, UNPROVABLE, Harm.IMPAIRS, process.name))

    def unblind(self, process: FakeProcess) -> None:
        """Its registration comes to prove whose it is, or it ends without a proof."""
        if process.alive and not process.frozen and self._comes_to_prove(process):
            process.record_proves = True
            self.lose_session(process, self._back_s(process))
        self.later(REJOINS_WITHIN_S + 1.0, lambda: self._proven_or_over(process))

    def _proven_or_over(self, process: FakeProcess) -> None:
        if process.held or not process.record_proves:
            self.crash(process)
        process.unreadable = False
        self.tell(Relief(self.now, UNPROVABLE, process.name))

    def _comes_to_prove(self, process: FakeProcess) -> bool:
        return self.luck.share("comes to prove", process.name) < 0.5

    def lose_session(self, process: FakeProcess, back_s: float) -> None:
        """A worker's session ends although the worker is well; not of one that only its registration shows."""
        if process.overlooked:
            return
        self.tell(Fault(self.now, "session lost", Harm.UNREGISTERS, process.name))
        self.unregister(process.name)
        self.tell(Relief(self.now, "session lost", process.name))
        self.rejoin_after(process, back_s)

    def rejoin_after(self, process: FakeProcess, delay_s: float) -> None:
        """A worker that lost its session registers again in a while."""
        self.later(delay_s, lambda: self.register(process))

    def _rejoin_soon(self, process: FakeProcess) -> None:
        self.rejoin_after(process, self.luck.between(0.02, 0.3, "rejoins", process.name))

    def _back_s(self, process: FakeProcess) -> float:
        return self.luck.between(0.05, REJOINS_WITHIN_S, "is back", process.name)

    def strange_process(self, pid: int, name: Incarnation) -> FakeProcess:
        """Somebody else's process gets a pid that a worker had."""
        return self.host.run(name, proven=False, pid=pid)

    # --- registrations --------------------------------------------------------------------------

    def is_registered(self, process: FakeProcess) -> bool:
        """Whether its znode is there, and not somebody else's under its name."""
        return self.store.children.get(self._label(process.name)) == self._data_of(process)

    def _label(self, name: Incarnation) -> str:
        """What an incarnation's registration is called."""
        return self.given(name) if self.names is None else self.names.label_of(name)

    def given(self, name: Incarnation) -> str:
        """What the daemon tells an incarnation to register as."""
        return str(ZnodeName(self.group, name.slot, name.generation))

    def name_of(self, label: str) -> Incarnation | None:
        """Whose registration is called so; None where it is none of ours."""
        if self.names is not None:
            return self.names.maker_of(label)
        told = self.store.told_by(label)
        is_ours = told is not None and told.group == self.group
        return Incarnation(told.slot, told.generation) if told and is_ours else None

    def _data_of(self, process: FakeProcess) -> bytes:
        told = self._told.get(process.start)
        if told is None:
            record = replace(self.host.record_of(process), agent=self.agent is not None)
            told = self._told[process.start] = encode_record(record)
        return told

    def register(self, process: FakeProcess) -> None:
        """A worker creates its znode, or does so when it can."""
        if not process.alive or self.is_registered(process) or self.agent is not None:
            return
        if process.frozen or not self.store_up:
            self._unregistered.add(process.name)
            return
        self._unregistered.discard(process.name)
        if self.names is None:
            label, session = self._label(process.name), 0
            self.store.delete(label)
        else:
            label, session = self.names.next_label(process.name)
        self.store.create(label, self._data_of(process), session)
        self.changed()

    def register_foreigner(self) -> str:
        """Somebody else makes a child as workers do; what it is called."""
        label, session = self._sequences.next_label(None)
        self.store.create(label, b"", session)
        self.changed()
        return label

    def register_for(self, name: Incarnation, data: bytes) -> bool:
        """Whether an agent made a znode for a worker that makes none, or has it already."""
        held = self.store.children.get(self.given(name))
        if held is None:
            self.store.create(self.given(name), data)
            self.changed()
        return held in {None, data}

    def unregister(self, name: Incarnation) -> None:
        """A znode goes away with its session; then only a look at processes can show its worker."""
        for process in self.host.running():
            if process.name == name:
                process.overlooked = False
        if self.store.delete(self._label(name)):
            self.changed()

    def fall_silent(self, name: Incarnation) -> None:
        """Nobody keeps a session any more: it ends in time."""
        self._silent_since[name] = since = self.now
        self.later(SESSION_S, lambda: self._expire(name, since))

    def _expire(self, name: Incarnation, since: float) -> None:
        if self._silent_since.get(name) != since:
            return
        if not self.store_up:
            self._overdue.add(name)
            return
        del self._silent_since[name]
        self._note_lost(name)
        self.unregister(name)

    def _note_lost(self, name: Incarnation) -> None:
        """Its owner registers again as soon as it can, if it lives."""
        if any(p.name == name for p in self.workers()):
            self._unregistered.add(name)

    # --- the store ------------------------------------------------------------------------------

    def store_goes(self) -> None:
        """No server answers."""
        self.store_up = False
        for process in self.host.running():
            process.overlooked = False

    def store_returns(self) -> None:
        """Servers answer again: sessions have a whole timeout left, who waited registers."""
        self.store_up = True
        for name in sorted(self._overdue):
            self.fall_silent(name)
        self._overdue.clear()
        for process in self.workers():
            if process.name in self._unregistered:
                self._rejoin_soon(process)
        if self.agent is not None:
            self.agent.reconnected()

    def sessions_end(self, workers: Sequence[FakeProcess]) -> None:
        """The store gives up sessions of workers that are well, which register again; as `lose_session` does."""
        if self.agent is not None:
            self.agent.end()
        for process in workers:
            if process.alive and not process.overlooked and self.is_registered(process):
                self.unregister(process.name)
                if process.frozen:
                    self._unregistered.add(process.name)
                else:
                    self.rejoin_after(process, self._back_s(process))

    def wipe(self) -> None:
        """The store has forgotten everything; what other worlds' workers registered they take away themselves."""
        self.sessions_end(self.workers())
        for label in self.store.of_no_other(self):
            self.store.delete(label)
        self.changed()
