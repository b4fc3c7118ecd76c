"""What all keepers of one daemon use; made by `daemon`, handed to each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from structlog.typing import FilteringBoundLogger

from autohealer.assembly.unforeseen import Unforeseen
from autohealer.control.looks import Looks
from autohealer.control.requests import Commands
from autohealer.coordination.connections import Connections
from autohealer.coordination.granted import Granted
from autohealer.coordination.registry import Registry
from autohealer.coordination.session import Session, SessionId
from autohealer.daemon.neighbours import Neighbours
from autohealer.processes.reaper import Reaper
from autohealer.processes.sizes import Scales
from autohealer.settings import DaemonSettings


@dataclass(frozen=True, slots=True)
class Shared:
    """What all keepers of one daemon use.

    `agent_session` makes one for a group's agent, `granted` tells how long workers' sessions last; `connection` is the
    ZooKeeper that workers are told of, and `user` whose it must be, if that is known. `commands` are what a control
    socket may ask of the daemon.
    """

    settings: DaemonSettings
    session: Session
    neighbours: Neighbours
    registry: Registry
    connections: Connections
    granted: Granted
    agent_session: Callable[[SessionId | None, Callable[[str], None]], Session]
    connection: str
    secret: bytes
    reaper: Reaper
    logger: FilteringBoundLogger
    unforeseen: Unforeseen
    user: int | None
    scales: Scales
    looks: Looks
    commands: Commands
