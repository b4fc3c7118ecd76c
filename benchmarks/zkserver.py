"""The embedded server beside Apache ZooKeeper, in one run: requests, watches, idle sessions, start-up.

Run `python -m benchmarks.zkserver [--rounds 3] [--requests 10000] [--sessions 1000] [--seconds 20] [--json]`.

Theory of operation. One client for both servers: a blocking socket, requests packed beforehand, so
that little but the server is measured. `sync` waits for each reply, `pipelined` keeps up to 512
requests under way. The servers take turns, round by round, and medians are compared. Durability is
on the same footing twice: *no fsync* (Apache with `forceSync=no`, ours as it comes: both survive the
death of the server, not a power cut) and *fsync* (Apache as it comes, ours with `--fsync`).
Then many sessions idle, each pinging three times per timeout; then each watches one node and one
change is made, timed from the request to the last event. Start-up is timed from just before the
exec until a session is granted (Apache says `imok` before that), from compiled modules, with nothing
to read and with 5,000 nodes.

Limits: client and server share the machine. For start-up Apache's JVM gets the options that make it
start fastest; for everything else its usual compiler and one warm-up round.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autohealer.zkserver.protocol import OPEN_ACL, Op
from autohealer.zkserver.wire import (
    pack_acl,
    pack_bool,
    pack_buffer,
    pack_frame,
    pack_int,
    pack_long,
    pack_text,
)
from benchmarks.idle import measure
from benchmarks.lab import compiled_environment, say
from tests.support.apache import ApacheZooKeeper, apache_is_installed
from tests.support.embedded import EmbeddedZooKeeper
from tests.support.ports import HOST
from tests.support.servers import ServerProcess, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

OURS, APACHE = "embedded", "apache"
WINDOW, CHUNK = 512, 64
NODE_COUNT = 5_000
SESSION_TIMEOUT_MS = 10_000
DATA = b"x" * 100
WITHIN_S = 60.0
ATTEMPT_S = 0.1
"""Apache may accept a connection while it starts and never answer on it."""

_CONNECT = pack_int(0) + pack_long(0) + pack_int(SESSION_TIMEOUT_MS) + pack_long(0)
CONNECT_FRAME = pack_frame(_CONNECT + pack_buffer(bytes(16)) + pack_bool(False))  # noqa: FBT003
CONNECTED_BYTES = 41
PING_FRAME = pack_frame(pack_int(-2) + pack_int(Op.PING))
PINGS_PER_TIMEOUT = 3


@dataclass
class Line:
    """One row of the table; `target` is a bound on ours, or on the ratio if `of_ratio`."""

    name: str
    unit: str
    target: str = ""
    bound: float | None = None
    of_ratio: bool = False
    values: dict[str, list[float]] = field(default_factory=lambda: {OURS: [], APACHE: []})

    def median(self, kind: str) -> float:
        """The middle of the rounds."""
        return statistics.median(self.values[kind])

    @property
    def ratio(self) -> float | None:
        """Ours as a multiple of Apache's."""
        theirs = self.median(APACHE)
        return self.median(OURS) / theirs if theirs else None

    @property
    def verdict(self) -> str:
        """Whether the target is met; empty when there is none."""
        if self.bound is None:
            return ""
        if self.of_ratio:
            return "met" if self.ratio is not None and self.ratio >= self.bound else "MISSED"
        return "met" if self.median(OURS) < self.bound else "MISSED"

    def figures(self) -> dict[str, Any]:
        """Everything, for `--json`."""
        medians = {kind: round(self.median(kind), 3) for kind in self.values}
        ratio = None if self.ratio is None else round(self.ratio, 3)
        given = {"target": self.target, "verdict": self.verdict, "rounds": self.values}
        return {"name": self.name, "unit": self.unit, **medians, "ratio": ratio, **given}


class Ours(EmbeddedZooKeeper):
    """The embedded server, as it comes or with fsync."""

    def __init__(self, data_dir: Path, *, fsync: bool = False) -> None:
        super().__init__(data_dir)
        self._fsync = fsync

    def _command(self) -> Sequence[str]:
        return (*super()._command(), *(["--fsync"] if self._fsync else []))

    def command(self) -> Sequence[str]:
        """What runs it."""
        return self._command()


