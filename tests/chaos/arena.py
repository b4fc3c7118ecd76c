"""What is under fire: one server, two ways to it, one daemon, and the witnesses.

Theory of operation: the daemon and the workers of even slots reach the server through the main door, those
of odd slots through the side door; both are proxies. The witnesses look past them. The daemon is brought back
whenever it ends, as systemd would, and each of its lives is written into the history.

Limits: a daemon that finds no worker may give up at its start while the store is disturbed (exit code 3), nothing
else.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from autohealer.cli.exit_codes import ExitCode
from autohealer.launchspec import LaunchSpec
from autohealer.settings import GroupSettings
from tests.chaos.registry import RegistryWitness
from tests.chaos.sightings import ENV_ARENA
from tests.chaos.witness import Witness
from tests.chaos.worker import ENV_SIDE_DOOR
from tests.support.daemon import Daemon
from tests.support.history import (
    DaemonEnded,
    DaemonStarted,
    Farewell,
    Fault,
    Harm,
    Relief,
    StopAsked,
    StoreIs,
    Wanted,
)
from tests.support.proxy import ChaosProxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.servers import ZooKeeperServer

REPLICAS = 10
SESSION_TIMEOUT_S = 4.0
REGISTRATION_TIMEOUT_S = 20.0
_WORKER = Path(__file__).with_name("worker.py")
_DETACH_WITHIN_S = 30.0


class Arena:
    """Everything a fault may strike, and the history of it."""

    def __init__(
        self,
        server: ZooKeeperServer,
        doors: tuple[ChaosProxy, ChaosProxy],
        daemon: Daemon,
        registry: RegistryWitness,
        witness: Witness,
    ) -> None:
        self.server = server
        self.main_door, self.side_door = doors
        self.daemon = daemon
        self.registry = registry
        self.witness = witness
        self.daemon_is_down = True
        self._store_faults = 0
        self._store_disturbed = False
        self._said_before = ""

    @property
    def settings(self) -> GroupSettings:
        """What the daemon was told, for the rules it is judged by."""
        return GroupSettings(
            self.daemon.group,
            REPLICAS,
            LaunchSpec(()),
            session_timeout_s=SESSION_TIMEOUT_S,
            registration_timeout_s=REGISTRATION_TIMEOUT_S,
        )

    # --- the daemon -----------------------------------------------------------------------------

    def start_daemon(self) -> None:
        """Start it; it is expected to run from now on."""
        self._store_disturbed = self._store_faults > 0
        self._said_before = self._said()
        self.witness.tell(DaemonStarted)
        self.daemon.start()
        self.daemon_is_down = False

    def end_daemon(self) -> None:
        """Kill it and collect it."""
        self.daemon.kill()
        self._bid_farewell(Farewell.CRASHED)

    def detach_daemon(self) -> bool:
        """Ask it to leave its workers; False when it is not there to be asked."""
        told = ("--group", self.daemon.group, "--state-dir", str(self.daemon.state_dir))
        asked = subprocess.run(
            (sys.executable, "-m", "autohealer", "detach", *told),
            capture_output=True,
            check=False,
            timeout=_DETACH_WITHIN_S,
        )
        if asked.returncode != ExitCode.OK:
            return False
        if (code := self.daemon.wait()) != ExitCode.OK:
            self.witness.complaints.append(f"detach: the daemon ended with exit code {code}")
        self._bid_farewell(Farewell.DETACHED)
        return True

    def stop_daemon(self) -> None:
        """Ask it to end everything, and wait until it has ended itself."""
        self.witness.tell(StopAsked)
        if (code := self.daemon.stop()) != ExitCode.OK:
            self.witness.complaints.append(f"I6: the daemon stopped with exit code {code}")
        self._bid_farewell(Farewell.STOPPED)

    def keep_daemon(self) -> None:
        """Bring it back if it ended although nobody ended it."""
        if self.daemon_is_down:
            return
        try:
            code = self.daemon.wait(0)
        except subprocess.TimeoutExpired:
            return
        self._bid_farewell(Farewell.CRASHED)
        may_give_up = self._store_disturbed and not self.witness.live()
        if code != ExitCode.ZOOKEEPER or not may_give_up:
            self.witness.complaints.append(f"the daemon ended by itself with exit code {code}")
        self.start_daemon()

    def _said(self) -> str:
        """What all daemons so far have printed."""
        output = self.daemon.output
        return output.read_text(errors="replace") if output.exists() else ""

    def _bid_farewell(self, farewell: Farewell) -> None:
        self.daemon_is_down = True
        # What it launched with its last breath may not have been exec'd yet.
        self.witness.look_carefully()
        self.witness.tell(lambda at: DaemonEnded(at, farewell))

    # --- the store ------------------------------------------------------------------------------

    def disturb_store(self, kind: str, *, is_away: bool) -> None:
        """Record that a fault of the store begins; `is_away` when every client loses its connection at once."""
        self._store_faults += 1
        self._store_disturbed = True
        self.witness.tell(lambda at: Fault(at, kind, Harm.IMPAIRS))
        # Nobody loses a connection that was never made, nor grants the workers time after it.
        if is_away and "zookeeper_connected" in self._said().removeprefix(self._said_before):
            self.witness.tell(lambda at: StoreIs(at, up=False))

    def store_is_back(self, kind: str, *, was_away: bool) -> None:
        """Record that a fault of the store is over."""
        self._store_faults -= 1
        if was_away:
            self.witness.tell(lambda at: StoreIs(at, up=True))
        self.witness.tell(lambda at: Relief(at, kind))

    def doors(self) -> tuple[ChaosProxy, ChaosProxy]:
        """Both ways to the server."""
        return self.main_door, self.side_door


@contextmanager
def arena(server: ZooKeeperServer, state_dir: Path) -> Iterator[Arena]:
    """Set everything up around a running server, with a daemon that is just starting.

    Whatever is left is ended afterwards, except the server.
    """
    with ExitStack() as stack:
        main, side = (stack.enter_context(ChaosProxy(server.address)) for _ in range(2))
        daemon = Daemon(
            state_dir,
            main.address,
            replicas=REPLICAS,
            program=str(_WORKER),
            args=(),
            options=(
                *("--session-timeout", str(SESSION_TIMEOUT_S)),
                *("--registration-timeout", str(REGISTRATION_TIMEOUT_S)),
            ),
            environment={ENV_SIDE_DOOR: side.address, ENV_ARENA: str(state_dir)},
        )
        stack.callback(daemon.__exit__, None, None, None)
        registry = stack.enter_context(RegistryWitness(server.address))
        witness = stack.enter_context(Witness(str(state_dir), daemon.group, registry.names))
        witness.tell(lambda at: Wanted(at, REPLICAS))
        scene = Arena(server, (main, side), daemon, registry, witness)
        scene.start_daemon()
        yield scene
