"""The durable answer to "why was it restarted?": one JSON line per event, bounded, readable without a daemon.

Theory of operation. An observer appends what ended and why, what was adopted, and what befell the daemon and
its store; one file per group, and one older one when the first is full, so the newest events of every past
daemon are there. An entry is made, last words included, in the round that saw it; it is written by a thread of its
own, in that order, so a full or hanging disk costs lines, never healing. A line cut short by a crash or a full disk
is skipped by the reader.

Must never know: how to heal. Limits: not synced, so a power cut may cost the last lines; a crash of the daemon costs
what waited for the thread.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path

from autohealer.core import events
from autohealer.core.actions import Plan
from autohealer.core.model import Ending, Exit, Incarnation, Obituary, Stop, View
from autohealer.core.reasons import of_epidemic, of_mass_loss
from autohealer.statedir.files import open_private, read_private
from autohealer.telemetry.scribe import Batch, Missing, Scribe

HISTORY_NAME = "history.jsonl"

_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT

LAST_MOMENT_S = 2.0
"""How long the end of the daemon waits for the disk."""


class Cause(str, Enum):  # noqa: UP042 - written to JSON as its value
    """Why an incarnation ended."""

    EXIT_CODE = "exit_code"
    SIGNAL = "signal"
    OUT_OF_MEMORY = "out_of_memory"
    REGISTRATION_TIMEOUT = "registration_timeout"
    REGISTRATION_LOST = "registration_lost"
    FROZEN = "frozen"
    UNHEALTHY = "unhealthy"
    WATCHDOG = "watchdog"
    OPERATOR = "operator"
    SURPLUS = "surplus"
    OUTDATED = "outdated"
    MEMORY = "memory"
    NOT_LAUNCHED = "not_launched"
    UNKNOWN = "unknown"


_OF_ENDING = {
    Ending.STOPPED: Cause.OPERATOR,
    Ending.SURPLUS: Cause.SURPLUS,
    Ending.OUTDATED: Cause.OUTDATED,
    Ending.RESTARTED: Cause.OPERATOR,
    Ending.MEMORY: Cause.MEMORY,
    Ending.NEVER_REGISTERED: Cause.REGISTRATION_TIMEOUT,
    Ending.REGISTRATION_LOST: Cause.REGISTRATION_LOST,
    Ending.UNHEALTHY: Cause.UNHEALTHY,
    Ending.WATCHDOG: Cause.WATCHDOG,
    Ending.FROZEN: Cause.FROZEN,
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One line. `at` is UTC in ISO form; what does not apply to an event is None."""

    at: str
    event: str
    why: str
    daemon_pid: int
    slot: int | None = None
    generation: int | None = None
    pid: int | None = None
    cause: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    lived_s: float | None = None
    was_ready: bool | None = None
    hint: str | None = None
    last_output: tuple[str, ...] = ()


def cause_of(obituary: Obituary) -> Cause:
    """Sort a death: what it was told comes first, because a worker told to end may end in any way."""
    exit_ = obituary.exit
    if exit_ is None:
        return Cause.NOT_LAUNCHED
    if obituary.ending is None:
        return _cause_of_exit(exit_)
    if obituary.ending is Ending.REGISTRATION_LOST and exit_.frozen:
        return Cause.FROZEN
    return _OF_ENDING[obituary.ending]


def _cause_of_exit(exit_: Exit) -> Cause:
    if exit_.oom:
        return Cause.OUT_OF_MEMORY
    if exit_.signal is not None:
        return Cause.SIGNAL
    return Cause.UNKNOWN if exit_.code is None else Cause.EXIT_CODE


