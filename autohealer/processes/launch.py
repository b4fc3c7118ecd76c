"""Exec an incarnation: its command, its environment, its output; nothing is remembered here.

A worker gets the daemon's own environment, without what systemd told the daemon about itself, and with what it
has to know to register, and its proof.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autohealer.contract import (
    ENV_GENERATION,
    ENV_GROUP,
    ENV_KEEPER,
    ENV_REGISTRAR,
    ENV_SLOT,
    ENV_TOKEN,
    ENV_ZNODE,
    ZnodeName,
    keeper_id,
)
from autohealer.core.model import Incarnation
from autohealer.processes.identity import ENV_LAUNCHED, ticks_now, token_of
from autohealer.processes.output import OutputFiles
from autohealer.processes.spawn import spawn_detached

_DAEMONS_OWN = (
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
)
"""What systemd told the daemon about itself is no business of its workers."""


class Launcher:
    """Launches incarnations of one group."""

    def __init__(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        group: str,
        secret: bytes,
        output: OutputFiles,
        *,
        registers_itself: bool,
    ) -> None:
        self.program = argv[0]
        self._argv = argv
        self._environment = {k: v for k, v in environment.items() if k not in _DAEMONS_OWN}
        self._environment |= {ENV_GROUP: group, ENV_KEEPER: keeper_id(secret)}
        self._group = group
        self._secret = secret
        self._output = output
        self._registers_itself = registers_itself

    def launch(self, name: Incarnation) -> int:
        """Exec an incarnation in a session of its own; its pid. Raises `OSError`."""
        output = self._output.open(name.slot)
        return spawn_detached(self._argv, self._environment_for(name), output)

    def _environment_for(self, name: Incarnation) -> dict[str, str]:
        path = ZnodeName(self._group, name.slot, name.generation).path
        return self._environment | {
            ENV_SLOT: str(name.slot),
            ENV_GENERATION: str(name.generation),
            **({ENV_ZNODE: path} if self._registers_itself else {ENV_REGISTRAR: "agent"}),
            ENV_TOKEN: token_of(self._secret, self._group, name),
            ENV_LAUNCHED: str(ticks_now()),
        }
