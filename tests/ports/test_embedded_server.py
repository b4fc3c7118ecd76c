"""What the daemon relies on in the server it brings along, asked of real ones on real ports."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil
import pytest

from autohealer.contract import adoption_token
from autohealer.embedded import decider
from autohealer.embedded.facts import Event, Listener, Say
from autohealer.embedded.folder import ServerFolder
from autohealer.embedded.keeper import EmbeddedServer, ServerUnavailable
from autohealer.embedded.leftovers import Leftovers
from autohealer.embedded.probe import EMBEDDED_MARK, Seen, check_user, clients_of, who_listens
from autohealer.processes.companion import ENV_COMPANION, Companion
from autohealer.processes.reaper import Reaper
from tests.support.daemon import exists
from tests.support.eventually import eventually, eventually_async
from tests.support.otheruser import STRANGER, socket_of
from tests.support.ports import HOST, free_port
from tests.support.servers import four_letter_word

WITHIN_S = 30.0
SECRET = b"secret"
Leave = Callable[..., int]
"""Starts a server in a folder, with a token of its own or another one; its pid."""


def companion(
    reaper: Reaper, folder: ServerFolder, on_end: Callable[[int, float], None]
) -> Companion:
    """The server's process, as the daemon has it."""
    return Companion(
        argv=(
            *(sys.executable, "-m", "autohealer.zkserver", "--port", str(folder.port)),
            *("--data-dir", str(folder.data), "--log", str(folder.log)),
        ),
        environment=os.environ,
        token=adoption_token(SECRET, f"zkserver:{folder.port}"),
        pid_note=folder.pid_note,
        reaper=reaper,
        on_end=on_end,
    )


@dataclass
class Desk:
    """What one daemon would have: a reaper, and what was said."""

    state_dir: Path
    reaper: Reaper
    said: list[Say] = field(default_factory=list)

    def server(self, port: int) -> EmbeddedServer:
        """A server that is kept on a port."""
        folder = ServerFolder(self.state_dir, port)
        return EmbeddedServer(folder, partial(companion, self.reaper), self.said.append)

    def has_said(self, event: Event) -> bool:
        """Whether the log has such a line."""
        return any(say.event is event for say in self.said)


@asynccontextmanager
async def desk_in(state_dir: Path) -> AsyncIterator[Desk]:
    """A reaper for a block."""
    reaper = Reaper(asyncio.get_running_loop())
    reaper.start()
    try:
        yield Desk(state_dir, reaper)
    finally:
        reaper.close()


@asynccontextmanager
async def kept(
    server: EmbeddedServer, *, may_give_up: bool = True
) -> AsyncIterator[EmbeddedServer]:
    """A server that is kept for a block and taken down at its end."""
    try:
        await server.start(may_give_up=may_give_up, patience_s=0.2)
        yield server
    finally:
        await server.stop()


def answers(port: int) -> bool:
    """Whether a ZooKeeper is there."""
    return four_letter_word(f"{HOST}:{port}", "ruok") == "imok"


@pytest.fixture
def leave() -> Iterator[Leave]:
    """Leaves servers running whose daemon is gone; they are ended after the test."""
    folders: list[ServerFolder] = []

    def left(folder: ServerFolder, token: str | None = None, options: tuple[str, ...] = ()) -> int:
        folders.append(folder)
        folder.data.mkdir(parents=True)
        token = token or adoption_token(SECRET, f"zkserver:{folder.port}")
        argv = (sys.executable, "-m", "autohealer.zkserver", "--port", str(folder.port))
        pid = os.posix_spawn(
            sys.executable,
            (*argv, "--data-dir", str(folder.data), "--log", str(folder.log), *options),
            os.environ | {ENV_COMPANION: f"{token}:0"},  # nobody has this launcher's pid
        )
        eventually(lambda: answers(folder.port), within_s=WITHIN_S)
        return pid

    yield left
    for process in psutil.process_iter(["cmdline"]):
        if any(str(folder.data) in (process.info["cmdline"] or ()) for folder in folders):
            process.kill()


# --- hanging, obstructed ----------------------------------------------------------------------


