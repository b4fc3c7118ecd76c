"""New groups are taken on all together or not at all."""

from __future__ import annotations

import asyncio
import os
import random
import time
from pathlib import Path

import pytest
import structlog

from autohealer.assembly.errors import PlatformError
from autohealer.assembly.groups import Groups
from autohealer.assembly.shared import Shared
from autohealer.assembly.unforeseen import Unforeseen
from autohealer.control.looks import Looks
from autohealer.control.records import ChangeRecord, ReloadRecord
from autohealer.control.requests import Asked, Commands
from autohealer.coordination.connections import Connections
from autohealer.coordination.granted import Granted
from autohealer.coordination.registry import Registry
from autohealer.coordination.session import Session
from autohealer.daemon.neighbours import Neighbours
from autohealer.launchspec import LaunchSpec
from autohealer.processes.identity import boot_id, start_ticks
from autohealer.processes.reaper import Reaper
from autohealer.processes.sizes import Scales
from autohealer.settings import DaemonSettings, EnsembleTarget, GroupSettings
from autohealer.statedir.hold import Hold
from autohealer.statedir.lock import Holder
from tests.support.scarcity import no_descriptor_left

NOWHERE = "127.0.0.1:1"


def shared(folder: Path) -> Shared:
    """What groups share, connected to nothing."""
    logger = structlog.get_logger()
    unforeseen = Unforeseen(logger)
    session = Session(NOWHERE, 10.0)
    reaper = Reaper(asyncio.get_running_loop())

    async def reloads(_only_tell: bool) -> ReloadRecord:
        return ReloadRecord()

    async def changes(group: str, _asked: Asked) -> ChangeRecord:
        return ChangeRecord(group, 1, "nothing")

    return Shared(
        DaemonSettings(folder, EnsembleTarget(NOWHERE), ()),
        session,
        Neighbours(),
        Registry(session, random.Random(), time.monotonic, lambda _why: None),
        Connections(session.client.hosts, speaks_tls=False),
        Granted(session, lambda asked_s: Session(NOWHERE, asked_s)),
        lambda resumes, said: Session(NOWHERE, 10.0, said=said, resumes=resumes),
        NOWHERE,
        b"secret",
        reaper,
        logger,
        unforeseen,
        None,
        Scales(unforeseen.start),
        Looks(unforeseen.start),
        Commands(lambda: None, lambda: None, reloads, changes),
    )


def taken(folder: Path, *names: str) -> list[tuple[GroupSettings, Hold]]:
    """Groups with their locks."""
    me = Holder(os.getpid(), start_ticks(os.getpid()) or 0, boot_id())
    launch = LaunchSpec(("/bin/sleep", "9"))
    return [(GroupSettings(name, 1, launch), Hold(folder, name, me)) for name in names]


def test_where_one_cannot_be_kept_none_is_and_nobody_is_held(tmp_path: Path) -> None:
    """A reload that failed half way would leave groups locked and unkept, and every later one would fail."""
    asyncio.run(_is_refused_twice(tmp_path))


async def _is_refused_twice(tmp_path: Path) -> None:
    everything = shared(tmp_path)
    groups = Groups(everything)
    for _ in range(2):
        new = taken(tmp_path, "web", "queue")
        with no_descriptor_left(), pytest.raises(PlatformError, match="cannot be kept now"):
            groups.change((), new, ())
        assert not groups.names
        assert everything.neighbours.room.replicas == {}
    for _, hold in taken(tmp_path, "web", "queue"):
        hold.close()