class History:
    """An observer of decisions that appends to the group's history file."""

    def __init__(
        self,
        folder: Path,
        limit_bytes: int,
        last_output: Callable[[int], list[str]],
        hint: Callable[[int], str],
        warn: Callable[[str], None],
    ) -> None:
        """`last_output` gives a slot's last lines, `hint` what may be done about its death, or "".

        `warn` is told once when lines are lost, on any thread.
        """
        self._file = _HistoryFile(folder / HISTORY_NAME, limit_bytes, warn)
        self._scribe = Scribe("history", self._file.write)
        self._last_output = last_output
        self._hint = hint
        self._braking = self._ailing = False

    def close(self) -> None:
        """Write what waits, unless the disk hangs."""
        self._scribe.close(LAST_MOMENT_S)

    def __call__(self, facts: Sequence[events.Event], plan: Plan, view: View) -> None:
        """One round."""
        for fact in facts:
            self._note_fact(fact)
        for obituary in view.obituaries:
            self._note_death(obituary, view.now)
        if view.brake.on is not self._braking:
            self._braking = view.brake.on
            why = (
                of_mass_loss(view) if self._braking else "no ready worker's registration is missing"
            )
            self._note("mass_loss" if self._braking else "mass_loss_over", why)
        if view.room.epidemic.on is not self._ailing:
            self._ailing = view.room.epidemic.on
            why = of_epidemic(view) if self._ailing else "nobody fails a health check any more"
            self._note("mass_ailment" if self._ailing else "mass_ailment_over", why)
        if plan.finished:
            detached = view.desired.stop is Stop.DETACH
            self._note(
                "daemon_detached" if detached else "daemon_stopped",
                f"as asked; {len(view.key_of)} workers left running",
            )

    def note(self, event: str, why: str) -> None:
        """Something befell the daemon that no fact tells of."""
        self._note(event, why)

    def _note_fact(self, fact: events.Event) -> None:
        match fact:
            case events.ReplicasSet(replicas):
                self._note("replicas_set", f"{replicas} wanted")
            case events.WorkerAdopted(name, pid, age_s):
                self._note(
                    "adopted",
                    f"alive since {age_s:.1f} s, launched by an earlier daemon",
                    name,
                    pid,
                )
            case events.StoreChanged(store):
                self._note(f"zookeeper_{store.value}", "the daemon's own session")
            case events.TreeResists(name, holdouts):
                self._note("tree_resists", ", ".join(holdouts), name)
            case events.InvariantBroken(violations):
                self._note("invariant_broken", "; ".join(violations))
            case _:
                pass

    def _note_death(self, obituary: Obituary, now: float) -> None:
        occupant = obituary.occupant
        exit_ = obituary.exit or Exit()
        self._append(
            Entry(
                at=_now(),
                event="ended",
                why=obituary.cause,
                daemon_pid=os.getpid(),
                slot=occupant.name.slot,
                generation=occupant.name.generation,
                pid=occupant.pid,
                cause=cause_of(obituary).value,
                exit_code=exit_.code,
                signal=exit_.signal,
                lived_s=round(now - occupant.since, 3),
                was_ready=occupant.ready_at is not None,
                hint=self._hint(occupant.name.slot) or None,
                last_output=tuple(self._last_output(occupant.name.slot)),
            )
        )

    def _note(
        self, event: str, why: str, name: Incarnation | None = None, pid: int | None = None
    ) -> None:
        slot, generation = (None, None) if name is None else name
        self._append(Entry(_now(), event, why, os.getpid(), slot, generation, pid))

    def _append(self, entry: Entry) -> None:
        self._scribe.put(json.dumps({k: v for k, v in asdict(entry).items() if v is not None}))


class _HistoryFile:
    """The file lines are appended to, and its limit; used from the scribe's thread only."""

    def __init__(self, path: Path, limit_bytes: int, warn: Callable[[str], None]) -> None:
        self._path = path
        self._limit_bytes = limit_bytes
        self._warn = warn
        self._warned = False
        self._is_torn = self._ends_torn()

    def write(self, batch: Batch) -> None:
        """Append lines, each with a write of its own: a full disk takes as many as there is room for."""
        for item in batch:
            if isinstance(item, Missing):
                self._complain(f"{item.lines} lines came faster than {self._path} could be written")
            else:
                self._append(f"{item}\n".encode())

    def _append(self, line: bytes) -> None:
        raw = (b"\n" if self._is_torn else b"") + line
        try:
            self._make_room(len(raw))
            descriptor = open_private(self._path, _APPEND)
            try:
                self._is_torn = os.write(descriptor, raw) != len(raw)
            finally:
                os.close(descriptor)
        except OSError as error:
            self._complain(f"{self._path} cannot be written: {error.strerror}")

    def _complain(self, sentence: str) -> None:
        if not self._warned:
            self._warned = True
            self._warn(sentence)

    def _make_room(self, bytes_: int) -> None:
        size = self._path.stat().st_size if self._path.exists() else 0
        if size and size + bytes_ > self._limit_bytes:
            self._path.replace(_older(self._path))
            self._is_torn = False

    def _ends_torn(self) -> bool:
        """Whether a predecessor was ended in the middle of a line."""
        try:
            with os.fdopen(open_private(self._path, os.O_RDONLY), "rb") as file:
                file.seek(-1, os.SEEK_END)
                return file.read(1) != b"\n"
        except OSError:
            return False  # none there yet, or empty


def read_history(folder: Path) -> Iterator[Entry]:
    """The entries of a group's folder, oldest first; lines cut short are skipped. Raises `OSError`."""
    path = folder / HISTORY_NAME
    for file in (_older(path), path):
        if not file.exists():
            continue
        for line in read_private(file).splitlines():
            try:
                fields = json.loads(line)
                yield Entry(**fields | {"last_output": tuple(fields["last_output"])})
            except (ValueError, TypeError, KeyError):
                continue


def _older(path: Path) -> Path:
    return path.with_name(f"{path.name}.1")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
