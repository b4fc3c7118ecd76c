"""A cold start of many workers, all of them reconnecting, and their stop, beside what the processor needs for it.

Run `python -m benchmarks.ramp [--workers 200] [--server embedded|apache|both] [--json]`.

Theory of operation. Starting a worker is work for the processor, so N of them cannot be there sooner than the machine
can do that work N times. That floor is measured by launching the same workers by hand, `--at-once` under way at a time
(without it, the best of a few, found by short trials), from the first launch to the last registration. Then a real
daemon starts N, in the same run against the same server:

ramp        from the daemon's exec to the last worker registered, as the workers tell it; `shown` is when the daemon's
            own status says so
reconnect   the server is stopped and started: from its first answer until every worker has a session again
stop        from TERM to the daemon's end; `killed` counts workers that were killed at the end of their grace, and the
            floor is TERM for the workers launched by hand, as many at a time

The server is asked how many connections asked it for a session and how many sessions expired: workers that lose their
patience show as more connections than workers, and as sessions that nobody ends. It is asked again after a session
timeout, because that is when they show.

Limits: one machine, loopback; workers, daemon, server and this program share its processors. Compare the ratios, and
only within one run: other work on the machine hits them alike only as far as it is steady.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autohealer.contract import (
    DEFAULT_SESSION_TIMEOUT_S,
    ENV_SESSION_TIMEOUT_S,
    ENV_ZNODE,
    ENV_ZOOKEEPER,
    WORKERS_PATH,
)
from benchmarks.lab import FOLDER, Reports, compiled_environment, make_paths, say, server_of
from tests.support.daemon import Daemon
from tests.support.eventually import eventually
from tests.support.servers import ServerProcess, four_letter_word

if TYPE_CHECKING:
    from collections.abc import Mapping

PROGRAM = FOLDER / "sdk_worker.py"
FLOOR_PATH = "/floor"
TRIALS = (1, 2, 4, 8)
"""Workers under way at once, for each processor, that are tried for the floor."""
TRIAL_WORKERS = 40
WITHIN_S = 600.0
EXPIRY_S = DEFAULT_SESSION_TIMEOUT_S + 2.0
"""By then a session that nobody keeps has expired."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked of the server over some time: handshakes, and sessions that ended because nobody kept them."""

    handshakes: int
    expired: int

    def since(self, earlier: Asked) -> Asked:
        """The difference."""
        return Asked(self.handshakes - earlier.handshakes, self.expired - earlier.expired)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One server's figures; times in seconds, connections per worker, and the floors they are compared with."""

    server: str
    workers: int
    at_once: int
    floor_s: float
    ramp_s: float
    ramp_ratio: float
    shown_s: float
    connections: float
    expired: int
    reconnect_s: float
    reconnections: float
    reconnect_expired: int
    replaced: int
    stop_floor_s: float
    stop_s: float
    stop_ratio: float
    killed: int
    load_1min: float


def main() -> int:
    """Measure and print."""
    options = _options()
    kinds = ("embedded", "apache") if options.server == "both" else (options.server,)
    outcomes = []
    for kind in kinds:
        with tempfile.TemporaryDirectory() as name:
            outcome = _measure(kind, Path(name), options.workers, options.at_once)
        outcomes.append(outcome)
        if not options.json:
            _print(outcome)
    if options.json:
        say(json.dumps([asdict(outcome) for outcome in outcomes], indent=2))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.ramp", description=__doc__.split("\n")[0])
    parser.add_argument("--server", choices=("embedded", "apache", "both"), default="embedded")
    parser.add_argument("--workers", type=int, default=200, metavar="N")
    parser.add_argument(
        "--at-once", type=int, metavar="N", help="under way at a time for the floor"
    )
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _measure(kind: str, folder: Path, workers: int, at_once: int | None) -> Outcome:
    with ExitStack() as undo:
        zookeeper = server_of(kind, folder)
        undo.callback(zookeeper.stop)
        _start(zookeeper)
        make_paths(zookeeper.address, WORKERS_PATH, FLOOR_PATH)
        reports = undo.enter_context(Reports())
        environment = compiled_environment(folder / "compiled") | reports.environment
        by_hand = ByHand(zookeeper, reports, environment)
        undo.callback(by_hand.kill)
        at_once = at_once or by_hand.best_at_once(workers)
        floor_s = by_hand.start(workers, at_once)
        stop_floor_s = by_hand.stop(at_once)
        load = os.getloadavg()[0]
        figures = _measure_daemon(zookeeper, reports, environment, folder / "state", workers)
    return Outcome(
        server=kind,
        workers=workers,
        at_once=at_once,
        floor_s=round(floor_s, 2),
        stop_floor_s=round(stop_floor_s, 2),
        ramp_ratio=round(figures["ramp_s"] / floor_s, 2),
        stop_ratio=round(figures["stop_s"] / stop_floor_s, 2),
        load_1min=round(load, 1),
        **figures,
    )


