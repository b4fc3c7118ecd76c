"""What this state directory's daemons launched, kept over their deaths: which process each incarnation is.

Theory of operation. A worker's environment proves who it is, until the worker overwrites it (a process title), may not
be looked at (other user, not dumpable), or cannot tell the worker from what it started. So every launch is noted: pid,
start time, boot and pid namespace name one process for ever, and the state directory is ours alone. A line is appended
by a thread of its own, because a disk may hang; what was launched in the instant before a crash may be missing, and
for that the other proofs are there. When a daemon starts, the file is written anew with what still lives.

Must never know: which of them should live. Limits: not synced, for a power cut ends the processes too.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue

from autohealer.core.model import Incarnation
from autohealer.processes.identity import boot_id
from autohealer.processes.procfs import own_pid_namespace
from autohealer.statedir.files import read_private

LEDGER_NAME = "launched.jsonl"
ENTRIES_MAX = 2000
"""Lines between two rewrites; a worker's is some 150 bytes."""


@dataclass(frozen=True, slots=True)
class Launch:
    """One incarnation's process; `revision` is what it was launched from, "" where that is not known."""

    name: Incarnation
    pid: int
    start_ticks: int
    revision: str = ""


class Ledger:
    """The notes of one group; written by a thread that starts with the first note."""

    def __init__(self, folder: Path, warn: Callable[[str], None]) -> None:
        """`warn` is told once when notes are lost, on whatever thread."""
        self._path = folder / LEDGER_NAME
        self._warn = warn
        self._warned = False
        self._scope = (boot_id(), own_pid_namespace())
        self._live: dict[Incarnation, Launch] = {}
        self._lines = 0
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._writer: threading.Thread | None = None

    def read(self) -> dict[Incarnation, Launch]:
        """What was launched in this boot and pid namespace and noted, dead or alive. Raises `OSError`."""
        try:
            lines = read_private(self._path).splitlines()
        except FileNotFoundError:
            return {}
        launches = (self._parse(line) for line in lines)
        self._live = {launch.name: launch for launch in launches if launch is not None}
        return dict(self._live)

    def revision_of(self, name: Incarnation) -> str:
        """What an incarnation was launched from, as far as it was noted."""
        return self._live[name].revision if name in self._live else ""

    def begin(self, launches: Iterable[Launch]) -> None:
        """Forget all but these, of whom a revision that was noted is kept."""
        self._live = {
            launch.name: replace(launch, revision=launch.revision or self.revision_of(launch.name))
            for launch in launches
        }
        self._rewrite()

    def note(self, launch: Launch) -> None:
        """Remember a launch."""
        self._live[launch.name] = launch
        self._lines += 1
        if self._lines > ENTRIES_MAX + len(self._live):
            self._rewrite()
        else:
            line = self._line(launch)
            self._do(lambda: self._append(line))

    def forget(self, name: Incarnation) -> None:
        """An incarnation is gone; its line goes with the next rewriting."""
        self._live.pop(name, None)

    def close(self, within_s: float) -> None:
        """Write what is noted, as far as the time goes."""
        if self._writer is not None:
            self._jobs.put(None)
            self._writer.join(within_s)
            self._writer = None

    # --- the file -----------------------------------------------------------------------------

    def _line(self, launch: Launch) -> bytes:
        boot, pidns = self._scope
        slot, generation = launch.name
        fields = {"slot": slot, "generation": generation, "pid": launch.pid}
        fields |= {"start": launch.start_ticks, "pidns": pidns}
        told = fields | {"boot": boot, "revision": launch.revision}
        return json.dumps(told, separators=(",", ":")).encode() + b"\n"

    def _parse(self, line: bytes) -> Launch | None:
        """One line; None for another boot's or namespace's, and for one cut short by a crash."""
        try:
            fields = json.loads(line)
            if (fields["boot"], fields["pidns"]) != self._scope:
                return None
            name = Incarnation(int(fields["slot"]), int(fields["generation"]))
            revision = str(fields.get("revision", ""))  # an earlier version noted none
            return Launch(name, int(fields["pid"]), int(fields["start"]), revision)
        except (ValueError, TypeError, KeyError):
            return None

    def _rewrite(self) -> None:
        content = b"".join(self._line(launch) for launch in self._live.values())
        self._lines = len(self._live)
        self._do(lambda: self._replace(content))

    def _replace(self, content: bytes) -> None:
        draft = self._path.with_name(f"{self._path.name}.new")
        draft.unlink(missing_ok=True)
        with open(draft, "xb", opener=_private) as file:
            file.write(content)
        draft.replace(self._path)

    def _append(self, line: bytes) -> None:
        with open(self._path, "ab", opener=_private) as file:
            file.write(line)

    # --- the thread ---------------------------------------------------------------------------

    def _do(self, job: Callable[[], None]) -> None:
        if self._writer is None:
            writer = threading.Thread(target=self._write, name="ledger", daemon=True)
            try:
                writer.start()
            except RuntimeError as error:  # no thread can be had now; the next note tries again
                self._complain(str(error))
                return
            self._writer = writer
        self._jobs.put(job)

    def _write(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except OSError as error:
                self._complain(f"{self._path} cannot be written: {error.strerror}")

    def _complain(self, sentence: str) -> None:
        """Say it once; a full disk would otherwise fill the log too."""
        if not self._warned:
            self._warned = True
            self._warn(sentence)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
