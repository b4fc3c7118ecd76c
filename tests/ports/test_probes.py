"""Questions to real servers and real commands, well and ill behaved."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from autohealer.core.model import Incarnation
from autohealer.healthspec import ExecTarget, HttpTarget, ProbeTarget, TcpTarget
from autohealer.launchspec import LaunchSpec
from autohealer.probes.answers import Answer
from autohealer.probes.asking import Ran, ask
from autohealer.processes.beside import Beside
from autohealer.processes.launch import Launcher
from autohealer.processes.output import OutputFiles
from autohealer.processes.procfs import all_pids, raw_environment_of
from autohealer.processes.reaper import Reaper
from tests.support.eventually import eventually_async
from tests.support.ports import free_port

NAME = Incarnation(3, 7)
TIMEOUT_S = 5.0
SHORT_S = 0.3
WITHIN_S = 20.0

Reply = Callable[[bytes, asyncio.StreamWriter], object]


class NoCommands:
    """Where none is to be run."""

    async def run(self, name: Incarnation, argv: tuple[str, ...]) -> Ran:
        """Never."""
        raise AssertionError(f"{argv} is to be run beside {name}")


@asynccontextmanager
async def server(*replies: bytes, hangs: bool = False) -> AsyncIterator[tuple[int, list[bytes]]]:
    """One that answers each request with the next of `replies`, the last one again; what it was asked."""
    asked: list[bytes] = []
    under_way: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        under_way.add(asyncio.current_task())
        with suppress(OSError, asyncio.IncompleteReadError):
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(replies[min(len(asked), len(replies)) - 1])
            await writer.drain()
            if hangs:
                await reader.read()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield listening.sockets[0].getsockname()[1], asked
        await eventually_async(
            lambda: all(task is None or task.done() for task in under_way), within_s=WITHIN_S
        )


async def http(port: int, path: str = "/", timeout_s: float = TIMEOUT_S) -> Answer:
    """The answer of this machine's port."""
    return await asked_of(HttpTarget(f"http://127.0.0.1:{{port}}{path}"), port, timeout_s)


async def asked_of(target: ProbeTarget, port: int, timeout_s: float = TIMEOUT_S) -> Answer:
    """The answer of a worker with that port."""
    return await ask(target, NAME, {"port": str(port), "slot": "3"}, timeout_s, NoCommands())


def status(code: int, *headers: str, body: bytes = b"") -> bytes:
    """A whole answer."""
    lines = [f"HTTP/1.1 {code} Whatever", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


@pytest.mark.parametrize("code", [200, 204, 299, 304, 399])
async def test_from_200_to_399_is_well(code: int) -> None:
    """A worker that answers as it should would be restarted."""
    async with server(status(code)) as (port, asked):
        assert (await http(port, "/ready?deep=1")).is_well
    assert asked[0].startswith(b"GET /ready?deep=1 HTTP/1.1\r\n")
    assert b"Connection: close" in asked[0]


@pytest.mark.parametrize("code", [100 + 98, 400, 404, 500, 503])
async def test_anything_else_is_told(code: int) -> None:
    """A worker that says it is broken would count as well."""
    async with server(status(code)) as (port, _):
        answer = await http(port)
    assert not answer.is_well
    if code >= 200:
        assert answer.why == f"GET http://127.0.0.1:{port}/ answered {code}"


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (b"", "was not answered: the connection was closed"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "was answered with something that is not HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 4000, "bytes of headers"),
        (b"HTTP/1.1 200 OK\r\nx: y\r\n", "was not answered"),
    ],
)
async def test_what_is_no_answer_is_told(reply: bytes, why: str) -> None:
    """Whatever listens on a port would count as the worker."""
    async with server(reply) as (port, _):
        answer = await http(port)
    assert not answer.is_well
    assert why in answer.why


async def test_a_megabyte_is_not_read() -> None:
    """A thousand workers that answer with megabytes would fill the daemon's memory and time."""
    async with server(status(200, body=b"x" * (1 << 20)), hangs=True) as (port, _):
        assert (await http(port, timeout_s=SHORT_S)).is_well


async def test_one_that_hangs_has_failed_after_its_timeout() -> None:
    """A frozen worker would keep a question open for ever."""
    for reply in (b"", b"HTTP/1.1 200 OK\r\n", status(200, "Content-Length: 5")):
        async with server(reply, hangs=True) as (port, _):
            answer = await http(port, timeout_s=SHORT_S)
        assert answer.why == f"GET http://127.0.0.1:{port}/ did not answer within {SHORT_S:g} s"


async def test_one_that_refuses_is_told() -> None:
    """A worker that does not listen would be told of in Python's words, or not at all."""
    port = free_port()
    assert (await http(port)).why == f"GET http://127.0.0.1:{port}/: connection refused"
    tcp = await asked_of(TcpTarget("127.0.0.1:{port}"), port)
    assert tcp.why == f"a connection to 127.0.0.1:{port}: connection refused"


async def test_who_listens_is_well_by_tcp() -> None:
    """A program that speaks no HTTP could not be asked."""
    async with server(b"") as (port, _):
        assert (await asked_of(TcpTarget("127.0.0.1:{port}"), port)).is_well


