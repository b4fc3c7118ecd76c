"""The shipped systemd units, and the notify protocol the real daemon speaks to systemd.

Theory of operation: systemd's own tools judge the unit files without installing them. For the
protocol the test is systemd: it gives the daemon a socket and listens.

Limits: what a booted systemd does with the units is seen in tests/systemd.
"""

from __future__ import annotations

import configparser
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.support.daemon import Daemon
from tests.support.eventually import eventually
from tests.support.require import require

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.servers import ZooKeeperUnderTest

FOLDER = Path(__file__).parents[2] / "systemd"
UNITS = {
    "autohealer.service": "autohealer.service",
    "autohealer@.service": "autohealer@web.service",
}
"""Unit file and the name it is checked under: a template needs an instance."""

EXPOSURE_MAX = 3.0
WATCHDOG_S = 2.0
TOLD_WITHIN_S = 30.0

_DIRECTIVE = re.compile(r"[A-Z]\w*=")
_OF_THE_INSTANCE = {"EnvironmentFile", "ExecStart", "ExecReload"}


# --- the files --------------------------------------------------------------------------------


@pytest.fixture(params=sorted(UNITS))
def unit(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of a unit under a complete name, with a program that exists on this machine."""
    require("systemd-analyze", shutil.which("systemd-analyze") is not None)
    text = (FOLDER / request.param).read_text()
    copy = tmp_path / UNITS[request.param]
    copy.write_text(text.replace("/usr/local/bin/autohealer", sys.executable))
    return copy


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run systemd-analyze and keep all it says."""
    return subprocess.run(
        ("systemd-analyze", *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )


def test_systemd_finds_nothing_wrong_with_the_unit(unit: Path) -> None:
    """A directive that is misspelt or unknown would be ignored and its protection missing."""
    verdict = analyze("verify", str(unit))
    about_it = [line for line in verdict.stdout.splitlines() if unit.name in line]
    assert about_it == []
    assert verdict.returncode == 0, verdict.stdout


def test_the_unit_exposes_little(unit: Path) -> None:
    """A worker that is broken into would have the run of the machine."""
    verdict = analyze("security", "--offline=true", str(unit))
    found = re.search(r"Overall exposure level for \S+: (\d+\.\d+)", verdict.stdout)
    assert found is not None, verdict.stdout
    assert float(found[1]) <= EXPOSURE_MAX, verdict.stdout


@pytest.mark.parametrize("name", sorted(UNITS))
def test_every_directive_says_why(name: str) -> None:
    """An administrator who adapts the unit could not tell what may be changed safely."""
    lines = [line for line in (FOLDER / name).read_text().splitlines() if line]
    pairs = pairwise(lines)
    bare = [line for above, line in pairs if _DIRECTIVE.match(line) and not above.startswith("#")]
    assert bare == []


def test_both_units_protect_alike() -> None:
    """A fix to one unit would be missing in the other."""
    one, many = (dict(_service(name)) for name in sorted(UNITS))
    assert {key for key in one | many if one.get(key) != many.get(key)} == _OF_THE_INSTANCE


def test_a_crash_of_the_daemon_reaches_no_worker_and_is_never_final() -> None:
    """Every crash of the daemon would take all workers along, or the daemon would stay down."""
    for name in UNITS:
        service = _service(name)
        assert service["KillMode"] == "process"
        assert service["Restart"] == "always"


def _service(name: str) -> configparser.SectionProxy:
    parser = configparser.ConfigParser(
        interpolation=None, strict=False, comment_prefixes="#", delimiters="="
    )
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # keys keep their case
    parser.read(FOLDER / name)
    return parser["Service"]


# --- the protocol -----------------------------------------------------------------------------


class Listener:
    """systemd's end of the notify socket: what was said, and when."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.said: list[tuple[float, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()

    def times_of(self, assignment: str) -> list[float]:
        """When a line with this beginning was said, in seconds of the monotonic clock."""
        self._listen()
        return [at for at, line in self.said if line.startswith(assignment)]

    def _listen(self) -> None:
        while True:
            try:
                message = self._socket.recv(4096)
            except BlockingIOError:
                return
            now = time.monotonic()
            self.said += [(now, line) for line in message.decode().splitlines()]


@contextmanager
def supervised(zookeeper: str, tmp_path: Path) -> Iterator[tuple[Daemon, Listener]]:
    """A daemon of two workers that was told about systemd's socket and watchdog."""
    systemd = Listener(tmp_path / "notify")
    told = {"NOTIFY_SOCKET": str(systemd.path), "WATCHDOG_USEC": str(int(WATCHDOG_S * 1e6))}
    try:
        with Daemon(tmp_path / "state", zookeeper, replicas=2, environment=told) as daemon:
            yield daemon, systemd
    finally:
        systemd.close()


def test_the_daemon_reports_its_life_to_systemd(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """systemd would wait in vain for the start, show no status, or kill a daemon that works."""
    with supervised(zookeeper.connection, tmp_path) as (daemon, systemd):
        eventually(lambda: systemd.times_of("READY=1"), within_s=TOLD_WITHIN_S, view=daemon.view)
        whole = "STATUS=2/2 registered"
        eventually(lambda: systemd.times_of(whole), within_s=TOLD_WITHIN_S, view=daemon.view)
        assert not systemd.times_of("STOPPING=1")
        daemon.signal(signal.SIGTERM)
        eventually(lambda: systemd.times_of("STOPPING=1"), within_s=TOLD_WITHIN_S)
        assert daemon.wait() == 0
        assert len(systemd.times_of("READY=1")) == 1


def test_the_watchdog_is_fed_twice_as_often_as_asked(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """systemd would abort a healthy daemon whose group has nothing to do."""
    with supervised(zookeeper.connection, tmp_path) as (daemon, systemd):
        daemon.becomes_whole()
        already = len(systemd.times_of("WATCHDOG=1"))
        eventually(
            lambda: len(systemd.times_of("WATCHDOG=1")) >= already + 5,
            within_s=TOLD_WITHIN_S,
            view=lambda: systemd.said,
        )
        fed = systemd.times_of("WATCHDOG=1")[already:]
        gaps_s = sorted(later - earlier for earlier, later in pairwise(fed))
        assert gaps_s[len(gaps_s) // 2] <= WATCHDOG_S / 2 + 0.2
        assert gaps_s[-1] < WATCHDOG_S


@pytest.mark.thorough
def test_a_daemon_that_hangs_stops_feeding_the_watchdog(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """A hung daemon would look alive to systemd and never be replaced."""
    with supervised(zookeeper.connection, tmp_path) as (daemon, systemd):
        daemon.becomes_whole()
        daemon.signal(signal.SIGSTOP)

        def silent_for_the_whole_patience() -> bool:
            return time.monotonic() - systemd.times_of("WATCHDOG=1")[-1] > WATCHDOG_S

        eventually(silent_for_the_whole_patience, within_s=TOLD_WITHIN_S)


@pytest.mark.thorough
def test_workers_cannot_speak_for_the_daemon(zookeeper: ZooKeeperUnderTest, tmp_path: Path) -> None:
    """A worker that speaks systemd's protocol would declare the whole service stopping."""
    with supervised(zookeeper.connection, tmp_path) as (daemon, _):
        for pid in daemon.becomes_whole().values():
            environment = psutil.Process(pid).environ()
            assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & set(environment)
