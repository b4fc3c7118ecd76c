"""What a group's keeper begins with: its view, what workers are told, who it says it is to other daemons."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from autohealer.contract import (
    ENV_SESSION_TIMEOUT_S,
    ENV_ZOOKEEPER,
    ENV_ZOOKEEPER_USER,
    keeper_id,
)
from autohealer.coordination.claim import ClaimRecord
from autohealer.core.model import Budget, Desired, StoreRoom, View
from autohealer.credentials import Credentials
from autohealer.processes.executable import interpreter_of
from autohealer.processes.hints import python_of
from autohealer.processes.identity import boot_id
from autohealer.settings import GroupSettings


def claim_record(secret: bytes, state_dir: Path) -> ClaimRecord:
    """Who keeps a group, as other daemons are told."""
    return ClaimRecord(
        keeper=keeper_id(secret),
        host=os.uname().nodename,
        boot=boot_id(),
        pid=os.getpid(),
        state_dir=str(state_dir),
        version=version("autohealer"),
    )


def python_behind(argv: Sequence[str]) -> str:
    """The Python that runs a command, for hints about what it lacks."""
    interpreter = None
    with suppress(OSError):  # not ours to read: then its hints name no path
        interpreter = interpreter_of(Path(argv[0]))
    return python_of(argv, interpreter)


def first_view(settings: GroupSettings, room: StoreRoom, cores: int) -> View:
    """A view of a group of which nothing is known yet."""
    return View(
        policy=settings.policy(cores),
        budget=Budget(tokens=0.0),
        group=settings.name,
        room=room,
        # Microseconds since the epoch: no generation is given out twice, whatever was lost or wiped.
        generation_base=time.time_ns() // 1000,
        now=time.monotonic(),
        desired=Desired(revision=settings.launch.revision),
    )


def worker_environment(
    inherited: Mapping[str, str],
    settings: GroupSettings,
    connection: str,
    user: int | None,
    credentials: Credentials,
) -> dict[str, str]:
    """What a worker gets besides its identity; Python ones are to say at once what they say.

    `connection` is the ZooKeeper that it is told of, `user` whose that must be, where it is known.
    """
    return (
        {"PYTHONUNBUFFERED": "1"}
        | dict(inherited)
        | {
            ENV_ZOOKEEPER: connection,
            ENV_SESSION_TIMEOUT_S: f"{settings.session_timeout_s:g}",
        }
        | credentials.environment()
        | ({} if user is None else {ENV_ZOOKEEPER_USER: str(user)})
    )
