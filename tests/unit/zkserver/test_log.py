"""The server's own log: bounded in lines by kind and in bytes, and nothing is left out without a count."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autohealer.zkserver.log import FILE_BYTES_MAX, KINDS_MAX, PERIOD_S, KindLimit
from tests.support.eventually import eventually
from tests.support.ports import HOST, free_port
from tests.support.servers import four_letter_word

WITHIN_S = 20.0


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """The time, in seconds."""
        return self.now


def line(text: str) -> logging.LogRecord:
    """What the server wants to say."""
    return logging.LogRecord("zkserver", logging.INFO, "", 0, text, None, None)


def test_one_line_a_minute_of_a_kind_and_the_rest_is_counted() -> None:
    """A health check every second would fill the log, or what was left out would be left out silently."""
    limit = KindLimit(clock := Clock())
    written = [limit.filter(line(f"closed connection {n}: it opened no session")) for n in range(9)]
    assert written == [True] + [False] * 8
    assert limit.filter(line("refused 127.0.0.1: 4096 connections are the limit"))
    assert limit.take_counts() == []
    clock.now += PERIOD_S
    assert limit.take_counts() == [
        "within a minute 8 more like this: closed connection #: it opened no session"
    ]
    assert limit.filter(line("closed connection 10: it opened no session"))
    assert limit.take_counts() == []


def test_kinds_that_a_client_makes_up_are_bounded() -> None:
    """A client that puts something new into every message would fill the log, or the memory."""
    limit = KindLimit(clock := Clock())
    texts = (f"closed connection 1: {'x' * n}" for n in range(1, 1000))
    assert sum(limit.filter(line(text)) for text in texts) == KINDS_MAX + 1
    clock.now += PERIOD_S
    assert limit.take_counts() == [f"within a minute {998 - KINDS_MAX} more like this: the rest"]


@contextmanager
def server_logging_to(log: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A real server with a log of its own; what it says elsewhere goes nowhere."""
    argv = (
        "-m",
        "autohealer.zkserver",
        "--port",
        str(port),
        "--data-dir",
        str(log.parent / "data"),
    )
    with subprocess.Popen(
        (sys.executable, *argv, "--log", str(log)), stderr=subprocess.DEVNULL
    ) as server:
        try:
            eventually(lambda: four_letter_word(f"{HOST}:{port}", "ruok"), within_s=WITHIN_S)
            yield server
        finally:
            server.terminate()


def test_a_log_that_outgrew_its_limit_is_begun_anew_and_one_is_kept(tmp_path: Path) -> None:
    """The log would fill the disk, while the daemon is dead as well."""
    log, older = tmp_path / "server.log", tmp_path / "server.log.1"
    log.write_bytes(b"x" * (FILE_BYTES_MAX + 1))
    older.write_text("of long ago")
    with server_logging_to(log, free_port()) as server:
        eventually(lambda: "serving on" in log.read_text(), within_s=WITHIN_S)
        assert older.stat().st_size == FILE_BYTES_MAX + 1
        # What the interpreter itself would say goes into the new file too.
        assert Path(f"/proc/{server.pid}/fd/2").readlink() == log


def test_many_strange_clients_are_few_lines(tmp_path: Path) -> None:
    """A load balancer that asks every second would push out of the log what matters."""
    port, log = free_port(), tmp_path / "server.log"
    with server_logging_to(log, port):
        for _ in range(50):
            with socket.create_connection((HOST, port)) as client:
                client.sendall(b"GET / HTTP/1.0\r\n\r\n")
                assert client.recv(100) == b""
        assert log.read_text().count("closed connection") == 1


def test_a_log_that_cannot_be_had_costs_the_log_only(tmp_path: Path) -> None:
    """A full or read-only disk would take the server along."""
    (log := tmp_path / "server.log").mkdir()
    with server_logging_to(log, free_port()) as server:
        assert server.poll() is None
