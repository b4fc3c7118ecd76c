"""Coverage-guided fuzzing of the machine: any frames of any clients, and what must hold whatever they are.

Run `python -m tests.unit.zkserver.fuzz_machine [-max_total_time=60] [CORPUS_DIR]`; every option is
libFuzzer's, as atheris (`pip install atheris`) has it. A finding is written to `crash-*`; give that
file as the argument to see it again.

Theory of operation. The input is cut into steps: who (one byte: one of three clients, or time
passing), how many bytes, the bytes. Bytes of a client arrive as on its socket. Afterwards a bystander
must still be served, and what is kept must add up: the state reads back equal from its records, the
counts of watches and of the tree's size are what counting anew gives.

Must never know: pytest; `test_fuzz.py` runs the same step function on hypothesis' inputs.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from sys import getsizeof

from autohealer.zkserver.limits import WATCH_BYTES
from autohealer.zkserver.machine import Machine
from autohealer.zkserver.protocol import Code, MalformedError, Op
from autohealer.zkserver.records import decode_record, encode_record
from autohealer.zkserver.settings import ServerSettings
from autohealer.zkserver.state import State
from autohealer.zkserver.tree import Tree, Znode
from autohealer.zkserver.watches import Table, Watches
from autohealer.zkserver.wire import FrameDecoder

from .world import Peer, World

SETTINGS = ServerSettings(
    Path("/nowhere"),
    frame_bytes_max=4096,
    sessions_max=20,
    watches_max=20,
    watch_bytes_max=5000,
    tree_bytes_max=12_000,
)
CLIENTS = 3
LONGEST_MS = 3000


class Scene:
    """Three clients that may do anything, and a bystander who only wants to be served."""

    def __init__(self) -> None:
        self.world = World(SETTINGS)
        self.bystander = self.world.client(60_000)
        self._clients = [self._new_client(who) for who in range(CLIENTS)]

    def play(self, script: bytes) -> None:
        """Carry out a script and check what must hold."""
        at = 0
        while at + 2 <= len(script):
            who, count = script[at] % (CLIENTS + 1), script[at + 1]
            taken = script[at + 2 : at + 2 + count]
            at += 2 + count
            if who == CLIENTS:
                self.world.advance_to(self.world.now_ms + LONGEST_MS * count // 255)
                self.bystander.call(Op.PING, xid=-2)
            else:
                self._send(*self._clients[who], taken)
                if self._clients[who][0].dropped is not None:
                    self._clients[who] = self._new_client(who)
        self.check()

    def _new_client(self, who: int) -> tuple[Peer, FrameDecoder]:
        """The first has no session and must open one itself."""
        peer = self.world.client(1000 + 1000 * who) if who else self.world.peer()
        return peer, FrameDecoder(SETTINGS.frame_bytes_max)

    def _send(self, peer: Peer, decoder: FrameDecoder, raw: bytes) -> None:
        """As the shell does: frames in order, a malformed length closes the connection."""
        decoder.feed(raw)
        try:
            while (frame := decoder.next_frame()) is not None:
                peer.send(frame)
        except MalformedError:
            peer.hang_up()
            peer.dropped = "malformed length"

    def check(self) -> None:
        """What must hold after anything."""
        self.bystander.inbox.clear()
        assert self.bystander.dropped is None
        assert self.bystander.call(Op.PING, xid=-2).code is Code.OK
        _check_size(self.world.state.tree)
        _check_watches(self.world.machine.watches)
        _check_kept(self.world.machine)
        _check_records(self.world.state)
        _check_sessions(self.world.machine)


def _check_size(tree: Tree) -> None:
    again = Tree()
    for path, node in tree.items():
        again.put(path, Znode(node.data, node.acl))
    assert tree.size_bytes == again.size_bytes, (tree.size_bytes, again.size_bytes)
    assert tree.data_bytes == again.data_bytes, (tree.data_bytes, again.data_bytes)
    assert tree.data_bytes == sum(len(path) + len(node.data or b"") for path, node in tree.items())


def _check_watches(watches: Watches) -> None:
    kept = sum(len(each) for table in Table for each in watches._tables[table].values())
    assert watches.count == kept <= SETTINGS.watches_max
    for connection, mine in watches._by_connection.items():
        held_bytes = sum(WATCH_BYTES + getsizeof(path) for _, path in mine)
        assert watches.bytes_of(connection) == held_bytes <= SETTINGS.watch_bytes_max
    assert watches._bytes.keys() == watches._by_connection.keys()


def _check_kept(machine: Machine) -> None:
    proven_bytes = sum(each.proven_bytes for each in machine.connections.values())
    watched_bytes = sum(map(machine.watches.bytes_of, machine.connections))
    assert machine._kept.taken == proven_bytes + watched_bytes


def _check_records(state: State) -> None:
    again = State(b"another")
    for record in state.images():
        again.restore(decode_record(encode_record(record)))
    assert list(again.images()) == list(state.images())
    assert again.tree.ephemerals().keys() <= state.timeouts_ms.keys()


def _check_sessions(machine: Machine) -> None:
    assert {session.id for session in machine.sessions} == machine.state.timeouts_ms.keys()
    assert len(machine.sessions) <= SETTINGS.sessions_max


def play(script: bytes) -> None:
    """One run of the fuzzer."""
    Scene().play(script)


def main() -> None:
    """Fuzz until told to stop."""
    atheris = import_module("atheris")
    atheris.instrument_all()
    atheris.Setup(sys.argv, play)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