async def test_a_server_that_begins_to_hang_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing would be concluded from registrations any more, until somebody ends the server by hand."""
    port = free_port()
    monkeypatch.setattr(decider, "SILENT_LOOKS", 1)
    async with desk_in(tmp_path) as desk, kept(desk.server(port)) as server:
        hanging = server.pid
        assert hanging is not None
        os.kill(hanging, signal.SIGSTOP)
        server.session_changed(is_connected=False)
        await eventually_async(lambda: server.pid not in {None, hanging}, within_s=WITHIN_S)
        await eventually_async(lambda: answers(port), within_s=WITHIN_S)


@pytest.mark.parametrize("is_silent", [True, False])
async def test_a_taken_port_is_tried_again_until_it_is_free(
    tmp_path: Path, *, is_silent: bool
) -> None:
    """Workers whose port somebody took while no daemon ran would stay without a store for ever."""
    with socket.create_server((HOST, 0)) as stranger:
        port = stranger.getsockname()[1]
        answering = asyncio.ensure_future(_say_hello(stranger, is_silent=is_silent))
        async with desk_in(tmp_path) as desk:
            async with kept(desk.server(port), may_give_up=False):
                obstructed = partial(desk.has_said, Event.OBSTRUCTED)
                await eventually_async(obstructed, within_s=WITHIN_S)
                answering.cancel()
                stranger.close()
                await eventually_async(lambda: answers(port), within_s=WITHIN_S)
            assert [say.event for say in desk.said].count(Event.OBSTRUCTED) == 1


async def _say_hello(stranger: socket.socket, *, is_silent: bool) -> None:
    """Answer whoever comes, or let it wait."""
    if not is_silent:
        await _say(stranger, b"hello")


async def _say(listener: socket.socket, answer: bytes) -> None:
    """Answer whoever comes, and is gone before or asks."""
    listener.setblocking(False)
    loop = asyncio.get_running_loop()
    while True:
        client, _ = await loop.sock_accept(listener)
        with client, suppress(ConnectionError):
            client.sendall(answer)
            client.shutdown(socket.SHUT_WR)
            client.setblocking(False)
            await loop.sock_recv(client, 64)  # closed with something unread, it would be a reset


async def test_a_taken_port_is_one_sentence_where_nobody_depends_on_it(tmp_path: Path) -> None:
    """Somebody who starts for the first time would wait for a port that is not coming."""
    with socket.create_server((HOST, 0)) as stranger:
        port = stranger.getsockname()[1]
        async with desk_in(tmp_path) as desk:
            server = desk.server(port)
            with pytest.raises(ServerUnavailable, match=f"port {port} is taken by something"):
                await server.start(may_give_up=True, patience_s=0.0)
            await server.stop()


async def test_a_server_that_cannot_start_is_launched_ever_more_seldom_and_said_once(
    tmp_path: Path,
) -> None:
    """A damaged journal would mean a launch, and a line, every few milliseconds."""
    port = free_port()
    folder = ServerFolder(tmp_path, port)
    folder.data.mkdir(parents=True)
    damaged = folder.data / "journal-0000000001"
    damaged.write_bytes(b"no journal at all")
    async with desk_in(tmp_path) as desk, kept(desk.server(port), may_give_up=False):
        await eventually_async(partial(desk.has_said, Event.DIED), within_s=WITHIN_S)
        told = [say for say in desk.said if say.event is Event.DIED]
        assert "is corrupt at offset 0" in told[0].why
        damaged.unlink()
        await eventually_async(lambda: answers(port), within_s=WITHIN_S)
        assert [say for say in desk.said if say.event is Event.DIED] == told


async def test_without_a_thread_it_is_said_once_and_tried_again(tmp_path: Path) -> None:
    """A machine out of threads for a moment would leave the workers without a store for good."""
    port, loop = free_port(), asyncio.get_running_loop()
    (useless := ThreadPoolExecutor()).shutdown()
    loop.set_default_executor(useless)  # fails as one does that cannot start a thread
    async with desk_in(tmp_path) as desk, kept(desk.server(port), may_give_up=False):
        await eventually_async(partial(desk.has_said, Event.UNSEEN), within_s=WITHIN_S)
        loop.set_default_executor(ThreadPoolExecutor())
        await eventually_async(lambda: answers(port), within_s=WITHIN_S)
        assert [say.event for say in desk.said].count(Event.UNSEEN) == 1


# --- who answers for it -----------------------------------------------------------------------


async def test_two_daemons_share_one_server_and_one_answers_for_it(tmp_path: Path) -> None:
    """Both would end it, the first under the second's workers, or launch one each."""
    port = free_port()
    async with desk_in(tmp_path) as desk, kept(desk.server(port)) as first:
        second = desk.server(port)
        await second.start(may_give_up=True, patience_s=0.0)
        assert second.pid is None
        await second.stop()
        assert first.pid is not None
        assert exists(first.pid)


