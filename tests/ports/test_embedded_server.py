"""What the daemon relies on in the server it brings along, asked of a real one."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from structlog import get_logger

from autohealer.assembly import zookeeper
from autohealer.core.model import Store
from autohealer.processes.reaper import Reaper
from tests.support.eventually import eventually_async
from tests.support.servers import HOST, four_letter_word, free_port


async def test_a_server_that_begins_to_hang_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing would be concluded from registrations any more, until somebody ends the server by hand."""
    port = free_port()
    monkeypatch.setattr(zookeeper, "SILENT_LOOKS", 1)
    reaper = Reaper(asyncio.get_running_loop())
    reaper.start()
    server = zookeeper.EmbeddedServer(port, tmp_path, b"secret", reaper, get_logger())
    try:
        await server.start()
        hanging = server.pid
        assert hanging is not None
        os.kill(hanging, signal.SIGSTOP)
        server.store_changed(Store.SUSPENDED)
        await eventually_async(lambda: server.pid not in {None, hanging}, within_s=30)
        await eventually_async(
            lambda: four_letter_word(f"{HOST}:{port}", "ruok") == "imok", within_s=30
        )
    finally:
        await server.stop()
        reaper.close()