class Apache(ApacheZooKeeper):
    """Apache ZooKeeper, with or without fsync, its compiler for speed or for a fast start."""

    def __init__(self, data_dir: Path, *, fsync: bool = False, starts_fast: bool = False) -> None:
        super().__init__(data_dir)
        self._options = [] if fsync else ["-Dzookeeper.forceSync=no"]
        self._starts_fast = starts_fast

    def _command(self) -> Sequence[str]:
        java, *rest = super()._command()
        slow = () if self._starts_fast else ("-XX:TieredStopAtLevel=1",)
        return (java, *self._options, *(option for option in rest if option not in slow))

    def command(self) -> Sequence[str]:
        """What runs it."""
        return self._command()


class Client:
    """One session on a blocking socket; every reply is checked for its error code."""

    def __init__(self, port: int) -> None:
        self._socket = open_session(port)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._stream = self._socket.makefile("rb")

    def close(self) -> None:
        """Hang up; the session expires by itself."""
        self._stream.close()
        self._socket.close()

    def sync(self, frames: Sequence[bytes]) -> float:
        """Send each after the reply to the one before; returns requests per second."""
        began = time.perf_counter()
        for frame in frames:
            self._socket.sendall(frame)
            self._take_reply()
        return len(frames) / (time.perf_counter() - began)

    def pipelined(self, frames: Sequence[bytes]) -> float:
        """Keep many under way; returns requests per second."""
        chunks = [b"".join(frames[at : at + CHUNK]) for at in range(0, len(frames), CHUNK)]
        began, taken = time.perf_counter(), 0
        for number, chunk in enumerate(chunks, 1):
            self._socket.sendall(chunk)
            while number * CHUNK - taken > WINDOW:
                self._take_reply()
                taken += 1
        while taken < len(frames):
            self._take_reply()
            taken += 1
        return len(frames) / (time.perf_counter() - began)

    def _take_reply(self) -> None:
        body = self._stream.read(int.from_bytes(self._stream.read(4), "big"))
        if len(body) < 16 or body[12:16] != b"\0\0\0\0":
            raise SystemExit(f"the server refused a request: {body.hex()}")


def _frame(op: Op, body: bytes) -> bytes:
    return pack_frame(pack_int(1) + pack_int(op) + body)


def create_frame(path: str) -> bytes:
    """A request for a persistent node of 100 bytes."""
    body = pack_text(path) + pack_buffer(DATA) + pack_acl(OPEN_ACL) + pack_int(0)
    return _frame(Op.CREATE, body)


def _set_frame(path: str) -> bytes:
    return _frame(Op.SET_DATA, pack_text(path) + pack_buffer(DATA) + pack_int(-1))


def _read_frame(op: Op, path: str, *, watch: bool = False) -> bytes:
    return _frame(op, pack_text(path) + pack_bool(watch))


REQUESTS: dict[str, Callable[[str], bytes]] = {
    "create": create_frame,
    "get": lambda path: _read_frame(Op.GET_DATA, path),
    "set": _set_frame,
    "exists": lambda path: _read_frame(Op.EXISTS, path),
}
WRITES = ("create", "set")
DELETE_BODY = pack_int(-1)


def measure_requests(folder: Path, rounds: int, requests: int, *, fsync: bool) -> list[Line]:
    """Requests per second, sync and pipelined; with fsync only those that write."""
    footing = "fsync" if fsync else "no fsync"
    operations = WRITES if fsync else tuple(REQUESTS)
    lines = {
        (how, name): Line(f"{how} {name}, {footing}", "1/s")
        for how in ("sync", "pipelined")
        for name in operations
    }
    if not fsync:
        target = lines["pipelined", "create"]
        target.target, target.bound, target.of_ratio = "at least 0.5 of Apache's", 0.5, True
    servers: dict[str, ServerProcess] = {
        OURS: Ours(folder / "ours", fsync=fsync),
        APACHE: Apache(folder / "apache", fsync=fsync),
    }
    with ExitStack() as undo:
        for server in servers.values():
            undo.enter_context(running(server))
        for number in range(rounds + 1):
            for kind, server in servers.items():
                with closing(Client(server.port)) as client:
                    figures = _round_of(client, operations, requests)
                if number:  # the first is the warm-up
                    for key, value in figures.items():
                        lines[key].values[kind].append(round(value))
    return list(lines.values())