async def test_a_server_whose_daemon_died_is_adopted_by_one_of_two(
    tmp_path: Path, leave: Leave
) -> None:
    """Two daemons that start at once after a crash would both take it over, and the first to end would end it."""
    port = free_port()
    left = leave(ServerFolder(tmp_path, port))
    async with desk_in(tmp_path) as desk:
        first, second = desk.server(port), desk.server(port)
        await asyncio.gather(*(s.start(may_give_up=True, patience_s=0) for s in (first, second)))
        assert [first.pid, second.pid].count(left) == 1
        await asyncio.gather(first.stop(), second.stop())
        assert not exists(left)


async def test_a_server_left_with_other_options_is_replaced(tmp_path: Path, leave: Leave) -> None:
    """`--zookeeper-open`, given or taken away at a reload, would have no effect and nobody would say so."""
    port = free_port()
    left = leave(ServerFolder(tmp_path, port), options=("--open-to-all",))
    async with desk_in(tmp_path) as desk, kept(desk.server(port)) as server:
        await eventually_async(lambda: server.pid not in {None, left}, within_s=WITHIN_S)
        await eventually_async(lambda: answers(port), within_s=WITHIN_S)
        assert desk.has_said(Event.OUTDATED)
        assert not desk.has_said(Event.ADOPTED)


async def test_a_server_whose_daemon_died_meanwhile_goes_with_the_last_one(
    tmp_path: Path, leave: Leave
) -> None:
    """Two daemons share a server, the one that answers for it crashes, the other stops: it would stay for ever."""
    port = free_port()
    async with desk_in(tmp_path) as desk:
        other = ServerFolder(tmp_path, port)
        assert other.claim()
        left = leave(other)
        server = desk.server(port)
        await server.start(may_give_up=True, patience_s=0.0)
        assert server.pid is None
        other.disclaim()  # as the kernel does for who dies
        await server.stop()
        assert not exists(left)


async def test_a_server_of_somebody_else_is_never_ended(tmp_path: Path, leave: Leave) -> None:
    """Somebody's own server on the very data directory would be ended with the daemon that used it."""
    port = free_port()
    foreign = leave(ServerFolder(tmp_path, port), token="of another state directory")
    async with desk_in(tmp_path) as desk:
        async with kept(desk.server(port)) as server:
            assert server.pid is None
        assert exists(foreign)


# --- what earlier daemons left ----------------------------------------------------------------


async def test_a_server_on_another_port_stays_while_it_has_a_client(
    tmp_path: Path, leave: Leave
) -> None:
    """Workers of an earlier daemon would lose their store because the next one uses another; or it stays for ever."""
    port = free_port()
    left = leave(ServerFolder(tmp_path, port))
    async with desk_in(tmp_path) as desk:
        leftovers = Leftovers(
            partial(companion, desk.reaper), lambda _, say: desk.said.append(say), look_s=0.05
        )
        with socket.create_connection((HOST, port)) as client:
            await leftovers.start(tmp_path, in_use=1)
            await eventually_async(partial(desk.has_said, Event.ADOPTED), within_s=WITHIN_S)
            assert await clients_of(port) == 1
            client.settimeout(0.5)
            with pytest.raises(TimeoutError):  # for ten looks the server does not go
                await asyncio.to_thread(client.recv, 1)
            assert exists(left)
        await eventually_async(lambda: not exists(left), within_s=WITHIN_S)
        await leftovers.stop()


async def test_a_server_on_another_port_is_ended_with_the_daemon(
    tmp_path: Path, leave: Leave
) -> None:
    """A daemon that is stopped before it looked would leave it."""
    port = free_port()
    left = leave(ServerFolder(tmp_path, port))
    async with desk_in(tmp_path) as desk:
        leftovers = Leftovers(
            partial(companion, desk.reaper), lambda _, say: desk.said.append(say), look_s=600.0
        )
        await leftovers.start(tmp_path, in_use=None)
        await leftovers.stop()
        assert not exists(left)
        assert desk.has_said(Event.ENDED)


