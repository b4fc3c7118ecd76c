"""Clients of the control socket that keep silent, trickle, flood or do not read: the status answers all the same."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest

from autohealer.control import complaints, door, socket_path
from autohealer.control.client import fetch_status, parse_status
from autohealer.control.looks import Looks
from autohealer.control.server import ControlServer
from tests.support.eventually import eventually_async
from tests.unit.control.test_server import NO_COMMANDS, STATUS, answer

WITHIN_S = 20.0


@asynccontextmanager
async def serving(folder: Path, said: list[str]) -> AsyncIterator[ControlServer]:
    """A server that looks after its socket, as the daemon's."""

    async def ours() -> bool:
        return True

    server = ControlServer(folder, answer, NO_COMMANDS, said.append)
    looks = Looks(asyncio.ensure_future, look_s=0.1)
    task = asyncio.ensure_future(server.serve(ours, looks.until_disturbed))
    await eventually_async((folder / socket_path.SOCKET_NAME).exists, within_s=WITHIN_S)
    try:
        yield server
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def descriptors() -> int:
    """How many this process has open."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - numbers


async def answers(folder: Path) -> bool:
    """Whether a client that asks is answered."""
    return parse_status(await asyncio.to_thread(fetch_status, folder)) == STATUS


def is_cut(client: socket.socket) -> bool:
    """Whether the other end closed."""
    client.setblocking(False)
    try:
        while client.recv(65536):
            pass
    except BlockingIOError:
        return False
    except ConnectionError:
        pass
    return True


def test_hundreds_of_silent_clients_cost_neither_status_nor_descriptors(tmp_path: Path) -> None:
    """A script that forgets its connections would make the daemon deaf, and use up its descriptors."""

    async def scene(said: list[str]) -> None:
        async with serving(tmp_path, said):
            before = descriptors()
            clients = [
                await asyncio.to_thread(socket_path.connect, tmp_path, 5.0) for _ in range(200)
            ]
            await eventually_async(
                lambda: sum(not is_cut(client) for client in clients) <= door.OPEN_MAX,
                within_s=WITHIN_S,
            )
            assert descriptors() - before <= len(clients) + door.OPEN_MAX
            assert await answers(tmp_path)
            for client in clients:
                client.close()
            await eventually_async(lambda: descriptors() <= before, within_s=WITHIN_S)

    said: list[str] = []
    asyncio.run(scene(said))
    assert said == ["clients of the control socket keep silent: the oldest made room"]


@pytest.mark.parametrize(
    "request_", [b"", b"GET /v1/st", b"GET /v1/status HTTP/1.1\r\nHost: x\r\n"], ids=len
)
def test_a_client_that_does_not_ask_is_cut_off(
    request_: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a request would keep a connection for ever, however slowly it goes on."""
    monkeypatch.setattr(door, "REQUEST_S", 0.3)

    async def scene() -> None:
        async with serving(tmp_path, []):
            client = await asyncio.to_thread(socket_path.connect, tmp_path, 5.0)
            with client:
                client.sendall(request_)

                def is_cut_while_it_trickles() -> bool:
                    with suppress(ConnectionError, BlockingIOError):
                        client.send(b"a")
                    return is_cut(client)

                # Sooner than aiohttp would, which counts from the last it heard.
                await eventually_async(is_cut_while_it_trickles, within_s=3.0)

    asyncio.run(scene())


