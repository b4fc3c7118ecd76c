"""What a group needs of this machine: a folder, a user, and the right to what it asks for.

Theory of operation. What only root may give is a mistake for anybody else, told before anything is started and not by a
launch that fails again and again.

Must never know: files of configurations. Limits: root is taken to be able to do everything but to raise `nofile` past
what the kernel takes; what is right here may be wrong on another machine.
"""

from __future__ import annotations

import grp
import os
import pwd
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from autohealer.config.units import nearest
from autohealer.config.unsaid import NOTHING
from autohealer.config.wishes import Wish
from autohealer.launchspec import ResourceLimits, TreeLimits

ID_MAX = 2**31 - 1
NR_OPEN = Path("/proc/sys/fs/nr_open")
OWN_OOM_SCORE_ADJ = Path("/proc/self/oom_score_adj")

_RESOURCES = {
    "nofile": resource.RLIMIT_NOFILE,
    "nproc": resource.RLIMIT_NPROC,
    "core": resource.RLIMIT_CORE,
    "memlock": resource.RLIMIT_MEMLOCK,
    "stack": resource.RLIMIT_STACK,
    "address_space": resource.RLIMIT_AS,
}
_LIMIT_MAX = 2**62
MEMORY_MIN_BYTES = 2**20


def folder_of(wish: Wish) -> Path | None:
    """The folder to run in, as an absolute path; None for the daemon's own, and where there is no such folder."""
    if wish.form.directory is None:
        return None
    path = wish.source_of("directory").folder / wish.form.directory
    if trouble := _trouble_with_folder(path):
        wish.note(f"{path} {trouble}", "directory")
        return None
    return path


def venv_of(wish: Wish) -> Path | None:
    """The virtual environment that is named, as an absolute path; None for none, and where there is none."""
    if wish.form.venv is None:
        return None
    path = wish.source_of("venv").folder / wish.form.venv
    try:
        is_one = os.access(path / "bin" / "python", os.X_OK, effective_ids=True)
    except ValueError:  # a NUL in it
        is_one = False
    if not is_one:
        wish.note(f"{path} is no virtual environment: it has no bin/python that can be run", "venv")
        return None
    return path


def _trouble_with_folder(path: Path) -> str:
    try:
        if path.is_dir():
            is_open = os.access(path, os.X_OK, effective_ids=True)
            return "" if is_open else "may not be entered by this user"
        return "is not a folder" if path.exists() else "does not exist"
    except OSError as error:
        return f"cannot be looked at: {error.strerror}"
    except ValueError:  # a NUL in it
        return "is no name of a folder"


def user_of(wish: Wish) -> str:
    """The user to run as; empty for the daemon's own, and where it cannot be."""
    return _checked(
        wish, "user", _uid_of, os.geteuid(), lambda: [it.pw_name for it in pwd.getpwall()]
    )


def group_of(wish: Wish) -> str:
    """The group to run as; empty for that of the user, and where it cannot be."""
    return _checked(
        wish, "group", _gid_of, os.getegid(), lambda: [it.gr_name for it in grp.getgrall()]
    )


def _checked(
    wish: Wish,
    key: Literal["user", "group"],
    id_of: Callable[[str], int],
    own: int,
    known: Callable[[], list[str]],
) -> str:
    """What a key names, if it is there and may be had; `own` is the daemon's, `known` are all there are."""
    name = wish.form.user if key == "user" else wish.form.group
    if name is None:
        return ""
    try:
        found = id_of(name)
    except (KeyError, ValueError):
        wish.note(f"there is no {key} {name!r} on this machine{nearest(name, known())}", key)
        return ""
    if _is_root():
        return name
    if found != own:
        who = f"{name!r}" if key == "user" else f"group {name!r}"
        wish.note(f"running as {who} needs root, and this is {_own_name()!r}", key)
    return ""


def _uid_of(name: str) -> int:
    return (pwd.getpwuid(int(name)) if _is_id(name) else pwd.getpwnam(name)).pw_uid


def _gid_of(name: str) -> int:
    return (grp.getgrgid(int(name)) if _is_id(name) else grp.getgrnam(name)).gr_gid


def limits_of(wish: Wish) -> ResourceLimits:
    """Limits of each process; those that cannot be given are noted."""
    asked = wish.form.limits or NOTHING
    for key, number in _RESOURCES.items():
        value = getattr(asked, key)
        if value is not None and (trouble := _trouble_with_limit(key, number, value)):
            wish.note(trouble, "limits", key)
    if asked.nice is not None and not _is_root() and asked.nice < _nice_min():
        wish.note(f"a nice below {_nice_min()} needs root", "limits", "nice")
    if asked.oom_score_adj is not None and not _is_root():
        own = int(OWN_OOM_SCORE_ADJ.read_text())
        if asked.oom_score_adj < own:
            wish.note(f"below this one's own, {own}, needs root", "limits", "oom_score_adj")
    return ResourceLimits(
        nofile=asked.nofile,
        nproc=asked.nproc,
        core_bytes=_int(asked.core),
        memlock_bytes=_int(asked.memlock),
        stack_bytes=_int(asked.stack),
        address_space_bytes=_int(asked.address_space),
    )


def tree_limits_of(wish: Wish) -> TreeLimits:
    """Limits of each worker with all it starts; whether they are enforced is for the daemon to say."""
    asked = wish.form.limits or NOTHING
    if asked.memory_max is not None and asked.memory_max < MEMORY_MIN_BYTES:
        wish.note("too small for any program: at least 1MiB", "limits", "memory_max")
    return TreeLimits(_int(asked.memory_max), asked.cpu_max)


def memory_restart_of(wish: Wish) -> int | None:
    """From how much memory on a worker is replaced; more than it may use it never uses."""
    asked = wish.form.limits or NOTHING
    if asked.memory_restart is None:
        return None
    if asked.memory_restart < MEMORY_MIN_BYTES:
        wish.note("too small for any program: at least 1MiB", "limits", "memory_restart")
    elif asked.memory_max is not None and asked.memory_restart >= asked.memory_max:
        wish.note(
            "not below memory_max, at which the kernel ends a worker before it can be replaced",
            "limits",
            "memory_restart",
        )
    return int(asked.memory_restart)


def _trouble_with_limit(key: str, number: int, value: int) -> str:
    _, hard = resource.getrlimit(number)
    if value > _LIMIT_MAX:
        return "more than there can be"
    if key == "nofile" and value > (most := int(NR_OPEN.read_text())):
        return f"{value} is too large: at most {most} on this machine (fs.nr_open)"
    if hard != resource.RLIM_INFINITY and value > hard and not _is_root():
        return f"{value} is above this user's own limit of {hard}, and raising it needs root"
    return ""


def _nice_min() -> int:
    """What a user may choose: not below the present one, but where RLIMIT_NICE says so."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NICE)
    own = os.getpriority(os.PRIO_PROCESS, 0)
    return -20 if soft == resource.RLIM_INFINITY else min(own, 20 - soft)


def _int(value: int | None) -> int | None:
    return None if value is None else int(value)


def _is_id(name: str) -> bool:
    return name.isascii() and name.isdecimal() and len(name) < 11 and int(name) <= ID_MAX


def _is_root() -> bool:
    return os.geteuid() == 0


def _own_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
