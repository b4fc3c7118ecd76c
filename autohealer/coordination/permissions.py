"""Who may do what below the paths that daemons share: words for it, and closing what is open although we have a login.

Theory of operation. What is created with a login is its user's alone. What was there before is not: a znode is deleted
with the permission of the one above it, so as long as that is open anybody can end our registrations. The parent of a
group's claim belongs to that group's daemons, so it is closed when it is met open. `/workers` may be shared with
others who have no login, and closing it would shut them out: it is closed while nobody is registered there, and
otherwise it is said how to.

Must never know: what is registered or claimed. Limits: only what everybody may do counts as open (`world:anyone`).
"""

from __future__ import annotations

from collections.abc import Callable

from kazoo.exceptions import KazooException
from kazoo.protocol.states import ZnodeStat
from kazoo.security import ACL, ANYONE_ID_UNSAFE, Permissions

from autohealer.contract import WORKERS_PATH
from autohealer.coordination.calls import call, name_of
from autohealer.coordination.session import Session
from autohealer.credentials import Login, Scheme

_CHANGES = Permissions.WRITE | Permissions.CREATE | Permissions.DELETE | Permissions.ADMIN


def remedy(session: Session, path: str) -> str:
    """What to do about a path that we may not use as we must; follows a colon."""
    if session.login is None:
        return (
            f"restore its permissions, in zkCli with `setAcl {path} world:anyone:cdrwa`, "
            "or give the user and password of whoever made it with --zookeeper-auth"
        )
    return (
        f"at {_hosts(session)} it is not for the user and password in {session.login.file}: "
        "give those it was made with (--zookeeper-auth), or a chroot of its own (--zookeeper)"
    )


async def close_if_open(session: Session, path: str) -> None:
    """Make a path of our own ours alone; without a login, or where it is not open, nothing happens. Raises kazoo's."""
    if session.login is not None:
        acl, stat = await _read(session, path)
        if _is_open(acl):
            await _close(session, path, stat)


class WorkersGuard:
    """Looks after the permissions of `/workers`; says each thing once in a daemon's life, on the loop's thread."""

    def __init__(self, session: Session, said: Callable[[str], None]) -> None:
        self._session = session
        self._said = said
        self._told: set[str] = set()
        self._path = f"{session.client.chroot}{WORKERS_PATH}"

    async def look(self) -> None:
        """Close it or say how to, if we have a login and it is open."""
        login = self._session.login
        if login is None:
            return
        try:
            acl, stat = await _read(self._session, WORKERS_PATH)
            if not _is_open(acl):
                return
            if stat.numChildren == 0:
                await _close(self._session, WORKERS_PATH, stat)
                return
        except KazooException:
            return  # the list says what may not be read, and each new connection looks again
        self._say(
            f"anybody can delete registrations, because {self._path} in ZooKeeper at {_hosts(self._session)} is open "
            f"to everybody: close it, in zkCli with {_closing(login, self._path)}"
        )

    def deletion_refused(self, error: Exception) -> None:
        """A dead worker's registration may not be deleted."""
        self._say(
            f"registrations of dead workers cannot be deleted from {self._path} ({name_of(error)}), so they stay until "
            f"their sessions end: {remedy(self._session, self._path)}"
        )

    def _say(self, sentence: str) -> None:
        if sentence not in self._told:
            self._told.add(sentence)
            self._said(sentence)


def _hosts(session: Session) -> str:
    return session.connection.partition("/")[0]


def _closing(login: Login, path: str) -> str:
    if login.scheme is Scheme.DIGEST:
        return f"`addauth digest USER:PASSWORD` and `setAcl {path} auth::cdrwa`"
    return f"`setAcl {path} sasl:{login.user}:cdrwa`"


def _is_open(acl: list[ACL]) -> bool:
    return any(entry.id == ANYONE_ID_UNSAFE and entry.perms & _CHANGES for entry in acl)


async def _read(session: Session, path: str) -> tuple[list[ACL], ZnodeStat]:
    match await call(session.client.get_acls_async, path):
        case (list() as acl, ZnodeStat() as stat):
            return acl, stat
        case answer:
            raise TypeError(f"kazoo answers with a list and a stat, not {answer!r}")


async def _close(session: Session, path: str, seen: ZnodeStat) -> None:
    """Unless the permissions have changed since they were seen."""
    client = session.client
    await call(client.set_acls_async, path, client.default_acl, version=seen.aversion)