def _round_of(
    client: Client, operations: Sequence[str], requests: int
) -> dict[tuple[str, str], float]:
    figures: dict[tuple[str, str], float] = {}
    for how, count in (("sync", requests // 5), ("pipelined", requests)):
        paths = [f"/{how}-{number}" for number in range(count)]
        for name in operations:
            frames = [REQUESTS[name](path) for path in paths]
            send = client.sync if how == "sync" else client.pipelined
            figures[how, name] = send(frames)
        client.pipelined([_frame(Op.DELETE, pack_text(path) + DELETE_BODY) for path in paths])
    return figures


class Crowd:
    """Many idle sessions on sockets of this process, pinging from a thread of their own."""

    def __init__(self, port: int, count: int) -> None:
        self.sockets = [open_session(port) for _ in range(count)]

    @contextmanager
    def pinging(self) -> Iterator[None]:
        """Ping from each three times per session timeout, evenly spread."""
        over = threading.Event()
        thread = threading.Thread(target=self._ping, args=(over,))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _ping(self, over: threading.Event) -> None:
        pause_s = SESSION_TIMEOUT_MS / 1000 / PINGS_PER_TIMEOUT / len(self.sockets)
        due = time.monotonic()
        while True:
            for one in self.sockets:
                one.sendall(PING_FRAME)
                _read_exactly(one, 20)
                due += pause_s
                if over.wait(max(0.0, due - time.monotonic())):
                    return

    def watch(self, path: str) -> None:
        """Have every session watch a node."""
        frame = _read_frame(Op.EXISTS, path, watch=True)
        for one in self.sockets:
            one.sendall(frame)
        for one in self.sockets:
            _read_exactly(one, int.from_bytes(_read_exactly(one, 4), "big"))

    def events_ms(self, change: Callable[[], object], event_bytes: int) -> float:
        """Make a change; how long until the last session has its event."""
        with selectors.DefaultSelector() as selector:
            for one in self.sockets:
                selector.register(one, selectors.EVENT_READ)
            began = time.perf_counter()
            change()
            while selector.get_map():
                for key, _ in selector.select(WITHIN_S):
                    _read_exactly(key.fileobj, event_bytes)  # type: ignore[arg-type]
                    selector.unregister(key.fileobj)
            return (time.perf_counter() - began) * 1000

    def close(self) -> None:
        """Hang up."""
        for one in self.sockets:
            one.close()


def open_session(port: int) -> socket.socket:
    """A socket with a session, as soon as the server grants one."""
    deadline = time.perf_counter() + WITHIN_S
    while time.perf_counter() < deadline:
        with suppress(OSError), ExitStack() as undo:
            one = undo.enter_context(socket.create_connection((HOST, port), ATTEMPT_S))
            one.sendall(CONNECT_FRAME)
            if len(one.recv(CONNECTED_BYTES)) == CONNECTED_BYTES:
                one.settimeout(WITHIN_S)
                undo.pop_all()
                return one
        time.sleep(0.001)
    raise SystemExit("the server grants no session")


def _read_exactly(one: socket.socket, count: int) -> bytes:
    received = one.recv(count)
    while len(received) < count:
        more = one.recv(count - len(received))
        if not more:
            raise SystemExit("the server hung up")
        received += more
    return received


def measure_crowd(folder: Path, sessions: int, rounds: int, seconds: float) -> list[Line]:
    """Idle sessions and watch fan-out."""
    cpu = Line(f"{sessions} idle sessions, CPU", "% of a core", "under 1", 1.0)
    memory = Line(f"{sessions} idle sessions, RSS", "MB", "under 40", 40.0)
    fan_out = Line(f"1 change to {sessions} watchers", "ms")
    servers: dict[str, ServerProcess] = {
        OURS: Ours(folder / "ours"),
        APACHE: Apache(folder / "apache"),
    }
    for kind, server in servers.items():
        with running(server), closing(Crowd(server.port, sessions)) as crowd:
            with crowd.pinging():
                time.sleep(SESSION_TIMEOUT_MS / 1000 / PINGS_PER_TIMEOUT)  # the JVM's warm-up
                for _ in range(rounds):
                    figures = measure(server.pid, seconds)
                    cpu.values[kind].append(figures["cpu_percent"])
                    memory.values[kind].append(figures["rss_mb"])
            with closing(Client(server.port)) as client:
                fan_out.values[kind] = _fan_out_ms(client, crowd, rounds * 5)
    return [cpu, memory, fan_out]


def _fan_out_ms(client: Client, crowd: Crowd, rounds: int) -> list[float]:
    path = "/watched"
    event_bytes = 4 + 16 + 4 + 4 + 4 + len(path)
    client.sync([create_frame(path)])
    found = []
    for _ in range(rounds):
        crowd.watch(path)
        taken_ms = crowd.events_ms(lambda: client.sync([_set_frame(path)]), event_bytes)
        found.append(round(taken_ms, 2))
    return found


def measure_start(folder: Path, rounds: int) -> list[Line]:
    """From just before the exec to the first answer."""
    empty = Line("start-up, empty", "ms", "under 150", 150.0)
    full = Line(f"start-up, {NODE_COUNT:,} nodes", "ms")
    filled: dict[str, Ours | Apache] = {
        OURS: Ours(folder / "ours"),
        APACHE: Apache(folder / "apache", starts_fast=True),
    }
    for server in filled.values():
        with running(server), closing(Client(server.port)) as client:
            client.pipelined([create_frame(f"/n-{number}") for number in range(NODE_COUNT)])
    for number in range(rounds):
        fresh: dict[str, Ours | Apache] = {
            OURS: Ours(folder / f"ours-{number}"),
            APACHE: Apache(folder / f"apache-{number}", starts_fast=True),
        }
        for kind in (OURS, APACHE):
            empty.values[kind].append(start_ms(fresh[kind]))
            full.values[kind].append(start_ms(filled[kind]))
    return [empty, full]


def start_ms(server: Ours | Apache) -> float:
    """Start a server, ask for a session until it grants one, end it."""
    server.data_dir.mkdir(exist_ok=True)
    command, null = server.command(), subprocess.DEVNULL
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=null, stderr=null, cwd=server.data_dir) as process:
        try:
            open_session(server.port).close()
            return round((time.perf_counter() - began) * 1000, 1)
        finally:
            process.terminate()


def print_table(lines: Sequence[Line]) -> None:
    """One row per figure, medians of the rounds."""
    say(f"{'':<34}{OURS:>11}{APACHE:>11}{'ratio':>8}  unit; target")
    for line in lines:
        ratio = "" if line.ratio is None else f"{line.ratio:.2f}"
        target = f"; {line.target}: {line.verdict}" if line.target else ""
        digits = ",.0f" if line.unit == "1/s" else ",.4g"
        ours, theirs = (format(line.median(kind), digits) for kind in (OURS, APACHE))
        say(f"{line.name:<34}{ours:>11}{theirs:>11}{ratio:>8}  {line.unit}{target}")


def main() -> None:
    """Measure and print, with each target met or missed: a figure is for reading, not a gate."""
    parser = argparse.ArgumentParser(prog="benchmarks.zkserver", description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="of each (default 3)")
    parser.add_argument("--requests", type=int, default=10_000, metavar="N", help="per operation")
    parser.add_argument("--sessions", type=int, default=1_000, metavar="N", help="idle, watching")
    parser.add_argument(
        "--seconds", type=float, default=20.0, metavar="S", help="of idling a round"
    )
    parser.add_argument("--json", action="store_true", help="all figures of all rounds")
    options = parser.parse_args()
    if not apache_is_installed():
        raise SystemExit("no Apache ZooKeeper is installed here to compare with")
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ.update(compiled_environment(folder / "compiled"))
        folders = [folder / part for part in ("start", "kept", "synced", "crowd")]
        for one in folders:
            one.mkdir()
        lines = [
            *measure_start(folders[0], options.rounds * 3),
            *measure_requests(folders[1], options.rounds, options.requests, fsync=False),
            *measure_requests(folders[2], options.rounds, options.requests // 5, fsync=True),
            *measure_crowd(folders[3], options.sessions, options.rounds, options.seconds),
        ]
    if options.json:
        say(json.dumps({"load": load, "lines": [line.figures() for line in lines]}, indent=2))
    else:
        say(f"{options.rounds} rounds, medians; load when it began {load:.1f}")
        print_table(lines)


if __name__ == "__main__":
    main()