# --- by hand ----------------------------------------------------------------------------------


class ByHand:
    """Launches workers as bare as it gets, so many under way at a time, and ends them again."""

    def __init__(
        self, zookeeper: ServerProcess, reports: Reports, environment: Mapping[str, str]
    ) -> None:
        self._reports = reports
        self._environment = dict(environment) | {
            ENV_ZOOKEEPER: zookeeper.address,
            ENV_SESSION_TIMEOUT_S: f"{DEFAULT_SESSION_TIMEOUT_S:g}",
        }
        self._launched = 0
        self._pids: list[int] = []

    def best_at_once(self, workers: int) -> int:
        """Which of the trials starts some workers soonest."""
        few = min(TRIAL_WORKERS, workers)
        self._timed(1, 1)  # compiles and caches
        cores = len(os.sched_getaffinity(0))
        took_s = {at_once: self._timed(few, at_once) for at_once in (cores * n for n in TRIALS)}
        return min(took_s, key=took_s.__getitem__)

    def start(self, workers: int, at_once: int) -> float:
        """How long it takes to have so many registered."""
        began_s = time.monotonic()
        under_way = 0
        for _ in range(workers):
            if under_way == at_once:
                self._reports.next_below(FLOOR_PATH)
                under_way -= 1
            self._launch()
            under_way += 1
        for _ in range(under_way):
            self._reports.next_below(FLOOR_PATH)
        return time.monotonic() - began_s

    def stop(self, at_once: int) -> float:
        """How long it takes to end them all by TERM."""
        began_s = time.monotonic()
        ending: set[int] = set()
        while self._pids or ending:
            if self._pids and len(ending) < at_once:
                pid = self._pids.pop()
                os.kill(pid, signal.SIGTERM)
                ending.add(pid)
            else:
                ended, _ = os.waitpid(-1, 0)
                ending.discard(ended)
                if ended in self._pids:
                    self._pids.remove(ended)
                    say(f"worker {ended} ended by itself: is there memory for all?")
        return time.monotonic() - began_s

    def kill(self) -> None:
        """Leave none behind, whatever went wrong."""
        for pid in self._pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _timed(self, workers: int, at_once: int) -> float:
        took_s = self.start(workers, at_once)
        self.stop(at_once)
        return took_s

    def _launch(self) -> None:
        self._launched += 1
        path = f"{FLOOR_PATH}/floor-0-{self._launched}"
        argv = [sys.executable, str(PROGRAM)]
        environment = self._environment | {ENV_ZNODE: path}
        # As a daemon's worker, it does not speak to the terminal.
        silent = [(os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)]
        pid = os.posix_spawn(argv[0], argv, environment, file_actions=silent, setsid=True)
        self._pids.append(pid)


# --- the daemon -------------------------------------------------------------------------------


