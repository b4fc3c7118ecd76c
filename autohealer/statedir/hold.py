"""One group's part of the state directory, held by a daemon for as long as it lives, and made anew when it is removed.

Theory of operation. The daemon's lock is compared with what the path names now. Where they differ somebody removed
the folder under us: everything is made again, with the same secret, because the workers that live were launched with
it. If another daemon holds the lock that is there by then, it is not fought with: it is said, and looked at again.

Limits: looking takes system calls that wait for the disk, so it is not for the loop's thread.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from autohealer.statedir.folders import StateDirUnusable, group_folder, prepare, unusable
from autohealer.statedir.lock import (
    LOCK_NAME,
    AlreadyRunning,
    Holder,
    hold_lock,
    hold_name,
    is_same_file,
)
from autohealer.statedir.secret import SECRET_NAME, load_secret, put_secret


@dataclass(frozen=True, slots=True)
class Sight:
    """What a look found: whether the folder is ours, and a sentence when there is something new to say."""

    is_ours: bool
    news: str | None = None


class Hold:
    """The folder, lock and secret of one group; closing it lets the next daemon in."""

    def __init__(self, base: Path, group: str, me: Holder) -> None:
        """Make, check and take everything.

        Raises:
            AlreadyRunning: another daemon keeps the group.
            StateDirUnusable: the state directory cannot be used.
        """
        self._base = base
        self._group = group
        self._me = me
        self.folder = group_folder(base, group)
        self._said: str | None = None
        self._is_closed = False
        self._name: socket.socket | None
        self._name, self.nameless = hold_name(self.folder, group)
        try:
            self._lock = self._take()
            self.secret = self._load()
        except BaseException:
            self._release_name()
            raise

    def is_whole(self) -> bool:
        """Whether nothing was removed. Raises `OSError` when that cannot be told."""
        kept = (self.folder / "output", self._base / SECRET_NAME)
        return is_same_file(self._lock, self.folder / LOCK_NAME) and all(map(os.path.lexists, kept))

    def look(self) -> Sight:
        """Whether the folder is still ours; what was removed is made again."""
        try:
            if self.is_whole():
                return self._seen(is_ours=True, sentence=None)
            self._make_again()
            knows_workers = load_secret(self._base / SECRET_NAME) == self.secret
        except (StateDirUnusable, AlreadyRunning) as error:
            return self._seen(is_ours=False, sentence=f"it was removed, and now {error}")
        except OSError as error:
            return self._seen(is_ours=False, sentence=str(unusable(self._base, error)))
        lost = (
            ""
            if knows_workers
            else "; another secret is there by now, so the next daemon will not adopt these workers"
        )
        self._said = None
        return Sight(
            is_ours=True,
            news=f"{self.folder} was removed, or something in it, while it was in use: made anew{lost}",
        )

    def give_up(self) -> None:
        """Let go of the group while this daemon lives on: nobody is told any more that it keeps it."""
        with suppress(OSError):
            os.ftruncate(self._lock, 0)
        self.close()

    def close(self) -> None:
        """Let go of the group, if that is not done yet."""
        if not self._is_closed:
            self._is_closed = True
            os.close(self._lock)
            self._release_name()

    def _seen(self, *, is_ours: bool, sentence: str | None) -> Sight:
        """Say a sentence once, not at every look."""
        is_new = sentence is not None and sentence != self._said
        self._said = sentence
        return Sight(is_ours, sentence if is_new else None)

    def _make_again(self) -> None:
        prepare(self._base, self._group)
        if not is_same_file(self._lock, self.folder / LOCK_NAME):
            taken = hold_lock(self.folder, self._group, self._me)
            os.close(self._lock)
            self._lock = taken
        put_secret(self._base / SECRET_NAME, self.secret)

    def _take(self) -> int:
        folder = prepare(self._base, self._group)
        try:
            return hold_lock(folder, self._group, self._me)
        except OSError as error:
            raise unusable(self._base, error) from error

    def _load(self) -> bytes:
        try:
            return load_secret(self._base / SECRET_NAME)
        except OSError as error:
            os.close(self._lock)
            raise unusable(self._base, error) from error

    def _release_name(self) -> None:
        if self._name is not None:
            self._name.close()