async def test_a_redirect_is_followed_on_the_same_host_only() -> None:
    """A health page that moved would count whatever it says; or a stranger would be asked for a worker's health."""
    async with server(status(302, "Location: /there"), status(500)) as (port, asked):
        assert (await http(port)).why == f"GET http://127.0.0.1:{port}/there answered 500"
        assert len(asked) == 2
    async with server(status(302, "Location: http://elsewhere.invalid/")) as (port, asked):
        assert (await http(port)).is_well
        assert len(asked) == 1
    async with server(status(301, "Location: /")) as (port, asked):
        assert "redirected 10 times" in (await http(port)).why


async def test_a_server_without_tls_is_told_from_one_that_is_not_there() -> None:
    """Who wrote https by mistake would read a version number and a line of a C file."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(status(400))
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        answer = await asked_of(HttpTarget("https://127.0.0.1:{port}/"), port)
    address = f"https://127.0.0.1:{port}/"
    assert answer.why == f"GET {address}: it does not speak TLS: say http instead of https"


async def test_a_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker's health would be that of a proxy."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    async with server(status(200)) as (port, _):
        assert (await http(port)).is_well


# --- commands ------------------------------------------------------------------------------------


@asynccontextmanager
async def beside(folder: Path, directory: str = "") -> AsyncIterator[Beside]:
    """What runs commands as a worker is run."""
    reaper = Reaper(asyncio.get_running_loop())
    reaper.start()
    launch = LaunchSpec(
        ("/bin/sleep", "60"), environment=(("COLOUR", "green"),), directory=directory
    )
    output = OutputFiles(folder / "output", 1 << 20, pytest.fail)
    launcher = Launcher(launch, dict(os.environ), "web", b"secret", output)
    running = Beside(lambda: launcher, reaper)
    try:
        yield running
    finally:
        running.close(1.0)
        reaper.close()


async def by_command(running: Beside, script: str, timeout_s: float = TIMEOUT_S) -> Answer:
    """The answer of a shell."""

    class Commands:
        async def run(self, name: Incarnation, argv: tuple[str, ...]) -> Ran:
            done = await running.run(name, argv)
            return Ran(done.exit.code, done.exit.signal, done.last_line)

    target = ExecTarget(("/bin/sh", "-c", script))
    return await ask(target, NAME, {"slot": "3"}, timeout_s, Commands())


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("exit 0", ""),
        ("exit 3", "/bin/sh exited with code 3"),
        (
            "echo one; echo 'it is {slot} \033[31m'; exit 1",
            "/bin/sh exited with code 1: it is 3 \\x1b[31m",
        ),
        ("kill -9 $$", "/bin/sh was ended by signal 9"),
        ("yes | head -c 500000; exit 0", ""),
        ("yes | head -c 500000; echo last; exit 5", "/bin/sh exited with code 5: last"),
        ("sleep 0.3; echo late; exit 6", "/bin/sh exited with code 6: late"),
        ('test "$COLOUR-$AUTOHEALER_SLOT" = green-3 && test -z "$AUTOHEALER_TOKEN"', ""),
        ('test "$PWD" = /tmp', ""),
    ],
)
async def test_a_command_is_run_as_the_worker_is(tmp_path: Path, script: str, why: str) -> None:
    """It would fail for want of what the worker has, or be taken for the worker."""
    async with beside(tmp_path, directory="/tmp") as running:
        answer = await by_command(running, script)
    assert (answer.is_well, answer.why) == (not why, why)


async def test_many_commands_at_once_are_told_apart(tmp_path: Path) -> None:
    """A worker would be ended for what another one's health command said."""
    scripts = [f"echo {number}; exit {number}" for number in range(40)]
    async with beside(tmp_path) as running:
        done = await asyncio.gather(
            *(running.run(NAME, ("/bin/sh", "-c", script)) for script in scripts)
        )
    assert [(it.exit.code, it.last_line) for it in done] == [(n, str(n)) for n in range(40)]


async def test_a_command_that_is_missing_is_told(tmp_path: Path) -> None:
    """The daemon would end of it."""
    async with beside(tmp_path) as running:
        with pytest.raises(FileNotFoundError):
            await running.run(NAME, ("/nonexistent/check",))


async def test_a_command_that_hangs_is_killed_with_all_it_started(tmp_path: Path) -> None:
    """Each period would leave processes behind, until there is no room for any."""
    mark = f"CHECK_{time.monotonic_ns()}"
    script = f"export {mark}=1; setsid sh -c 'setsid sleep 99 & sleep 98' & sleep 97"

    def alive() -> list[int]:
        return [pid for pid in all_pids() if mark.encode() in (raw_environment_of(pid) or b"")]

    async with beside(tmp_path) as running:
        asking = asyncio.ensure_future(by_command(running, script, timeout_s=1.0))
        await eventually_async(lambda: len(alive()) >= 3, within_s=WITHIN_S)
        assert (await asking).why == "/bin/sh did not answer within 1 s"
        await eventually_async(lambda: not alive(), within_s=WITHIN_S, view=alive)


async def test_what_a_command_leaves_in_its_group_goes_with_it(tmp_path: Path) -> None:
    """A check that forgets a process in the background would fill the machine with them."""
    async with beside(tmp_path) as running:
        done = await running.run(NAME, ("/bin/sh", "-c", "sleep 99 & echo $!"))
        pid = int(done.last_line)

        def is_gone() -> bool:
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                return True
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"

        await eventually_async(is_gone, within_s=WITHIN_S)
