"""Make and check the folders of the state directory, from the root of the file system down.

Theory of operation, as ssh and sudo have it. Whoever can write to a folder can swap what is in it, so every folder
on the way to the state directory, and every link on that way, must belong to root or to us, and must not be writable
by others; a folder like /tmp, in which only an entry's owner may move it, will do, because the entry is looked at
next. Then nobody but us can change what was checked. The state directory itself and all below it must be ours; below
it there are no links.

The user's own group counts as the user, and a user that this user namespace does not know as root: neither can be
told from somebody harmless, and both are what containers and common umasks make.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

from autohealer.statedir.files import (
    FOLDER_MODE,
    NotPrivate,
    folder_of_ours,
    make_private_folder,
    name_of_user,
)

LINKS_MAX = 40
"""As many links on a way as the kernel follows."""

OUR_ENTRIES = ("groups", "secret", "zkserver-")
"""What is in a state directory; a folder that holds anything else is not only that."""

WRITABLE_BY_GROUP, WRITABLE_BY_ALL = 0o020, 0o002


class StateDirUnusable(Exception):  # noqa: N818 - says what is the case
    """The state directory will not do; the message is a sentence for the operator."""


def prepare(base: Path, group: str) -> Path:
    """The folder of a group, made and checked with all above and below it. Raises `StateDirUnusable`."""
    folder = group_folder(base, group)
    try:
        real = _walk(base)
        _check_base(real)
        for path in (folder.parent, folder, folder / "output", *_server_folders(real)):
            make_private_folder(path)
    except OSError as error:
        raise unusable(base, error) from error
    return folder


def group_folder(base: Path, group: str) -> Path:
    """Where a group's lock, socket, history and output are."""
    return base / "groups" / group


def unusable(base: Path, error: OSError) -> StateDirUnusable:
    """The one sentence for whatever is wrong with a state directory."""
    remedy = "make it yours alone" if isinstance(error, NotPrivate) else "make it writable"
    return StateDirUnusable(
        f"the state directory {base} cannot be used ({error.strerror}): "
        f"{remedy}, or name another with --state-dir"
    )


def _walk(base: Path) -> Path:
    """The way to `base` without links, each step checked, what is missing made. Raises `OSError`."""
    done, ahead, links = Path("/"), list(reversed(base.parts[1:])), 0
    _check_step(done, done.lstat())
    while ahead:
        part = ahead.pop()
        if part == "..":
            done = done.parent
            continue
        step = done / part
        found = _look_or_make(step)
        if stat.S_ISLNK(found.st_mode):
            links += 1
            _check_owner(step, found)
            if links > LINKS_MAX:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            target = step.readlink()
            done = Path("/") if target.is_absolute() else done
            ahead += [name for name in reversed(target.parts) if name != "/"]
            continue
        if ahead:
            _check_step(step, found)
        done = step
    return done


def _look_or_make(step: Path) -> os.stat_result:
    try:
        return step.lstat()
    except FileNotFoundError:
        make_private_folder(step)
        return step.lstat()


def _check_step(path: Path, found: os.stat_result) -> None:
    """Nobody but root and us can swap what is in this folder."""
    if not stat.S_ISDIR(found.st_mode):
        raise NotPrivate(path, "is not a folder")
    _check_owner(path, found)
    if not found.st_mode & stat.S_ISVTX:
        _check_writers(path, found)


def _check_owner(path: Path, found: os.stat_result) -> None:
    if found.st_uid not in {0, os.geteuid()} and not _is_unmapped(found.st_uid):
        raise NotPrivate(path, f"belongs to {name_of_user(found.st_uid)}, who could swap it")


def _check_writers(path: Path, found: os.stat_result) -> None:
    if found.st_mode & WRITABLE_BY_ALL:
        raise NotPrivate(path, "can be written to by everybody")
    if found.st_mode & WRITABLE_BY_GROUP and not _is_private_group(found.st_gid):
        raise NotPrivate(path, f"can be written to by the group {_name_of_group(found.st_gid)}")


def _check_base(real: Path) -> None:
    """The state directory is ours; one that is nothing else is tightened, another's use is not changed."""
    found = folder_of_ours(real)
    if stat.S_IMODE(found.st_mode) & 0o777 == FOLDER_MODE:
        return
    if all(entry.startswith(OUR_ENTRIES) for entry in _entries(real)):
        real.chmod(FOLDER_MODE)
    else:
        _check_writers(real, found)


def _entries(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def _server_folders(real: Path) -> Iterator[Path]:
    return (real / name for name in _entries(real) if name.startswith("zkserver-"))


def _is_private_group(gid: int) -> bool:
    """Whether a group is nobody's but this user's, as far as the group's file tells."""
    try:
        group = grp.getgrgid(gid)
    except KeyError:
        return True  # nobody is a member by name
    try:
        me = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return False
    return group.gr_name == me and set(group.gr_mem) <= {me}


def _name_of_group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _is_unmapped(uid: int) -> bool:
    """Whether this is what the kernel shows in place of every user our user namespace does not know."""
    try:
        overflow = int(Path("/proc/sys/kernel/overflowuid").read_text(encoding="ascii"))
        mapped = Path("/proc/self/uid_map").read_text(encoding="ascii").split()
    except OSError:
        return False
    return uid == overflow and mapped != ["0", "0", "4294967295"]
