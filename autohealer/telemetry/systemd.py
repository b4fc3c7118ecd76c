"""systemd's notify protocol: READY, STATUS, WATCHDOG and STOPPING, told from the decision loop.

The watchdog is fed by rounds of the loops and by nothing else, once each of them has turned: a loop that hangs is a
daemon that hangs.
See sd_notify(3).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Collection, Mapping, Sequence

from autohealer.core.actions import Plan
from autohealer.core.events import Event
from autohealer.core.model import Stop, View


class SystemdNotifier:
    """An observer of the decisions about the groups there are; silent where there is no systemd."""

    def __init__(self, address: str | None, groups: Callable[[], Collection[str]]) -> None:
        self._address = address
        self._groups = groups
        self._over: set[str] = set()
        self._views: dict[str, View] = {}
        self._turned: set[str] = set()
        self._told: set[str] = set()
        self._status = ""

    def __call__(self, _facts: Sequence[Event], plan: Plan, view: View) -> None:
        """One round of one group."""
        if self._address is None:
            return
        if plan.finished:
            self._over.add(view.group)
        self._views[view.group] = view
        self._turned.add(view.group)
        names = frozenset(self._groups())
        self._views = {name: it for name, it in self._views.items() if name in names}
        states = self._states(names)
        news = sorted(states - self._told)
        status = self._status_now()
        # A frozen decider must not look alive: starved of this, systemd restarts the daemon.
        alive = ["WATCHDOG=1"] if self._all_turn(names) else []
        changed = [status] if status != self._status else []
        if self._send([*alive, *news, *changed]):
            self._told |= states
            self._status = status
            if alive:
                self._turned.clear()

    def _states(self, names: frozenset[str]) -> set[str]:
        """The first launches were ordered in the very first rounds, so that is when the ramp is under way."""
        if names - self._views.keys():
            return set()
        stops = all(view.desired.stop is not Stop.NO for view in self._views.values())
        return {"READY=1", "STOPPING=1"} if stops else {"READY=1"}

    def _all_turn(self, names: frozenset[str]) -> bool:
        """Whether each group has decided since systemd was told last, and none is frozen."""
        frozen = any(view.violations for view in self._views.values())
        return not frozen and names <= self._turned | self._over

    def _status_now(self) -> str:
        ready = sum(view.ready_count() for view in self._views.values())
        wanted = sum(view.desired.kept for view in self._views.values())
        stores = {view.store.value for view in self._views.values()}
        return f"STATUS={ready}/{wanted} registered, ZooKeeper {' and '.join(sorted(stores))}"

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
