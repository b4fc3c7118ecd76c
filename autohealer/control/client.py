"""Ask a running daemon over its control socket."""

from __future__ import annotations

import http.client
import os
import select
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from autohealer.control import socket_path
from autohealer.control.records import ReloadRecord, StatusRecord
from autohealer.statedir.files import name_of_user
from autohealer.statedir.lock import Peer, peer_of

ANSWER_TIMEOUT_S = 5.0
"""Ten thousand slots take a second; a daemon that needs longer is not well."""

DETACH_TIMEOUT_S = 30.0

RELOAD_TIMEOUT_S = 30.0
"""A configuration is read in a moment; one reload waits for another."""

RELOAD_REFUSED = frozenset({http.client.CONFLICT, http.client.UNPROCESSABLE_ENTITY})


class NoAnswer(Exception):  # noqa: N818 - says what is the case
    """No daemon answers at a group's socket; the message says which."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a daemon said, and which process it is."""

    body: bytes
    peer: Peer


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket: only how to connect differs."""

    def __init__(self, folder: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._folder = folder
        self._timeout_s = timeout_s

    def connect(self) -> None:
        self.sock = socket_path.connect(self._folder, self._timeout_s)


def fetch_status(folder: Path) -> bytes:
    """The status of the group whose folder this is, as JSON. Raises `NoAnswer`."""
    return ask_status(folder).body


def ask_status(folder: Path) -> Answer:
    """The same, with who answered. Raises `NoAnswer`."""
    return _ask(folder, "GET", "/v1/status")


def detach(folder: Path, daemon_pid: int) -> None:
    """Have the daemon end and leave its workers running; returns when its process is gone. Raises `NoAnswer`."""
    _end(folder, daemon_pid, "/v1/detach", DETACH_TIMEOUT_S)


def stop(folder: Path, daemon_pid: int) -> None:
    """Have the daemon end with all its workers; returns when its process is gone. Raises `NoAnswer`."""
    _end(folder, daemon_pid, "/v1/stop", None)


def reload(folder: Path, *, dry_run: bool) -> ReloadRecord:
    """Have the daemon read its configuration again, or only tell what that would change. Raises `NoAnswer`."""
    import pydantic

    path = "/v1/config/plan" if dry_run else "/v1/reload"
    answer = _ask(folder, "POST", path, timeout_s=RELOAD_TIMEOUT_S, also=RELOAD_REFUSED)
    return pydantic.TypeAdapter(ReloadRecord).validate_json(answer.body)


def _end(folder: Path, daemon_pid: int, path: str, within_s: float | None) -> None:
    try:
        process = os.pidfd_open(daemon_pid)
    except ProcessLookupError as error:
        raise NoAnswer(f"the daemon of group {folder.name!r} has just ended") from error
    try:
        _ask(folder, "POST", path)
        ended, _, _ = select.select([process], [], [], within_s)
    finally:
        os.close(process)
    if not ended:
        raise NoAnswer(
            f"the daemon with pid {daemon_pid} was asked to detach and still runs after {within_s:g} s"
        )


def _ask(
    folder: Path,
    method: str,
    path: str,
    *,
    timeout_s: float = ANSWER_TIMEOUT_S,
    also: Collection[int] = (),
) -> Answer:
    """What a daemon answers; `also` are statuses of HTTP that are answers, too. Raises `NoAnswer`."""
    connection = _UnixConnection(folder, timeout_s)
    try:
        connection.connect()
        peer = _trusted(folder, peer_of(connection.sock))
        connection.request(method, path)
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise NoAnswer(f"no daemon answers for group {folder.name!r} ({error})") from error
    finally:
        connection.close()
    if response.status not in {http.client.OK, http.client.ACCEPTED, *also}:
        raise NoAnswer(
            f"the daemon of group {folder.name!r} answered with HTTP status {response.status}"
        )
    return Answer(body, peer)


def _trusted(folder: Path, peer: Peer) -> Peer:
    """The peer, if it is ours or whose folder it is. Raises `NoAnswer`."""
    if peer.uid not in {os.geteuid(), folder.stat().st_uid}:
        raise NoAnswer(
            f"at the socket of group {folder.name!r} listens {name_of_user(peer.uid)}, whose it is not"
        )
    return peer


def parse_status(body: bytes) -> StatusRecord:
    """Read what `fetch_status` brought."""
    import pydantic

    return pydantic.TypeAdapter(StatusRecord).validate_json(body)
