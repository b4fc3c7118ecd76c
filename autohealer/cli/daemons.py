"""Find the daemons of a state directory and ask them; say of those that do not answer what is known all the same.

A lock file names who took it last, with start time and boot, so a dead daemon is known as such and a stopped one is
not waited for. What it left in a state directory is no daemon: only one that lives or answers is.
Workers that run on without a daemon are found by the notes of their launches and by their tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from autohealer.cli.exit_codes import ExitCode
from autohealer.cli.failing import fail
from autohealer.control.client import (
    ANSWER_TIMEOUT_S,
    Answer,
    NoAnswer,
    ask_status,
    parse_status,
)
from autohealer.control.records import StatusRecord
from autohealer.control.socket_path import SOCKET_NAME
from autohealer.printable import printable
from autohealer.processes.census import Census
from autohealer.processes.identity import boot_id, claim_of, is_proven, is_running, leader_among
from autohealer.processes.ledger import Ledger
from autohealer.processes.procfs import Stat, stat_of
from autohealer.settings import SettingsError, group_dir, parse_group
from autohealer.statedir.lock import Holder, holder_of
from autohealer.statedir.secret import SECRET_NAME, read_secret

PIDS_SHOWN = 8
GROUPS_SHOWN = 8


class Refused(Exception):  # noqa: N818 - says what is the case
    """A command cannot do what it was asked; the message is a sentence, `code` what it exits with."""

    def __init__(self, code: ExitCode, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


@dataclass(frozen=True, slots=True)
class Silence:
    """A group of which a daemon that lives says nothing: its pid as it knows itself, and a sentence."""

    pid: int
    sentence: str


@dataclass(slots=True)
class Found:
    """What a state directory's daemons say, who says nothing, and sentences on those that are gone."""

    answers: dict[str, Answer] = field(default_factory=dict)
    silent: list[Silence] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Daemon:
    """One that answers: a folder to reach it by, its pid as we see it, and what it says of each of its groups."""

    folder: Path
    pid: int
    groups: tuple[StatusRecord, ...]

    @property
    def name(self) -> str:
        """Its groups, as they are told of."""
        names = [printable(status.group) for status in self.groups]
        more = f" and {len(names) - GROUPS_SHOWN} more groups" if len(names) > GROUPS_SHOWN else ""
        return ", ".join(names[:GROUPS_SHOWN]) + more

    @property
    def workers(self) -> int:
        """How many processes it holds."""
        return sum(slot.pid is not None for status in self.groups for slot in status.slots)

    @property
    def is_stopping(self) -> bool:
        """Whether all of it is ending."""
        return all(status.stopping for status in self.groups)


def ask_daemons(base: Path, group: str | None) -> Found:
    """Ask one group's daemon, or all there are. Raises `Refused` when there is nothing to tell of."""
    names = group_names(base) if group is None else [checked_group(group)]
    found = Found()
    unanswered = [name for name in names if not _ask(base, name, found)]
    left = _workers_left(base, unanswered) if unanswered else {}
    for name in unanswered:
        has_socket = (group_dir(base, name) / SOCKET_NAME).exists()
        if left[name] or has_socket:
            holder = holder_of(group_dir(base, name))
            found.gone.append(_told_of_gone(name, holder, left[name]))
    if not (found.answers or found.silent or found.gone):
        raise Refused(ExitCode.NO_DAEMON, _nobody(base, group))
    return found


def ask_one_daemon(base: Path, group: str | None) -> Daemon:
    """The one daemon that is meant: the only one, or that which keeps the group. Raises `Refused`."""
    found = ask_daemons(base, group)
    told = _statuses(found)
    meant = {status.daemon_pid for status in told}
    # A group that a daemon is about to keep has no socket yet: the daemon answers for its others.
    if silent := [silence.sentence for silence in found.silent if silence.pid not in meant]:
        raise Refused(ExitCode.NO_DAEMON, silent[0])
    if not found.answers:
        raise Refused(ExitCode.NO_DAEMON, found.gone[0])
    if len(meant) > 1:
        names = ", ".join(found.answers)
        raise Refused(
            ExitCode.USAGE,
            f"there are several groups ({names}): name one with --group",
        )
    name, answer = next(iter(found.answers.items()))
    if group is not None:
        told = _statuses(ask_daemons(base, None))
    of_it = tuple(status for status in told if status.daemon_pid in meant)
    return Daemon(group_dir(base, name), answer.peer.pid or of_it[0].daemon_pid, of_it)


def the_daemon(base: Path, group: str | None) -> Daemon:
    """The daemon that is meant; where it cannot be told the command ends."""
    try:
        return ask_one_daemon(base, group)
    except Refused as error:
        fail(error.code, error)