# --- asking a port ----------------------------------------------------------------------------


async def test_a_port_is_told_for_what_it_is(tmp_path: Path) -> None:
    """A web server would be taken for ZooKeeper, or a free port for a taken one."""
    port = free_port()
    assert (await who_listens(port)).listener is Listener.NOBODY
    async with desk_in(tmp_path) as desk, kept(desk.server(port)):
        assert (await who_listens(port)).listener is Listener.EMBEDDED
    with socket.create_server((HOST, 0)) as stranger:
        port = stranger.getsockname()[1]
        answering = asyncio.ensure_future(_say_hello(stranger, is_silent=False))
        assert (await who_listens(port)).listener is Listener.STRANGER
        answering.cancel()
        assert (await who_listens(port)).listener is Listener.SILENT


def test_a_server_that_dies_before_it_is_looked_at_is_no_stranger() -> None:
    """A server killed in the midst of a look at it would be told of as a program that is not ZooKeeper."""
    with socket.create_server((HOST, 0)) as server:
        asking = socket.create_connection(server.getsockname())
        dying, _ = server.accept()
    with asking:
        dying.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        dying.close()  # a reset, as the kernel sends for a killed process
        with pytest.raises(ConnectionResetError):
            check_user(asking)


async def test_a_port_of_another_user_is_foreign_whatever_it_says(tmp_path: Path) -> None:
    """Whoever took the port first and answers like our server would be taken for it."""
    with socket_of(STRANGER) as stranger:
        stranger.bind((HOST, 0))
        stranger.listen()
        port = stranger.getsockname()[1]
        answering = asyncio.ensure_future(_say(stranger, EMBEDDED_MARK + b" Zookeeper version"))
        assert await who_listens(port) == Seen(Listener.FOREIGN, f"user {STRANGER}")
        assert await clients_of(port) is None
        async with desk_in(tmp_path) as desk:
            server = desk.server(port)
            with pytest.raises(ServerUnavailable, match=f"of user {STRANGER}, which is not tr"):
                await server.start(may_give_up=True, patience_s=0.0)
            await server.stop()
        answering.cancel()


async def test_an_impostor_in_an_outage_is_told_and_outlasted(tmp_path: Path) -> None:
    """Somebody who takes the port while the server restarts would be the registry from then on."""
    port = free_port()
    async with desk_in(tmp_path) as desk, kept(desk.server(port), may_give_up=False) as server:
        await eventually_async(lambda: answers(port), within_s=WITHIN_S)
        assert server.pid is not None
        with socket_of(STRANGER) as impostor:
            impostor.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            os.kill(server.pid, signal.SIGKILL)
            await eventually_async(partial(_is_bound, impostor, port), within_s=WITHIN_S)
            answering = asyncio.ensure_future(_say(impostor, EMBEDDED_MARK))
            await eventually_async(partial(desk.has_said, Event.OBSTRUCTED), within_s=WITHIN_S)
            answering.cancel()
        (told,) = (say.why for say in desk.said if say.event is Event.OBSTRUCTED)
        assert f"of user {STRANGER}" in told
        await eventually_async(lambda: answers(port), within_s=WITHIN_S)


def _is_bound(impostor: socket.socket, port: int) -> bool:
    try:
        impostor.bind((HOST, port))
    except OSError:
        return False
    impostor.listen()
    return True


async def test_being_short_of_descriptors_is_no_answer() -> None:
    """A daemon short of descriptors would take its own server for a stranger."""
    program = (
        "import asyncio, resource, sys\n"
        "from autohealer.embedded.probe import who_listens\n"
        "async def main():\n"
        "    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))\n"
        "    try:\n"
        "        print(await who_listens(1))\n"
        "    except OSError as error:\n"
        "        print(error.strerror)\n"
        "asyncio.run(main())\n"
    )
    run = await asyncio.to_thread(
        subprocess.run, (sys.executable, "-c", program), capture_output=True, text=True, check=False
    )
    assert "Too many open files" in run.stdout, run.stderr
