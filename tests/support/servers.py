"""A real ZooKeeper server as a child process of the tests, of either kind.

Theory of operation: a server is one process that owns a data directory and a port for its whole
life, so it can be killed and started again as the same server. It is ready when the four-letter
word `ruok` is answered with `imok`. Its output goes to `server.log` beside its data and is shown
when it does not start.

Must never know: what a test does with the server.

Limits: loopback only; one node; only the process started here is ever signalled.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tests.support.eventually import eventually
from tests.support.ports import HOST, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_READY_WITHIN_S = 20.0
_STOP_WITHIN_S = 10.0
_ANSWER_WITHIN_S = 2.0
_LOG_TAIL_CHARS = 2000


class ZooKeeperServer(Protocol):
    """What a test may do to a server, whichever kind it is."""

    @property
    def address(self) -> str:
        """`127.0.0.1:PORT`, the same for the server's whole life."""

    @property
    def pid(self) -> int:
        """The process id of the running server."""

    def start(self) -> None:
        """Start it and wait until it answers."""

    def stop(self) -> None:
        """Ask it to end and wait until it has; harmless when it does not run."""

    def kill(self) -> None:
        """End it at once (SIGKILL) and wait until it is gone."""

    def freeze(self) -> None:
        """Stop its clock (SIGSTOP): its sockets stay open and nothing is answered."""

    def resume(self) -> None:
        """Let a frozen server go on."""

    def restart(self) -> None:
        """Stop it, unless it is dead already, and start it on the same data and port."""

    def wipe(self) -> None:
        """Forget everything ever written; the server must not run."""


@dataclass(frozen=True, slots=True)
class ZooKeeperUnderTest:
    """A server and the connection string, chroot included, that one test has for itself."""

    connection: str
    server: ZooKeeperServer


class ServerProcess(ABC):
    """One server as a child process; a kind of server says only which command it is."""

    def __init__(self, data_dir: Path, port: int | None = None) -> None:
        self.data_dir = data_dir
        self.port = free_port() if port is None else port
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """`127.0.0.1:PORT`, the same for the server's whole life."""
        return f"{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        return self._running().pid

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.launch()
        self.await_answer()

    def launch(self) -> None:
        """Start it without waiting; one of an ensemble answers only when others are there."""
        assert self._process is None, "the server runs already"
        self.data_dir.mkdir(parents=True, exist_ok=True)
        command = self._command()
        with (self.data_dir / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.data_dir
            )

    def await_answer(self) -> None:
        """Wait until it answers."""
        eventually(self._answers, within_s=_READY_WITHIN_S, view=self._log_tail)

    def stop(self) -> None:
        """Ask it to end and wait until it has; harmless when it does not run."""
        if self._process is None:
            return
        self.resume()
        self._process.terminate()
        try:
            self._process.wait(_STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def kill(self) -> None:
        """End it at once (SIGKILL) and wait until it is gone."""
        process = self._running()
        process.kill()
        process.wait()
        self._process = None

    def freeze(self) -> None:
        """Stop its clock (SIGSTOP): its sockets stay open and nothing is answered."""
        process = self._running()
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)

    def resume(self) -> None:
        """Let a frozen server go on."""
        self._running().send_signal(signal.SIGCONT)

    def restart(self) -> None:
        """Stop it, unless it is dead already, and start it on the same data and port."""
        self.stop()
        self.start()

    def wipe(self) -> None:
        """Forget everything ever written; the server must not run."""
        assert self._process is None, "the server runs"
        shutil.rmtree(self.data_dir)

    @abstractmethod
    def _command(self) -> Sequence[str]:
        """Prepare what the server reads at its start and return the command that runs it."""

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the server does not run"
        return self._process

    def _answers(self) -> bool:
        status = self._running().poll()
        assert status is None, f"the server ended with {status}: {self._log_tail()}"
        return four_letter_word(self.address, "ruok") == "imok"

    def _log_tail(self) -> str:
        return (self.data_dir / "server.log").read_text(errors="replace")[-_LOG_TAIL_CHARS:]


@contextmanager
def running(server: ServerProcess) -> Iterator[ServerProcess]:
    """Run a server for the duration of a block."""
    try:
        server.start()
        yield server
    finally:
        server.stop()


def four_letter_word(address: str, word: str) -> str:
    """Ask a server one of ZooKeeper's four-letter words; empty when nobody answers."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), _ANSWER_WITHIN_S) as connection:
            connection.sendall(word.encode())
            with connection.makefile("rb") as answer:
                return answer.read().decode()
    except OSError:
        return ""
