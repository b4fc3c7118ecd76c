"""Words of workers, strangers and operators reach real terminals as text, and programs as they were said."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from kazoo.client import KazooClient

from autohealer.contract import WorkerRecord, encode_record
from tests.integration.test_command_line import autohealer
from tests.integration.test_streams import Screen
from tests.support.daemon import Daemon
from tests.support.embedded import EmbeddedZooKeeper
from tests.support.eventually import eventually
from tests.support.servers import running

WITHIN_S = 20.0
HOSTILE = "[/x]\x1b]0;owned\x07\x9b2J\x1b[2J\r\nforged\u202e"
SHOWN = rb"[/x]\x1b]0;owned\x07\x9b2J\x1b[2J\r\nforged\u202e"
LAST_WORDS = r"gr\303\266\303\237er [/x]\033]0;owned\007\302\2332J\033[2J"
LAST_WORDS_SHOWN = "größer [/x]".encode() + rb"\x1b]0;owned\x07\x9b2J\x1b[2J"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One ZooKeeper for all: what is tested has nothing to do with it."""
    with running(EmbeddedZooKeeper(tmp_path_factory.mktemp("zookeeper"))) as server:
        yield server.address


@pytest.fixture
def stranger(server: str) -> Iterator[None]:
    """A registration of somebody's whose host is not a host."""
    client = KazooClient(server)
    client.start()
    client.ensure_path("/workers")
    record = encode_record(WorkerRecord(1, host=f"{HOSTILE}\ud800"))
    client.create("/workers/stranger", record, ephemeral=True)
    yield
    client.stop()
    client.close()


def on_terminal(*words: str) -> bytes:
    """All that a command sends to a terminal of 24 lines that it prints to."""
    leader, follower = pty.openpty()
    sent = bytearray()
    thread = threading.Thread(target=_read_into, args=(leader, sent))
    thread.start()
    try:
        subprocess.run(
            [sys.executable, "-m", "autohealer", *words],
            stdin=subprocess.DEVNULL,
            stdout=follower,
            stderr=follower,
            timeout=60,
            check=False,
            env=dict(os.environ) | {"TERM": "xterm", "COLUMNS": "400", "PYTHONUTF8": "1"},
        )
    finally:
        os.close(follower)
        thread.join()
        os.close(leader)
    return bytes(sent)


def _read_into(descriptor: int, sent: bytearray) -> None:
    with suppress(OSError):
        while piece := os.read(descriptor, 65536):
            sent += piece


def is_obeyed(sent: bytes) -> bool:
    """Whether a terminal would do what others want."""
    text = sent.decode(errors="replace")
    return any(
        order in text for order in ("\x1b]", "\x07", "\x1b[2J", "\x9b", "\u202e", "\nforged")
    )


@pytest.mark.thorough
def test_what_others_say_is_shown_on_every_terminal_and_obeyed_on_none(
    server: str, stranger: None, tmp_path: Path
) -> None:
    """A worker or any local user could end `status` in a traceback, or command the operator's terminal."""
    program = tmp_path / "w.sh"
    program.write_text(f"#!/bin/sh\nprintf '{LAST_WORDS}\\n'\nexit 3\n")
    program.chmod(0o755)
    daemon = Daemon(
        tmp_path / "state",
        server,
        replicas=1,
        program=str(program),
        args=(),
        environment={"TERM": "xterm", "PYTHONUTF8": "1"},
    )
    screen = Screen(200)
    daemon.says_into = screen.follower
    where = ("--state-dir", str(daemon.state_dir))
    with daemon:
        eventually(
            lambda: SHOWN in screen.sent and LAST_WORDS_SHOWN in screen.sent,
            within_s=WITHIN_S,
            view=lambda: bytes(screen.sent),
        )
        status, why = on_terminal("status", *where), on_terminal("why", *where)
        as_json = on_terminal("status", "--json", *where)
        told = autohealer("why", "--json", *where).stdout
        assert daemon.stop() == 0
    screen.close()
    assert SHOWN in status
    assert LAST_WORDS_SHOWN in why
    assert [is_obeyed(bytes(sent)) for sent in (screen.sent, status, why, as_json)] == [False] * 4
    assert json.loads(as_json)["strangers"][0]["host"] == f"{HOSTILE}\\ud800"
    ends = [entry for entry in map(json.loads, told.splitlines()) if entry["event"] == "ended"]
    assert ends[0]["last_output"] == ["größer [/x]\x1b]0;owned\x07\x9b2J\x1b[2J"]


@pytest.mark.parametrize("command", ["status", "why", "detach"])
def test_a_path_in_a_sentence_is_one_line_of_text(command: str, tmp_path: Path) -> None:
    """A folder's name could command the terminal of whoever mistypes it, or forge a second sentence."""
    sent = on_terminal(command, "--state-dir", f"{tmp_path}/{HOSTILE}")
    assert SHOWN in sent
    assert not is_obeyed(sent)
    assert sent.count(b"\n") == 1


@pytest.mark.thorough
def test_a_program_whose_path_is_no_text_is_looked_after(server: str, tmp_path: Path) -> None:
    """A file name in an old encoding would leave everybody without a status."""
    program = os.fsencode(tmp_path) + b"/w\xff\x1b[2J.sh"
    interpreter = tmp_path / "interpreter"
    interpreter.symlink_to("/bin/sh")
    Path(os.fsdecode(program)).write_text(f"#!{interpreter}\n")
    Path(os.fsdecode(program)).chmod(0o755)
    daemon = Daemon(
        tmp_path / "state",
        server,
        replicas=1,
        program=os.fsdecode(program),
        args=(),
        group="w",
        options=("--group", "w"),
    )
    with daemon:
        eventually(lambda: daemon.log("worker_started"), within_s=WITHIN_S, view=daemon.view)
        interpreter.unlink()
        eventually(lambda: daemon.log("worker_start_failed"), within_s=WITHIN_S, view=daemon.view)
        shown = on_terminal("status", "--state-dir", str(daemon.state_dir))
        assert rb"w\udcff\x1b[2J.sh" in shown
        assert not is_obeyed(shown)
        assert daemon.stop() == 0


def test_a_folder_that_passes_for_a_group_is_named_harmlessly(tmp_path: Path) -> None:
    """What somebody put into the state directory would command the terminal, or forge lines of the answer."""
    for name in (HOSTILE.replace("/", ""), "web"):
        folder = tmp_path / "groups" / name
        folder.mkdir(parents=True)
        (folder / "history.jsonl").touch()
    sent = on_terminal("why", "--state-dir", str(tmp_path))
    assert SHOWN.replace(b"/", b"") + b":" in sent
    assert not is_obeyed(sent)
