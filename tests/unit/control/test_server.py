"""The control socket: only its owner may open it, however long its path."""

from __future__ import annotations

import asyncio
import http.client
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from pathlib import Path

import pytest

from autohealer.control import socket_path
from autohealer.control.client import (
    NoAnswer,
    NotDone,
    detach,
    fetch_status,
    operate,
    parse_status,
    reload,
    stop,
)
from autohealer.control.records import ChangeRecord, ReloadRecord, StatusRecord
from autohealer.control.requests import Asked, Commands, Refused, Scale
from autohealer.control.server import ControlServer
from autohealer.statedir.files import name_of_user
from tests.support.daemon import exists
from tests.support.statuses import STATUS as EMPTY

LINGERS_S = 0.3
"""Long enough that who does not wait is back before."""
STATUS = replace(EMPTY, holds=("launches wait",))


@pytest.fixture
def long_folder(tmp_path: Path) -> Path:
    """A folder whose socket's path does not fit into an address."""
    folder = tmp_path / ("d" * 100) / ("e" * 100)
    folder.mkdir(parents=True)
    return folder


async def answer() -> StatusRecord:
    """What the daemon says of itself."""
    return STATUS


async def refuse(_only_tell: bool) -> ReloadRecord:
    """No configuration is there to be read."""
    return ReloadRecord(refusal="there is none")


def nobody_asks() -> None:
    """The answer to a request that must not come."""
    raise AssertionError("nobody asked for an end")


async def change_nothing(_group: str, _asked: Asked) -> ChangeRecord:
    """The answer to a change that must not come."""
    raise AssertionError("nobody asked for a change")


NO_COMMANDS = Commands(nobody_asks, nobody_asks, refuse, change_nothing)


def server_at(folder: Path, commands: Commands = NO_COMMANDS) -> ControlServer:
    """A server that does not listen yet."""
    return ControlServer(folder, answer, commands, print)


def asked_of(folder: Path) -> StatusRecord:
    """What a client reads while a server serves there."""

    async def ask() -> bytes:
        server = server_at(folder)
        await server.listen()
        try:
            return await asyncio.to_thread(fetch_status, folder)
        finally:
            await server.stop()

    return parse_status(asyncio.run(ask()))


def test_the_status_arrives_as_it_was_given(tmp_path: Path) -> None:
    """`autohealer status` would show something else than the daemon said."""
    assert asked_of(tmp_path) == STATUS


def test_a_long_path_works(long_folder: Path) -> None:
    """In a deep state directory the daemon could not be asked anything."""
    assert len(str(long_folder / socket_path.SOCKET_NAME)) > 107
    assert asked_of(long_folder) == STATUS


def test_only_its_owner_may_open_it(tmp_path: Path) -> None:
    """Every user of the machine could command the daemon."""
    with socket_path.listen(tmp_path).socket:
        mode = (tmp_path / socket_path.SOCKET_NAME).stat().st_mode
        assert mode & 0o777 == 0o600


def test_a_dead_daemons_socket_is_replaced(tmp_path: Path) -> None:
    """After a crash the next daemon could not be asked anything."""
    socket_path.listen(tmp_path).socket.close()
    assert (tmp_path / socket_path.SOCKET_NAME).exists()
    assert asked_of(tmp_path) == STATUS
    assert not (tmp_path / socket_path.SOCKET_NAME).exists()


def test_nobody_there_is_said_with_the_group(tmp_path: Path) -> None:
    """A user would see a traceback where no daemon runs."""
    with pytest.raises(NoAnswer, match="no daemon answers for group 'web'"):
        fetch_status(tmp_path / "web")
    socket_path.listen(tmp_path).socket.close()
    with pytest.raises(NoAnswer, match="no daemon answers for group"):
        fetch_status(tmp_path)


def test_what_is_not_there_is_not_found(tmp_path: Path) -> None:
    """A typing error in a script would look like an answer."""

    async def ask() -> int:
        server = server_at(tmp_path)
        await server.listen()
        try:
            return await asyncio.to_thread(status_code_of, tmp_path, "/v1/stat")
        finally:
            await server.stop()

    assert asyncio.run(ask()) == http.client.NOT_FOUND