def test_an_answer_that_is_not_read_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that asks and never reads would keep its connection and the answer in memory."""
    monkeypatch.setattr(door, "ANSWER_S", 0.3)

    async def scene() -> None:
        async with serving(tmp_path, []):
            before = descriptors()
            client = await asyncio.to_thread(socket_path.connect, tmp_path, 5.0)
            with client:
                body = b"POST /v1/nothing HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n"
                client.sendall(body)
                await eventually_async(lambda: descriptors() == before + 1, within_s=WITHIN_S)

    asyncio.run(scene())


HOSTILE = {
    "garbage": b"\x00\xff" * 500 + b"\r\n\r\n",
    "a huge header": b"GET /v1/status HTTP/1.1\r\nA: " + b"a" * 1_000_000 + b"\r\n\r\n",
    "many headers": b"GET /v1/status HTTP/1.1\r\n" + b"A: b\r\n" * 100_000 + b"\r\n",
    "a huge path": b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\n\r\n",
    "a pipeline": b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n" * 1000,
    "a body": b"POST /v1/status HTTP/1.1\r\nContent-Length: 9999999\r\n\r\n" + b"x" * 1_000_000,
    "the wrong method": b"GET /v1/detach HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("request_", HOSTILE.values(), ids=HOSTILE)
def test_one_connection_gets_one_answer_at_most(request_: bytes, tmp_path: Path) -> None:
    """A hostile client would be served for ever, detach the daemon, or fill the log."""
    said: list[str] = []

    def converse() -> int:
        with socket_path.connect(tmp_path, 10.0) as client:
            received = b""
            with suppress(ConnectionError):
                client.sendall(request_)
            with suppress(ConnectionError):
                while piece := client.recv(65536):
                    received += piece
            return received.count(b"HTTP/1.")

    async def scene() -> None:
        async with serving(tmp_path, said):
            assert await asyncio.to_thread(converse) <= 1
            assert await answers(tmp_path)

    asyncio.run(scene())
    assert len(said) <= 1
    assert all(len(line) < 200 for line in said)


def test_without_descriptors_the_silent_make_room(tmp_path: Path) -> None:
    """At the limit of open files, clients that only keep a connection would keep the daemon there."""
    said: list[str] = []

    async def scene() -> None:
        async with serving(tmp_path, said):
            waiting = await asyncio.to_thread(socket_path.connect, tmp_path, 5.0)
            assert await answers(tmp_path), "who came before is let in by now"
            late = socket.socket(socket.AF_UNIX)
            with waiting, late, no_descriptor_left():
                late.connect(str(tmp_path / socket_path.SOCKET_NAME))
                await eventually_async(lambda: is_cut(waiting), within_s=3.0)

    asyncio.run(scene())
    assert said == ["a client cannot be let in: Too many open files"]


def test_without_descriptors_the_loop_has_its_peace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the limit of open files one client would keep the loop busy, and write thousands of lines a second."""
    monkeypatch.setattr(door, "SHUT_S", 0.2)
    monkeypatch.setattr(complaints, "EVERY_S", 0.0)
    said: list[str] = []

    async def scene() -> None:
        async with serving(tmp_path, said):
            late = socket.socket(socket.AF_UNIX)
            with late:
                with no_descriptor_left():
                    late.connect(str(tmp_path / socket_path.SOCKET_NAME))
                    await eventually_async(lambda: len(said) >= 3, within_s=WITHIN_S)
                assert await answers(tmp_path)

    asyncio.run(scene())
    assert set(said) == {"a client cannot be let in: Too many open files"}
    assert len(said) < 10, "it is tried anew for every turn of the loop"


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """This process at its limit of open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    taken: list[int] = []
    try:
        with suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("how", ["removed", "replaced", "folder removed and made again"])
def test_the_socket_comes_back_when_somebody_removes_it(how: str, tmp_path: Path) -> None:
    """After a cleaner of old files nobody could ask the daemon anything until it is restarted."""
    folder = tmp_path / "web"
    folder.mkdir()
    path = folder / socket_path.SOCKET_NAME

    async def scene() -> None:
        async with serving(folder, []):
            before, inode = descriptors(), path.stat().st_ino
            if how == "folder removed and made again":
                path.unlink()
                folder.rmdir()
                folder.mkdir()
            elif how == "removed":
                path.unlink()
            else:
                path.rename(folder / "aside")
                socket_path.listen(folder).socket.close()
            await eventually_async(lambda: path.exists() and connects(folder), within_s=WITHIN_S)
            assert path.stat().st_ino != inode or how != "removed"
            assert await answers(folder)
            # A second listener that lived on would show as one more.
            await eventually_async(lambda: descriptors() <= before, within_s=WITHIN_S)

    asyncio.run(scene())
    assert not path.exists()


def connects(folder: Path) -> bool:
    """Whether somebody listens."""
    try:
        socket_path.connect(folder, 1.0).close()
    except OSError:
        return False
    return True


def test_another_daemons_socket_is_left_alone(tmp_path: Path) -> None:
    """A daemon whose folder another one took would take that one's socket away."""
    path = tmp_path / socket_path.SOCKET_NAME
    looks = 0

    async def not_ours_any_more() -> bool:
        nonlocal looks
        looks += 1
        return looks == 1

    async def at_once(_is_reachable: object) -> None:
        pass

    async def scene() -> None:
        server = ControlServer(tmp_path, answer, NO_COMMANDS, print)
        task = asyncio.ensure_future(server.serve(not_ours_any_more, at_once))
        await eventually_async(path.exists, within_s=WITHIN_S)
        theirs = socket_path.listen(tmp_path)
        await eventually_async(lambda: looks >= 3, within_s=WITHIN_S)
        assert theirs.is_reachable()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert theirs.is_reachable(), "it is not removed at the end either"
        theirs.socket.close()

    asyncio.run(scene())
