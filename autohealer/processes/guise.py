"""As whom the launching thread launches: another user, another umask, without the rest of the daemon.

Theory of operation. On Linux a user, its groups and a umask are a thread's own; it is the C library that has all
threads change together. So the thread that launches changes itself alone, by system calls of its own, for as long as a
launch takes: its umask once it has parted with the others (`unshare(CLONE_FS)`), and its user. The saved user stays
root meanwhile, which is the way back; an exec overwrites it with the new user, so the worker has none.

Must never know: what is launched. Limits: needs root where it is another user; capabilities that root gave up are not
regained.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from grp import getgrnam
from pwd import getpwnam, getpwuid

_CLONE_FS = 0x200
_NOT_CHANGED = -1
_SYSCALLS = {
    "x86_64": (117, 119, 116),
    "aarch64": (147, 149, 159),
}
"""The numbers of setresuid, setresgid and setgroups: see arch/*/include of the kernel's headers."""

_libc = ctypes.CDLL(None, use_errno=True)


class UnknownUser(LookupError):  # noqa: N818 - says what is the case
    """There is no such user or group; the message says which."""


@dataclass(frozen=True, slots=True)
class Account:
    """Ids to run as; `groups` are the supplementary ones."""

    uid: int
    gid: int
    groups: tuple[int, ...]


def account_of(user: str, group: str) -> Account | None:
    """Who is meant by names or numbers, "" being the daemon's own; None where that is the daemon itself.

    Raises:
        UnknownUser: there is none.
    """
    if not user and not group:
        return None
    uid = _uid_of(user) if user else os.geteuid()
    gid = _gid_of(group) if group else _first_group_of(uid)
    try:
        groups = tuple(os.getgrouplist(getpwuid(uid).pw_name, gid))
    except KeyError:
        groups = (gid,)
    return Account(uid, gid, groups)


@contextmanager
def guise(account: Account | None, umask: int | None) -> Iterator[None]:
    """What the calling thread launches in this block runs as told. Raises `OSError` where that is not allowed."""
    with _worn_umask(umask), _worn_account(account):
        yield


@contextmanager
def _worn_account(account: Account | None) -> Iterator[None]:
    if account is None or account == _own():
        yield
        return
    setresuid, setresgid, setgroups = _numbers()
    own_groups = os.getgroups()
    _call(setgroups, len(account.groups), _array(account.groups))
    try:
        _call(setresgid, account.gid, account.gid, _NOT_CHANGED)
        _call(setresuid, account.uid, account.uid, _NOT_CHANGED)
        yield
    finally:
        _call(setresuid, 0, 0, _NOT_CHANGED)
        _call(setresgid, 0, 0, _NOT_CHANGED)
        _call(setgroups, len(own_groups), _array(own_groups))


def _own() -> Account:
    return Account(os.geteuid(), os.getegid(), tuple(os.getgroups()))


@contextmanager
def _worn_umask(umask: int | None) -> Iterator[None]:
    if umask is None:
        yield
        return
    if _libc.unshare(_CLONE_FS):
        number = ctypes.get_errno()
        raise OSError(number, f"the umask cannot be set for workers alone ({os.strerror(number)})")
    own = os.umask(umask)
    try:
        yield
    finally:
        os.umask(own)


def _numbers() -> tuple[int, int, int]:
    machine = os.uname().machine
    if machine not in _SYSCALLS:
        raise OSError(0, f"another user is not supported on {machine}")
    return _SYSCALLS[machine]


def _call(number: int, *arguments: object) -> None:
    if _libc.syscall(ctypes.c_long(number), *arguments):
        error = ctypes.get_errno()
        raise OSError(error, f"workers cannot be run as that user ({os.strerror(error)})")


def _array(ids: tuple[int, ...] | list[int]) -> ctypes.Array[ctypes.c_uint]:
    return (ctypes.c_uint * len(ids))(*ids)


def _uid_of(user: str) -> int:
    if user.isdecimal():
        return int(user)
    try:
        return getpwnam(user).pw_uid
    except KeyError:
        raise UnknownUser(f"there is no user {user!r}") from None


def _gid_of(group: str) -> int:
    if group.isdecimal():
        return int(group)
    try:
        return getgrnam(group).gr_gid
    except KeyError:
        raise UnknownUser(f"there is no group {group!r}") from None


def _first_group_of(uid: int) -> int:
    try:
        return getpwuid(uid).pw_gid
    except KeyError:
        return uid
