"""What many connections of one user can make the embedded server hold, and how long somebody else waits meanwhile.

Each attack meets a server of its own, which is left as full as the attack can make it. Beside it a client pings and
creates in turn. Told are the memory of the server at its worst, and how long that client waited: by the clock, and in
processor time that the server used meanwhile, which a busy machine does not change.

    python -m benchmarks.hostile [ATTACK ...]

Limits: Linux; needs 20,000 descriptors, and the memory it tells of.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import select
import socket
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from autohealer.zkserver.limits import IDENTITIES_MAX, STEPS_MAX
from autohealer.zkserver.protocol import Op
from autohealer.zkserver.wire import pack_buffer, pack_frame, pack_int, pack_text, pack_texts
from tests.support.embedded import EmbeddedZooKeeper
from tests.support.ports import HOST
from tests.support.servers import running
from tests.unit.zkserver.rawclient import Client
from tests.unit.zkserver.world import MULTI_END, create_body, version_body

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.queues import Queue
    from multiprocessing.synchronize import Event

FILES = 20_000
MEBIBYTE = 1_048_576
CONNECT = pack_frame(bytes(12) + pack_int(60_000) + bytes(8) + pack_int(16) + bytes(17))
CONNECTED_BYTES = 41


class Waited(NamedTuple):
    """The longest anybody waited: by the clock and in the server's processor time, in milliseconds."""

    wall_ms: float
    busy_ms: float
    request_count: int


def request(op: int, body: bytes, xid: int = 1) -> bytes:
    """A request as on the wire."""
    return pack_frame(pack_int(xid) + pack_int(op) + body)


def connected(server: EmbeddedZooKeeper, count: int, undo: ExitStack) -> list[socket.socket]:
    """So many connections with a session each."""
    made: list[socket.socket] = []
    for _ in range(count):
        one = undo.enter_context(socket.create_connection((HOST, server.port), 60.0))
        one.sendall(CONNECT)
        made.append(one)
    for one in made:
        one.recv(CONNECTED_BYTES)
    return made


def send_and_drain(clients: list[socket.socket], requests: Callable[[int], bytes]) -> None:
    """Send something from each at once and read what comes back until nothing does for a second."""
    poll = select.epoll()
    by_file = {client.fileno(): client for client in clients}
    for number, client in enumerate(clients):
        poll.register(client, select.EPOLLIN)
        with suppress(OSError):
            client.sendall(requests(number))
    while ready := poll.poll(1.0):
        for file, _ in ready:
            try:
                if by_file[file].recv(MEBIBYTE):
                    continue
            except OSError:
                pass
            poll.unregister(file)


def watches(server: EmbeddedZooKeeper, undo: ExitStack) -> None:
    """Watches on the longest paths, until no more are taken."""
    clients = connected(server, 200, undo)

    def ask(block: int, number: int) -> bytes:
        paths = (f"/{'w' * 4000}{block}.{number}.{i}" for i in range(100))
        return b"".join(request(Op.EXISTS, pack_text(path) + b"\1") for path in paths)

    for block in range(4):
        send_and_drain(clients, partial(ask, block))


def identities(server: EmbeddedZooKeeper, undo: ExitStack) -> None:
    """Identities of the largest size on many connections."""
    for _ in range(4):
        send_and_drain(
            connected(server, 1000, undo),
            lambda _: b"".join(
                request(
                    Op.AUTH,
                    pack_int(0) + pack_text("digest") + pack_text(f"{i:04d}" + "u" * 980 + ":p"),
                    -4,
                )
                for i in range(IDENTITIES_MAX - 1)
            ),
        )


def halves(server: EmbeddedZooKeeper, undo: ExitStack) -> None:
    """Most of a largest request on each of many connections."""
    for client in connected(server, 1000, undo):
        with suppress(OSError):
            client.sendall(pack_int(MEBIBYTE - 1) + bytes(900_000))


def unread(server: EmbeddedZooKeeper, undo: ExitStack) -> None:
    """Large replies that nobody reads."""
    with Client(server) as writer:
        writer.create("/large", bytes(1_000_000))
    ask = request(Op.GET_DATA, pack_text("/large") + b"\0")
    for client in connected(server, 1000, undo):
        with suppress(OSError):
            client.sendall(ask * 10)
    time.sleep(5)


def costly(server: EmbeddedZooKeeper, undo: ExitStack) -> None:
    """Largest multis from many connections at once."""
    step = pack_int(Op.CHECK) + b"\0" + pack_int(-1) + version_body("/")
    multi = request(Op.MULTI, step * STEPS_MAX + MULTI_END)
    send_and_drain(connected(server, 300, undo), lambda _: multi * 3)


def crowd(server: EmbeddedZooKeeper, undo: ExitStack) -> None:
    """As many connections as it takes."""
    connected(server, 16_000, undo)