def _statuses(found: Found) -> list[StatusRecord]:
    return [parse_status(answer.body) for answer in found.answers.values()]


def group_names(base: Path) -> list[str]:
    """Every group that ever ran with a state directory. Raises `Refused` when it may not be looked at."""
    try:
        return sorted(path.name for path in (base / "groups").iterdir() if path.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise Refused(
            ExitCode.ENVIRONMENT, f"the state directory {base} cannot be read: {error.strerror}"
        ) from error


def keeps_anything(base: Path) -> bool:
    """Whether a daemon lives that keeps a group with this state directory. Raises `Refused`."""
    holders = (holder_of(group_dir(base, name)) for name in group_names(base))
    return any(holder is not None and _alive(holder) is not None for holder in holders)


def checked_group(name: str) -> str:
    """A group's name as it was given. Raises `Refused`."""
    try:
        return parse_group(name)
    except SettingsError as error:
        raise Refused(ExitCode.USAGE, str(error)) from error


def _ask(base: Path, name: str, found: Found) -> bool:
    """Put one group's answer, or why there is none from a daemon that lives; false when there is no daemon."""
    folder = group_dir(base, name)
    holder = holder_of(folder)
    daemon = None if holder is None else _alive(holder)
    if holder is not None and daemon is not None and daemon.is_stopped:
        sentence = _told_of_stopped(name, holder.pid, daemon.state)
        found.silent.append(Silence(holder.pid, sentence))
        return True
    try:
        found.answers[name] = ask_status(folder)
    except NoAnswer:
        if holder is None or (daemon := _alive(holder)) is None:
            return False
        sentence = _told_of_silent(folder, holder.pid, daemon.state)
        found.silent.append(Silence(holder.pid, sentence))
    return True


def _alive(holder: Holder) -> Stat | None:
    """The process that took a lock, if it is still there."""
    try:
        stat = stat_of(holder.pid) if holder.boot == boot_id() else None
    except OSError:
        return None
    if stat is None or not stat.is_alive or stat.start_ticks != holder.start_ticks:
        return None
    return stat


def _told_of_stopped(name: str, pid: int, state: str) -> str:
    if state == "t":
        return f"the daemon of group {name!r} (pid {pid}) is held by a debugger ({state})"
    return f"the daemon of group {name!r} (pid {pid}) is stopped ({state}): kill -CONT {pid}"


def _told_of_silent(folder: Path, pid: int, state: str) -> str:
    who = f"the daemon of group {folder.name!r} (pid {pid})"
    if not (folder / SOCKET_NAME).exists():
        return f"{who} runs without its control socket: it is starting, or makes the socket anew within seconds"
    return f"{who} runs (state {state}) but did not answer within {ANSWER_TIMEOUT_S:g} s"


def _told_of_gone(name: str, holder: Holder | None, pids: Sequence[int]) -> str:
    pid = f" (pid {holder.pid})" if holder is not None else ""
    gone = f"the daemon of group {name!r}{pid} is gone"
    if not pids:
        return f"{gone}; no worker of it runs on"
    shown = ", ".join(map(str, pids[:PIDS_SHOWN]))
    more = f" and {len(pids) - PIDS_SHOWN} more" if len(pids) > PIDS_SHOWN else ""
    if len(pids) == 1:
        return f"{gone}; 1 worker runs on (pid {shown}): start it again to adopt it"
    return f"{gone}; {len(pids)} workers run on (pids {shown}{more}): start it again to adopt them"


def _nobody(base: Path, group: str | None) -> str:
    if group is None:
        return f"no daemon runs with the state directory {base}"
    known = ", ".join(group_names(base))
    also = f" (groups that ran there: {known})" if known else ""
    return f"no daemon runs for group {group!r} with the state directory {base}{also}"


def _workers_left(base: Path, names: Sequence[str]) -> Mapping[str, list[int]]:
    """The live workers that this state directory's daemons launched, by group: as noted, or by what they carry."""
    left: dict[str, set[int]] = {name: _noted(group_dir(base, name)) for name in names}
    with suppress(OSError):
        secret = read_secret(base / SECRET_NAME)
        for pids in Census(lambda _pid: False).of_all().by_token.values():
            with suppress(OSError):
                claim = claim_of(pids[0])
                if claim is not None and claim.group in left and is_proven(claim, secret):
                    leader = leader_among(pids, claim)
                    left[claim.group] |= {leader.pid} if leader is not None else set()
    return {name: sorted(pids) for name, pids in left.items()}


def _noted(folder: Path) -> set[int]:
    try:
        launches = Ledger(folder, lambda _sentence: None).read().values()
        return {launch.pid for launch in launches if is_running(launch.pid, launch.start_ticks)}
    except OSError:
        return set()
