"""A pytest plugin that makes kazoo's own tests use one external server instead of a Java cluster.

Theory of operation. kazoo's test harness asks `get_global_cluster()` for a list of servers it can run,
stop and reset; this puts in its place a list of one, a subprocess started by the shell command in
`EXTZK_COMMAND`. The command must `exec` the server (so that waiting for it sees it die) and finds its
port and directory in `$PORT` and `$DATA`.

Use: `EXTZK_COMMAND=... EXTZK_PORT=... pytest -p extzk --pyargs kazoo.tests.test_client ...`
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import types
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 5.0

NEEDS_A_CLUSTER = (
    "TestClient::test_update_host_list",
    "TestSSLClient::test_create",
    "TestReconfig::test_add_remove_observer",
    "TestReconfig::test_bad_input",
    "TestReconfig::test_no_super_auth",
    "TestReadOnlyMode::test_read_only",
)
"""They need several servers, TLS or a reconfigurable ensemble; Apache's own single server fails them too."""


class ExternalServer:
    """The one server, with the attributes of `kazoo.testing.common.ManagedZooKeeper` the tests use."""

    host = "127.0.0.1"

    def __init__(self, command: str, port: int) -> None:
        self.client_port = port
        self.address = self.secure_address = f"{self.host}:{port}"
        self._command = command
        self._data_dir = Path(tempfile.mkdtemp(prefix="extzk-"))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def run(self) -> None:
        """Start it and wait until it accepts connections."""
        if self.running:
            return
        environment = {**os.environ, "PORT": str(self.client_port), "DATA": str(self._data_dir)}
        self._process = subprocess.Popen(
            self._command,
            shell=True,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not self._accepts():
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"nothing listens on {self.address}")
            time.sleep(0.01)

    def stop(self) -> None:
        """Stop it, keeping its data."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def reset(self) -> None:
        """Stop it and wipe its data."""
        self.stop()
        shutil.rmtree(self._data_dir, ignore_errors=True)
        self._data_dir.mkdir()

    def remove(self) -> None:
        """Stop it and leave nothing behind."""
        self.stop()
        shutil.rmtree(self._data_dir, ignore_errors=True)

    def get_logs(self, _lines: int = 100) -> list[str]:
        """Part of the interface; there is nothing to show."""
        return []

    def _accepts(self) -> bool:
        try:
            socket.create_connection((self.host, self.client_port), 1).close()
        except OSError:
            return False
        return True


class ExternalCluster(list[ExternalServer]):
    """A cluster of one."""

    def start(self) -> None:
        """Start every server."""
        for server in self:
            server.run()

    def stop(self) -> None:
        """Stop every server."""
        for server in self:
            server.stop()

    def reset(self) -> None:
        """Stop and wipe every server."""
        for server in self:
            server.reset()

    def terminate(self) -> None:
        """Stop and wipe: the tests call it between classes."""
        self.reset()

    def get_logs(self) -> list[str]:
        """Part of the interface; there is nothing to show."""
        return []


def _stub_tls_modules() -> None:
    """`OpenSSL` and `jks` serve only kazoo's own TLS cluster, yet its harness imports them at the top."""
    for name in ("OpenSSL", "jks"):
        sys.modules.setdefault(name, types.ModuleType(name))


def _install() -> None:
    _stub_tls_modules()
    from kazoo.testing import harness  # after the stubs, which it needs to be importable

    server = ExternalServer(os.environ["EXTZK_COMMAND"], int(os.environ["EXTZK_PORT"]))
    cluster = ExternalCluster([server])
    harness.get_global_cluster = lambda: cluster
    atexit.register(server.remove)


def pytest_configure(config: pytest.Config) -> None:
    """Put the external server in place before any test is imported."""
    _install()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out exactly what one external server can not do."""
    left_out = [item for item in items if item.nodeid.endswith(NEEDS_A_CLUSTER)]
    items[:] = [item for item in items if item not in left_out]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
