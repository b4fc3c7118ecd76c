"""What the control interface says, as typed records: the JSON of `autohealer status --json`, field by field."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SlotRecord:
    """One slot. Every fact comes with its age in seconds; None where it was never observed.

    `ready` is true only when the worker is registered by a fresh list, its process lives and is not stopped.
    `registration` is present, absent or unknown; `health` is what the process was doing when asked. `hint` is what may
    be done about the last death, where that was recognised and nothing is ready since. `revision` names what the worker
    was launched from, `outdated` says that another one is wanted by now. `child` is the
    child of `/workers` that is its registration, where the program chose that name. `not_ready` are the conditions that
    keep a live worker from being ready, each in words, `ailing` what it is to be ended for, if anything; `says` is what
    it last said of itself (STATUS=). `address` is where it serves as its registration says, or `:PORT`, the port that
    it was given. `stopped_by` and `stopped_at` (UTC in ISO form) tell who stopped the slot, and when.
    """

    slot: int
    phase: str
    phase_age_s: float
    ready: bool
    pid: int | None
    pid_age_s: float | None
    generation: int
    adopted: bool
    registration: str
    registration_age_s: float | None
    health: str
    health_age_s: float | None
    rss_bytes: int | None
    cpu_s: float | None
    restarts: int
    failures: int
    reason: str
    next_try_s: float | None
    hint: str = ""
    revision: str = ""
    outdated: bool = False
    child: str = ""
    not_ready: tuple[str, ...] = ()
    ailing: str = ""
    says: str = ""
    address: str = ""
    stopped_by: str = ""
    stopped_at: str = ""


@dataclass(frozen=True, slots=True)
class StrangerRecord:
    """A registration nobody here launched."""

    name: str
    standing: str
    pid: int | None
    host: str


@dataclass(frozen=True, slots=True)
class ReloadRecord:
    """What a reload did, or would do: a line for each difference; or why nothing was done.

    `refusal` is a sentence, or several lines, one for each of `mistakes` in the configuration and some of its text.
    """

    lines: tuple[str, ...] = ()
    refusal: str = ""
    mistakes: int = 0


@dataclass(frozen=True, slots=True)
class ChangeRecord:
    """What an operator's change did, in words, and the version of the group's changes since.

    `warning` is a sentence where there is something wrong with it all the same.
    """

    group: str
    version: int
    did: str
    warning: str = ""


@dataclass(frozen=True, slots=True)
class StatusRecord:
    """One daemon's answer. `holds` is what is held back and why, `notes` what else the operator should know.

    `desired` workers are to be alive; `declared` is how many the configuration wants, `replicas` how many slots there
    are to be, those that an operator stopped included. `changes` is the version of what operators changed.

    `at` is the time of day to which all ages belong, UTC in ISO form. `v` is the version of this form: it grows when a
    field goes or means something else. Fields may be added at any time.
    """

    group: str
    daemon_pid: int
    version: str
    zookeeper: str
    store: str
    store_age_s: float | None
    desired: int
    ready: int
    stopping: bool
    holds: tuple[str, ...]
    slots: tuple[SlotRecord, ...]
    strangers: tuple[StrangerRecord, ...]
    notes: tuple[str, ...] = ()
    daemon_age_s: float | None = None
    at: str = ""
    declared: int = 0
    replicas: int = 0
    changes: int = 0
    v: int = 1
