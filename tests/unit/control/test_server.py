"""The control socket: only its owner may open it, however long its path."""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from autohealer.control import socket_path
from autohealer.control.client import NoAnswer, detach, fetch_status, parse_status, reload, stop
from autohealer.control.records import ReloadRecord, StatusRecord
from autohealer.control.server import Commands, ControlServer
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


NO_COMMANDS = Commands(nobody_asks, nobody_asks, refuse)


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

        asked = end_it if asked_for == "detach" else nobody_asks
        server = server_at(
            tmp_path, Commands(asked, end_it if asked_for == "stop" else nobody_asks, refuse)
        )
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
        server = server_at(tmp_path, Commands(nobody_asks, nobody_asks, reload_))
        await server.listen()
        try:
            return await asyncio.to_thread(partial(reload, tmp_path, dry_run=dry_run))
        finally:
            await server.stop()

    assert asyncio.run(ask()) == record
    assert asked == [dry_run]