@pytest.mark.parametrize(("end", "asked_for"), [(detach, "detach"), (stop, "stop")])
def test_who_ends_a_daemon_waits_for_its_process_to_end(
    tmp_path: Path, end: Callable[[Path, int], None], asked_for: str
) -> None:
    """A script would start the next daemon while the old one still holds the group."""

    async def ask() -> bool:
        stand_in = await asyncio.create_subprocess_exec("sleep", "1000")

        def end_it() -> None:
            asyncio.get_running_loop().call_later(LINGERS_S, stand_in.kill)

        commands = {
            "detach": replace(NO_COMMANDS, detach=end_it),
            "stop": replace(NO_COMMANDS, stop=end_it),
        }
        server = server_at(tmp_path, commands[asked_for])
        await server.listen()
        try:
            await asyncio.to_thread(end, tmp_path, stand_in.pid)
            return stand_in.returncode is not None or not exists(stand_in.pid)
        finally:
            await server.stop()
            await stand_in.wait()

    assert asyncio.run(ask())


def status_code_of(folder: Path, path: str) -> int:
    """The HTTP status of a plain GET."""
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket_path.connect(folder, 10.0)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("dry_run", "record"),
    [
        (True, ReloadRecord(("1 changed",))),
        (False, ReloadRecord(("1 changed",))),
        (False, ReloadRecord(refusal="bad.toml:1:1: no", mistakes=1)),
        (False, ReloadRecord(refusal="there is no file")),
    ],
)
def test_what_a_reload_comes_to_is_told(
    tmp_path: Path, dry_run: bool, record: ReloadRecord
) -> None:
    """Somebody would take a refused reload for one that was done, or one that only tells do it."""
    asked: list[bool] = []

    async def reload_(only_tell: bool) -> ReloadRecord:
        asked.append(only_tell)
        return record

    async def ask() -> ReloadRecord:
        server = server_at(tmp_path, replace(NO_COMMANDS, reload=reload_))
        await server.listen()
        try:
            return await asyncio.to_thread(partial(reload, tmp_path, dry_run=dry_run))
        finally:
            await server.stop()

    assert asyncio.run(ask()) == record
    assert asked == [dry_run]


def asked_to_operate(
    folder: Path, operate_: Callable[[str, Asked], Awaitable[ChangeRecord]], body: object
) -> ChangeRecord:
    """What a client is told that has the group `web` changed."""

    async def ask() -> ChangeRecord:
        server = server_at(folder, replace(NO_COMMANDS, operate=operate_))
        await server.listen()
        try:
            return await asyncio.to_thread(
                operate, folder, "PATCH", "/v1/groups/web", {"replicas": body}, 7
            )
        finally:
            await server.stop()

    return asyncio.run(ask())


def test_a_change_arrives_with_who_asks(tmp_path: Path) -> None:
    """Nobody would know who scaled a group at three in the morning."""
    heard: list[tuple[str, Asked]] = []

    async def operate_(group: str, asked: Asked) -> ChangeRecord:
        heard.append((group, asked))
        return ChangeRecord(group, 8, "done", "but")

    assert asked_to_operate(tmp_path, operate_, 5) == ChangeRecord("web", 8, "done", "but")
    me = name_of_user(os.geteuid())
    assert heard == [("web", Asked(Scale(5), me, 7))]


@pytest.mark.parametrize(
    ("status", "is_stale"),
    [
        (HTTPStatus.PRECONDITION_FAILED, True),
        (HTTPStatus.CONFLICT, False),
        (HTTPStatus.NOT_FOUND, False),
        (HTTPStatus.UNPROCESSABLE_ENTITY, False),
    ],
)
def test_a_refusal_arrives_in_its_own_words(
    tmp_path: Path, status: HTTPStatus, is_stale: bool
) -> None:
    """An operator would read a number in place of the reason."""

    async def operate_(_group: str, _asked: Asked) -> ChangeRecord:
        raise Refused(status, "group 'web' is full")

    with pytest.raises(NotDone, match="group 'web' is full") as told:
        asked_to_operate(tmp_path, operate_, 5)
    assert told.value.is_stale is is_stale


def test_a_body_beyond_all_measure_is_not_read(tmp_path: Path) -> None:
    """Whoever may ask could fill the daemon's memory by mistake."""
    with pytest.raises(NotDone, match="more than 262144 bytes are not read"):
        asked_to_operate(tmp_path, change_nothing, "9" * 300_000)
