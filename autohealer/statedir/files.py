"""Open files and make folders that are this user's alone, whatever the umask and whoever was there first.

Theory of operation. A folder may be swapped by whoever can write to the one above it, so folders are checked from the
top down (`folders`); in a folder that passed, only what is planted already can mislead. Therefore nothing is opened
through a symbolic link, nothing is truncated before it is known to be a plain file of ours that has no second name,
and nothing blocks on a pipe. What is ours and too widely open is tightened; what is not ours is refused.

Must never know: what the files are for.
"""

from __future__ import annotations

import errno
import os
import pwd
import stat
from contextlib import suppress
from pathlib import Path

FILE_MODE = 0o600
FOLDER_MODE = 0o700


class NotPrivate(OSError):  # noqa: N818 - says what is the case
    """Something is not this user's alone; `strerror` says what and why, `filename` names it."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(errno.EPERM, f"{path} {why}", str(path))


def open_private(path: Path, flags: int) -> int:
    """A descriptor of a plain file of ours with mode 0600, made if `flags` say so. Raises `OSError`.

    Not inherited over an exec. `O_TRUNC` takes effect once the file is known to be ours.
    """
    descriptor = _open_plain(path, flags)
    try:
        found = os.fstat(descriptor)
        if found.st_uid != os.geteuid():
            raise NotPrivate(path, f"belongs to {name_of_user(found.st_uid)}")
        if found.st_nlink > 1 and flags & (os.O_WRONLY | os.O_RDWR):
            raise NotPrivate(path, "has a second name (a hard link)")
        if stat.S_IMODE(found.st_mode) != FILE_MODE:
            os.fchmod(descriptor, FILE_MODE)
        if flags & os.O_TRUNC:
            os.ftruncate(descriptor, 0)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def read_private(path: Path) -> bytes:
    """All of a plain file that belongs to us or to its folder's owner; changes nothing. Raises `OSError`."""
    with os.fdopen(open_to_read(path), "rb") as file:
        return file.read()


def open_to_read(path: Path) -> int:
    """A descriptor of such a file; not inherited over an exec, changes nothing. Raises `OSError`."""
    descriptor = _open_plain(path, os.O_RDONLY)
    try:
        owner = os.fstat(descriptor).st_uid
        if owner not in {os.geteuid(), path.parent.stat().st_uid}:
            raise NotPrivate(path, f"belongs to {name_of_user(owner)}")
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def replace_private(path: Path, content: bytes) -> None:
    """Put a plain file of ours with mode 0600 in place of an older one, whole or not at all. Raises `OSError`."""
    draft = path.with_name(f"{path.name}.draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(open_private(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
        file.write(content)
    draft.replace(path)


def make_private_folder(path: Path) -> None:
    """Make a folder of ours with mode 0700, or tighten the one there is. Raises `OSError`."""
    with suppress(FileExistsError):
        path.mkdir(mode=FOLDER_MODE)
    found = folder_of_ours(path)
    if stat.S_IMODE(found.st_mode) & 0o777 != FOLDER_MODE:
        path.chmod(FOLDER_MODE)


def folder_of_ours(path: Path) -> os.stat_result:
    """What the kernel says of a folder that belongs to us and is no link. Raises `OSError`."""
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        raise NotPrivate(path, "is a symbolic link")
    if not stat.S_ISDIR(found.st_mode):
        raise NotPrivate(path, "is not a folder")
    if found.st_uid != os.geteuid():
        raise NotPrivate(path, f"belongs to {name_of_user(found.st_uid)}")
    return found


def name_of_user(uid: int) -> str:
    """A user as people know them."""
    try:
        return f"user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"user {uid}"


def _open_plain(path: Path, flags: int) -> int:
    """A descriptor of a plain file; a link is not followed, a pipe not waited for."""
    careful = flags & ~os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    try:
        descriptor = os.open(path, careful, FILE_MODE)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise NotPrivate(path, "is a symbolic link") from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotPrivate(path, "is not a plain file")
    os.set_blocking(descriptor, True)
    return descriptor
