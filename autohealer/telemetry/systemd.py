"""systemd's notify protocol: READY, STATUS, WATCHDOG and STOPPING, told from the decision loop.

The watchdog is fed by rounds of the loop and by nothing else: a loop that hangs is a daemon that hangs.
See sd_notify(3).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence

from autohealer.core.actions import Plan
from autohealer.core.events import Event
from autohealer.core.model import Stop, View


class SystemdNotifier:
    """An observer of decisions that tells systemd; silent where there is none."""

    def __init__(self, address: str | None) -> None:
        self._address = address
        self._told: set[str] = set()
        self._status = ""

    def __call__(self, _facts: Sequence[Event], _plan: Plan, view: View) -> None:
        """One round."""
        if self._address is None:
            return
        # The first launches were ordered in the very first round, so that is when the ramp is under way.
        states = {"READY=1"} if view.desired.stop is Stop.NO else {"READY=1", "STOPPING=1"}
        news = sorted(states - self._told)
        status = f"STATUS={view.ready_count()}/{view.desired.replicas} registered, ZooKeeper {view.store.value}"
        # A frozen decider must not look alive: starved of this, systemd restarts the daemon.
        alive = [] if view.violations else ["WATCHDOG=1"]
        changed = [status] if status != self._status else []
        if self._send([*alive, *news, *changed]):
            self._told |= states
            self._status = status

    def _send(self, lines: list[str]) -> bool:
        """Whether systemd has it; what it could not take is told again with the next round."""
        if not lines or self._address is None:
            return True
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as notify:
            try:
                notify.sendto("\n".join(lines).encode(), address)
            except OSError:
                return False  # systemd is being re-executed, or does not read just now
        return True


def watchdog_heartbeat_s(environment: Mapping[str, str]) -> float | None:
    """How often the loop must make a round for systemd's watchdog: half its patience; None without one."""
    if environment.get("WATCHDOG_PID") not in {None, str(os.getpid())}:
        return None
    usec = environment.get("WATCHDOG_USEC", "")
    return int(usec) / 2_000_000 if usec.isdecimal() and int(usec) > 0 else None
