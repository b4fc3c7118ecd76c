"""The journal and standard output, and what becomes of lines when these are gone."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from autohealer.logprocess.sinks import Journal


def listening(path: Path) -> socket.socket:
    """What a journal is to those who write to it."""
    journal = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    journal.bind(str(path))
    journal.listen()
    journal.settimeout(10.0)
    return journal


def test_a_stream_to_the_journal_begins_with_who_writes(tmp_path: Path) -> None:
    """`journalctl -t web-3` would not find what slot 3 of web wrote."""
    with listening(tmp_path / "stdout") as journal:
        sink = Journal("web-3", str(tmp_path / "stdout"))
        sink.write(b"one\n")
        stream, _ = journal.accept()
        with stream:
            sink.write(b"two\n")
            wanted = b"web-3\n\n6\n1\n0\n0\n0\none\ntwo\n"
            assert stream.recv(len(wanted), socket.MSG_WAITALL) == wanted
        sink.close()


def test_a_journal_that_went_is_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a restart of the journal nothing would get there any more, or the log process be dead."""
    monkeypatch.setattr("autohealer.logprocess.sinks.AGAIN_S", 0.0)
    path = tmp_path / "stdout"
    sink = Journal("web-3", str(path))
    sink.write(b"nobody is there\n")
    with listening(path) as journal:
        sink.write(b"one\n")
        journal.accept()[0].close()
    path.unlink()
    with listening(path) as journal:
        for _ in range(3):
            sink.write(b"again\n")
        stream, _ = journal.accept()
        with stream:
            sink.close()
            assert stream.makefile("rb").read().endswith(b"again\n")


_WRITER = """
from autohealer.logprocess.sinks import StandardOutput
one, other = StandardOutput(is_stamped=False), StandardOutput(is_stamped=False)
one.write(b"begun ")
other.write(b"whole\\n")
one.write(b"and ended\\nrest")
"""


def test_lines_of_slots_are_not_mixed_on_standard_output() -> None:
    """Two workers that write at once would garble each other's lines."""
    done = subprocess.run((sys.executable, "-c", _WRITER), capture_output=True, check=True)
    assert done.stdout == b"whole\nbegun and ended\n"


def test_who_reads_no_more_ends_nobody() -> None:
    """`autohealer … | head` would end the log process, and lines be lost in the file, too."""
    reading, writing = os.pipe()
    os.close(reading)
    ignoring = "import signal; signal.signal(signal.SIGPIPE, signal.SIG_IGN)\n"
    done = subprocess.run(
        (
            sys.executable,
            "-c",
            ignoring + _WRITER + "print('still here', file=__import__('sys').stderr)",
        ),
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writing)
    assert done.returncode == 0
    assert done.stderr == b"still here\n"