def _measure_daemon(
    zookeeper: ServerProcess,
    reports: Reports,
    environment: dict[str, str],
    state_dir: Path,
    workers: int,
) -> dict[str, Any]:
    before = _asked(zookeeper)
    began_ns = time.monotonic_ns()
    with Daemon(
        state_dir,
        zookeeper.address,
        replicas=workers,
        program=str(PROGRAM),
        args=(),
        environment=environment,
    ) as daemon:
        ramp_s = (_last_registered_ns(reports, daemon, workers) - began_ns) / 1e9
        daemon.becomes_whole(WITHIN_S)
        shown_s = (time.monotonic_ns() - began_ns) / 1e9
        time.sleep(EXPIRY_S)
        ramp = _asked(zookeeper).since(before)
        reconnect_s, reconnect = _measure_reconnect(zookeeper, workers)
        daemon.becomes_whole(WITHIN_S)
        replaced = sum(slot.restarts for slot in daemon.slots())
        stopped_s = time.monotonic()
        daemon.signal(signal.SIGTERM)
        daemon.wait(WITHIN_S)
        stop_s = time.monotonic() - stopped_s
        killed = _killed(daemon)
    return {
        "ramp_s": round(ramp_s, 2),
        "shown_s": round(shown_s, 2),
        "connections": round((ramp.handshakes - 1) / workers, 3),
        "expired": ramp.expired,
        "reconnect_s": round(reconnect_s, 2),
        "reconnections": round((reconnect.handshakes - 1) / workers, 3),
        "reconnect_expired": reconnect.expired,
        "replaced": replaced,
        "stop_s": round(stop_s, 2),
        "killed": killed,
    }


def _last_registered_ns(reports: Reports, daemon: Daemon, workers: int) -> int:
    """When the last slot was registered for the first time."""
    seen: dict[str, int] = {}
    while len(seen) < workers:
        report = reports.next_below(f"{WORKERS_PATH}/{daemon.group}-", WITHIN_S)
        slot = report.path.rsplit("-", 2)[1]
        seen.setdefault(slot, report.registered_ns)
    return max(seen.values())


def _measure_reconnect(zookeeper: ServerProcess, workers: int) -> tuple[float, Asked]:
    """Stop and start the server; how long until all are connected again, and what that took."""
    zookeeper.stop()
    _start(zookeeper)
    began_s = time.monotonic()
    eventually(
        lambda: _monitored(zookeeper)["zk_num_alive_connections"] > workers + 1,
        within_s=WITHIN_S,
    )
    took_s = time.monotonic() - began_s
    time.sleep(EXPIRY_S)
    return took_s, _asked(zookeeper)


def _killed(daemon: Daemon) -> int:
    """Workers that outlived their grace."""
    return len(daemon.log("worker_killed"))


# --- the server -------------------------------------------------------------------------------


def _start(zookeeper: ServerProcess) -> None:
    """Beside other work a server may take long to start."""
    zookeeper.launch()
    eventually(lambda: _monitored(zookeeper), within_s=WITHIN_S)


def _asked(zookeeper: ServerProcess) -> Asked:
    values = _monitored(zookeeper)
    return Asked(values["zk_connection_request_count"], values["zk_stale_sessions_expired"])


def _monitored(zookeeper: ServerProcess) -> dict[str, int]:
    """What `mntr` says in whole numbers; nothing while the server only says that it does not serve yet."""
    lines = four_letter_word(zookeeper.address, "mntr").splitlines()
    pairs = (line.partition("\t") for line in lines)
    return {key: int(value) for key, _, value in pairs if value.isdecimal()}


# --- printing ---------------------------------------------------------------------------------


def _print(of: Outcome) -> None:
    say(
        f"{of.workers} workers, server {of.server}, load {of.load_1min}; by hand {of.at_once} at once"
    )
    say(f"{'':12}{'seconds':>9}{'floor':>8}{'ratio':>7}{'conn./worker':>14}{'expired':>9}")
    say(
        f"{'ramp':12}{of.ramp_s:9.2f}{of.floor_s:8.2f}{of.ramp_ratio:7.2f}{of.connections:14.3f}{of.expired:9d}"
        f"  shown as whole after {of.shown_s:.2f} s"
    )
    say(
        f"{'reconnect':12}{of.reconnect_s:9.2f}{'':15}{of.reconnections:14.3f}{of.reconnect_expired:9d}"
        f"  replaced: {of.replaced}"
    )
    say(
        f"{'stop':12}{of.stop_s:9.2f}{of.stop_floor_s:8.2f}{of.stop_ratio:7.2f}{'':23}"
        f"  killed at the end of their grace: {of.killed}"
    )


if __name__ == "__main__":
    raise SystemExit(main())