def sessions(server: EmbeddedZooKeeper, undo: ExitStack) -> None:  # noqa: ARG001 - as all attacks
    """As many sessions as it takes, of clients that are gone."""
    for _ in range(66):
        with ExitStack() as gone:
            connected(server, 1000, gone)


def fanout(server: EmbeddedZooKeeper, undo: ExitStack) -> None:
    """One transaction of very many events."""
    clients = connected(server, 400, undo)
    with Client(server) as writer:
        writer.create("/hot")
        send_and_drain(clients, lambda _: request(Op.ADD_WATCH, pack_text("/hot") + pack_int(0)))
        step = pack_int(Op.SET_DATA) + b"\0" + pack_int(-1)
        step += pack_text("/hot") + pack_buffer(b"") + pack_int(-1)
        writer.call(Op.MULTI, step * STEPS_MAX + MULTI_END)


def nodes(server: EmbeddedZooKeeper, undo: ExitStack) -> None:
    """Nodes until no more are taken, while the journal is rewritten."""
    clients = connected(server, 20, undo)

    def make(block: int, number: int) -> bytes:
        paths = (f"/n{block}.{number}.{i}" for i in range(1000))
        return b"".join(request(Op.CREATE, create_body(path, b"x" * 400)) for path in paths)

    for block in range(30):
        send_and_drain(clients, partial(make, block))


def names(server: EmbeddedZooKeeper, undo: ExitStack) -> None:
    """One connection asks for a hundred thousand names, over and over."""
    (client,) = connected(server, 1, undo)
    client.sendall(request(Op.CREATE, create_body("/d")))
    for block in range(100):
        steps = (create_body(f"/d/{block}.{number}") for number in range(1000))
        multi = b"".join(pack_int(Op.CREATE) + b"\0" + pack_int(-1) + step for step in steps)
        client.sendall(request(Op.MULTI, multi + MULTI_END))
    send_and_drain([client], lambda _: request(Op.GET_CHILDREN2, pack_text("/d") + b"\0") * 20)


def rewatch(server: EmbeddedZooKeeper, undo: ExitStack) -> None:  # noqa: ARG001 - as all attacks
    """One connection after the other sets fifty thousand watches again, and hangs up."""
    for _ in range(5):
        with ExitStack() as gone:
            lists = (
                pack_texts([f"/{block}.{number}" for number in range(16_000)]) for block in range(3)
            )
            body = b"".join(
                request(Op.SET_WATCHES, bytes(8) + pack_texts([]) + each + pack_texts([]), -8)
                for each in lists
            )
            send_and_drain(connected(server, 1, gone), {0: body}.__getitem__)


ATTACKS = (
    watches,
    identities,
    halves,
    unread,
    costly,
    fanout,
    crowd,
    sessions,
    names,
    rewatch,
    nodes,
)


def busy_ns(pid: int) -> int:
    """The processor time a process has used."""
    return int(Path(f"/proc/{pid}/schedstat").read_text("ascii").split()[0])


def bystander(server: EmbeddedZooKeeper, over: Event, told: Queue[Waited]) -> None:
    """Ping and create in turn; tell the longest wait."""
    with suppress(PermissionError):  # what matters is how long the server takes, not this process
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
    wall_ms = busy_ms = 0.0
    count = 0
    with Client(server, timeout_ms=60_000) as client:
        while not over.is_set():
            began, busy = time.monotonic(), busy_ns(server.pid)
            client.exists("/") if count % 2 else client.create(f"/bystander{count}")
            wall_ms = max(wall_ms, (time.monotonic() - began) * 1000)
            busy_ms = max(busy_ms, (busy_ns(server.pid) - busy) / 1e6)
            count += 1
            time.sleep(0.01)
    told.put(Waited(wall_ms, busy_ms, count))


def main(names: list[str]) -> None:
    """Run the attacks named, or all."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))
    for attack in ATTACKS:
        if names and attack.__name__ not in names:
            continue
        with (
            tempfile.TemporaryDirectory() as folder,
            running(EmbeddedZooKeeper(Path(folder))) as server,
            ExitStack() as undo,
        ):
            assert isinstance(server, EmbeddedZooKeeper)
            over: Event = multiprocessing.Event()
            told: Queue[Waited] = multiprocessing.Queue()
            watching = multiprocessing.Process(target=bystander, args=(server, over, told))
            watching.start()
            time.sleep(0.3)
            attack(server, undo)
            over.set()
            waited = told.get()
            watching.join()
            status = Path(f"/proc/{server.pid}/status").read_text("ascii").split()
            peak = int(status[status.index("VmHWM:") + 1]) // 1024
            print(
                f"{attack.__name__:10} at most {peak:5} MiB; of {waited.request_count} requests of others the longest "
                f"took {waited.wall_ms:6.0f} ms, {waited.busy_ms:5.0f} ms of it the server's work",
                flush=True,
            )


if __name__ == "__main__":
    main(sys.argv[1:])
