"""Exec an incarnation: its command, its environment, its output; nothing is remembered here.

A worker gets the daemon's own environment, without what systemd told the daemon about itself, and with what its group's
spec says, what it has to know to register, and its proof.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pwd import getpwuid

from autohealer.contract import (
    ENV_GENERATION,
    ENV_GROUP,
    ENV_KEEPER,
    ENV_REGISTRAR,
    ENV_REVISION,
    ENV_SLOT,
    ENV_TOKEN,
    ENV_ZNODE,
    TEXT_CHARS_MAX,
    ZnodeName,
    keeper_id,
)
from autohealer.core.model import Incarnation
from autohealer.core.policy import Registrar
from autohealer.healthspec import filled
from autohealer.launchspec import LaunchSpec, ResourceLimits
from autohealer.processes.allowance import before_it_begins, held_back, knowing_its_pid, limit, rank
from autohealer.processes.guise import Account, account_of, guise
from autohealer.processes.identity import ENV_LAUNCHED, ticks_now, token_of
from autohealer.processes.output import Output
from autohealer.processes.spawn import in_bytes, spawn_detached

_DAEMONS_OWN = (
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
)
"""What systemd told the daemon about itself is no business of its workers."""

_ITS_OWN = (ENV_TOKEN, ENV_ZNODE, ENV_LAUNCHED, *_DAEMONS_OWN)
"""What says which process a worker is is for nobody beside it."""

ENV_PROBE = "AUTOHEALER_PROBE"
"""Marks what a command beside a worker starts, so that it can be found."""


class Launcher:
    """Launches incarnations of one group."""

    def __init__(
        self,
        spec: LaunchSpec,
        environment: Mapping[str, str],
        group: str,
        secret: bytes,
        output: Output,
    ) -> None:
        """Raises `UnknownUser`."""
        self.program = spec.argv[0]
        self.tree_limits = spec.tree_limits
        self.revision = spec.revision
        self._spec = spec
        self._account = account_of(spec.user, spec.group)
        ranks = (spec.nice, spec.oom_score_adj)
        self._is_held_back = spec.limits != ResourceLimits() or ranks != (None, None)
        own = {k: v for k, v in environment.items() if k not in _DAEMONS_OWN}
        self._environment = own | _of_user(self._account) | _of_venv(spec.venv, own)
        self._of_daemon = {
            ENV_GROUP: group,
            ENV_KEEPER: keeper_id(secret),
            ENV_REVISION: self.revision,
        }
        self.also_told: Callable[[Incarnation], Mapping[str, str]] = lambda _name: {}
        """On the launching thread: what else a worker finds in its environment. May raise `OSError`."""
        self._also_beside: list[bytes] | None = None
        """What a command beside a worker finds in its environment whichever worker it is."""
        self._group = group
        self._secret = secret
        self._output = output

    def launch(self, name: Incarnation) -> int:
        """On the launching thread: exec an incarnation in a session of its own; its pid. Raises `OSError`."""
        spec = self._spec
        values = self.values_for(name)
        argv = [filled(word, values) for word in spec.argv]
        own = self._own_of(name, values)
        environment = self._environment | own | dict(self.also_told(name))
        output = self._output.open(name.slot)
        if spec.watchdog_s is not None:
            argv = knowing_its_pid(argv)
        with guise(self._account, spec.umask):
            words = held_back(argv) if self._is_held_back else argv
            pid = spawn_detached(words, environment, output, spec.directory)
        if self._is_held_back:
            try:
                with before_it_begins(pid):
                    self._allow(pid)
            except OSError:
                os.kill(pid, signal.SIGKILL)  # nobody has reaped it: it is collected as a stray
                raise
        return pid

    def launch_beside(self, name: Incarnation, argv: Sequence[str], output: int, mark: str) -> int:
        """On a thread: exec a command as an incarnation is, and as nothing of it; its pid. Raises `OSError`."""
        own = self._own_of(name, self.values_for(name))
        told = {key: value for key, value in own.items() if key not in _ITS_OWN}
        if self._also_beside is None:
            rest = self._environment.keys() - own.keys() - set(_ITS_OWN)
            self._also_beside = in_bytes({key: self._environment[key] for key in rest})
        with guise(self._account, self._spec.umask):
            taken = os.dup(output)
            told[ENV_PROBE] = mark
            return spawn_detached(argv, told, taken, self._spec.directory, self._also_beside)

    def _allow(self, pid: int) -> None:
        spec = self._spec
        try:
            limit(pid, spec.limits)
        except PermissionError:
            if self._account is None:
                raise
            # A root without CAP_SYS_RESOURCE, as in containers, may not; whose process it is may lower them.
            with guise(self._account, None):
                limit(pid, spec.limits)
        rank(pid, spec.nice, spec.oom_score_adj)

    def address_of(self, name: Incarnation, revision: str) -> str:
        """Where one that was launched from a revision serves, as `host:port`; "" where that is not known from here."""
        if self._spec.port is None or revision != self.revision:
            return ""
        address = f"{os.uname().nodename}:{self._spec.port + name.slot}"
        return address if len(address) <= TEXT_CHARS_MAX else ""

    def values_for(self, name: Incarnation) -> dict[str, str]:
        """What the placeholders stand for."""
        port = {} if self._spec.port is None else {"port": str(self._spec.port + name.slot)}
        return port | {
            "slot": str(name.slot),
            "group": self._group,
            "host": os.uname().nodename,
            "generation": str(name.generation),
        }

    def _own_of(self, name: Incarnation, values: Mapping[str, str]) -> dict[str, str]:
        """What an incarnation finds in its environment beside what all of them do; the names are the same for all."""
        path = ZnodeName(self._group, name.slot, name.generation).path
        registrar = self._spec.registrar
        told = (
            {ENV_ZNODE: path} if registrar is Registrar.SELF else {ENV_REGISTRAR: registrar.value}
        )
        return (
            ({"PORT": values["port"]} if "port" in values else {})
            | {key: filled(value, values) for key, value in self._spec.environment}
            | self._of_daemon
            | {
                ENV_SLOT: str(name.slot),
                ENV_GENERATION: str(name.generation),
                **told,
                ENV_TOKEN: token_of(self._secret, self._group, name),
                ENV_LAUNCHED: str(ticks_now()),
            }
        )


def _of_venv(venv: str, own: Mapping[str, str]) -> dict[str, str]:
    """What activating a virtual environment sets."""
    if not venv:
        return {}
    return {"VIRTUAL_ENV": venv, "PATH": f"{venv}/bin:{own.get('PATH', os.defpath)}"}


def _of_user(account: Account | None) -> dict[str, str]:
    """What tells programs whose they are, as systemd sets it for another user."""
    try:
        entry = None if account is None else getpwuid(account.uid)
    except KeyError:
        entry = None
    if entry is None:
        return {}
    return {
        "HOME": entry.pw_dir,
        "USER": entry.pw_name,
        "LOGNAME": entry.pw_name,
        "SHELL": entry.pw_shell,
    }
