"""Ask a running daemon over its control socket."""

from __future__ import annotations

import http.client
import json
import os
import select
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from autohealer.control import socket_path
from autohealer.control.records import ChangeRecord, ReloadRecord, StatusRecord
from autohealer.statedir.files import name_of_user
from autohealer.statedir.lock import Peer, peer_of

ANSWER_TIMEOUT_S = 5.0
"""Ten thousand slots take a second; a daemon that needs longer is not well."""

DETACH_TIMEOUT_S = 30.0

RELOAD_TIMEOUT_S = 30.0
"""A configuration is read in a moment; one reload waits for another."""

CHANGE_REFUSED = frozenset(
    {
        *(http.client.NOT_FOUND, http.client.CONFLICT, http.client.PRECONDITION_FAILED),
        *(http.client.UNPROCESSABLE_ENTITY, http.client.REQUEST_ENTITY_TOO_LARGE),
    }
)
RELOAD_REFUSED = frozenset({http.client.CONFLICT, http.client.UNPROCESSABLE_ENTITY})


class NoAnswer(Exception):  # noqa: N818 - says what is the case
    """No daemon answers at a group's socket; the message says which."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a daemon said, which process it is, and the status of HTTP."""

    body: bytes
    peer: Peer
    status: int = http.client.OK


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of a daemon."""

    method: str
    path: str
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


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
    return _ask(folder, Request("GET", "/v1/status"))


def detach(folder: Path, daemon_pid: int) -> None:
    """Have the daemon end and leave its workers running; returns when its process is gone. Raises `NoAnswer`."""
    _end(folder, daemon_pid, "/v1/detach", DETACH_TIMEOUT_S)


def stop(folder: Path, daemon_pid: int) -> None:
    """Have the daemon end with all its workers; returns when its process is gone. Raises `NoAnswer`."""
    _end(folder, daemon_pid, "/v1/stop", None)


def reload(folder: Path, *, dry_run: bool) -> ReloadRecord:
    """Have the daemon read its configuration again, or only tell what that would change. Raises `NoAnswer`."""
    import pydantic

    request = Request("POST", "/v1/config/plan" if dry_run else "/v1/reload")
    answer = _ask(folder, request, timeout_s=RELOAD_TIMEOUT_S, also=RELOAD_REFUSED)
    return pydantic.TypeAdapter(ReloadRecord).validate_json(answer.body)


class NotDone(Exception):  # noqa: N818 - says what is the case
    """A daemon refused to change something; the message is its sentence, `is_stale`: somebody else was faster."""

    def __init__(self, sentence: str, *, is_stale: bool) -> None:
        super().__init__(sentence)
        self.is_stale = is_stale


def operate(
    folder: Path, method: str, path: str, body: Mapping[str, object], version: int | None
) -> ChangeRecord:
    """Have a group changed, if its changes are of that version still. Raises `NoAnswer`, `NotDone`."""
    import pydantic

    headers = {"Content-Type": "application/json"}
    if version is not None:
        headers["If-Match"] = f'"{version}"'
    request = Request(method, path, json.dumps(body).encode(), headers)
    answer = _ask(folder, request, also=CHANGE_REFUSED)
    if answer.status not in CHANGE_REFUSED:
        return pydantic.TypeAdapter(ChangeRecord).validate_json(answer.body)
    told = pydantic.TypeAdapter(dict[str, object]).validate_json(answer.body)
    raise NotDone(
        str(told.get("detail")), is_stale=answer.status == http.client.PRECONDITION_FAILED
    )


def _end(folder: Path, daemon_pid: int, path: str, within_s: float | None) -> None:
    try:
        process = os.pidfd_open(daemon_pid)
    except ProcessLookupError as error:
        raise NoAnswer(f"the daemon of group {folder.name!r} has just ended") from error
    try:
        _ask(folder, Request("POST", path))
        ended, _, _ = select.select([process], [], [], within_s)
    finally:
        os.close(process)
    if not ended:
        raise NoAnswer(
            f"the daemon with pid {daemon_pid} was asked to detach and still runs after {within_s:g} s"
        )


def _ask(
    folder: Path,
    request: Request,
    *,
    timeout_s: float = ANSWER_TIMEOUT_S,
    also: Collection[int] = (),
) -> Answer:
    """What a daemon answers; `also` are statuses of HTTP that are answers, too. Raises `NoAnswer`."""
    connection = _UnixConnection(folder, timeout_s)
    try:
        connection.connect()
        peer = _trusted(folder, peer_of(connection.sock))
        connection.request(request.method, request.path, request.body, dict(request.headers))
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
    return Answer(body, peer, response.status)


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
