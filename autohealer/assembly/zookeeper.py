"""Which ZooKeeper this daemon uses, and keeping the embedded one alive where it is that.

Theory of operation. The choice is made by looking at what listens. An embedded server is kept by the
simplest rule there is: whenever it ended, or the daemon's session is cut while it does not run, and nobody
listens on its port, launch it. So daemons that share a port share one server, and when the one that
started it leaves and takes it along, another brings it back. A server an earlier daemon left is taken over. One of
ours that takes connections and does not answer hangs: it is ended and launched again, which costs no session.
"""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from autohealer.assembly.errors import ZooKeeperError
from autohealer.contract import adoption_token
from autohealer.coordination.probe import Listener, who_listens
from autohealer.core.model import Store
from autohealer.processes.companion import Companion
from autohealer.processes.reaper import Reaper
from autohealer.settings import (
    CONNECT_TIMEOUT_S,
    EMBEDDED_PORT,
    AutoTarget,
    EmbeddedTarget,
    EnsembleTarget,
    Target,
)

LOOPBACK = "127.0.0.1"
POLL_S = 0.01
"""Between two looks at a server that is starting; it takes some 100 ms."""

RETRY_S = 1.0
"""Between two looks while there is no server: short against any session timeout."""

SILENT_LOOKS = 5
"""A server that did not answer so many looks in a row hangs; with `RETRY_S` and a probe's patience, 15 seconds."""

SHORT_LIFE_S = 5.0
"""A server that ends sooner than this is not launched again at once."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which ZooKeeper is used, and why; `embedded_port` is set where it is an embedded one."""

    connection: str
    why: str
    embedded_port: int | None = None


def choose(target: Target) -> Choice:
    """Decide which ZooKeeper to use, by looking at what listens. Raises `ZooKeeperError`."""
    match target:
        case EnsembleTarget(connection):
            return Choice(connection, "as told by --zookeeper or AUTOHEALER_ZOOKEEPER")
        case EmbeddedTarget(port):
            return _choose_local(port, asked=True)
        case AutoTarget():
            return _choose_local(EMBEDDED_PORT, asked=False)


def _choose_local(port: int, *, asked: bool) -> Choice:
    address = f"{LOOPBACK}:{port}"
    match who_listens(LOOPBACK, port):
        case Listener.NOBODY:
            why = "as told" if asked else f"nothing answers on {address}"
            return Choice(address, f"embedded server: {why}", embedded_port=port)
        case Listener.EMBEDDED:
            return Choice(address, "an embedded server already runs there", embedded_port=port)
        case Listener.ZOOKEEPER if not asked:
            return Choice(address, "a ZooKeeper answers there (auto)")
        case Listener.ZOOKEEPER:
            raise ZooKeeperError(
                f"port {port} is taken by another ZooKeeper: use it with --zookeeper {address}, "
                "or give the embedded server another port with --zookeeper embedded:PORT"
            )
        case Listener.SILENT:
            return Choice(address, "whoever is there does not answer", embedded_port=port)
        case Listener.STRANGER:
            raise _taken(port)


def _taken(port: int) -> ZooKeeperError:
    return ZooKeeperError(
        f"port {port} is taken by something that is not ZooKeeper: "
        "give the embedded server another port with --zookeeper embedded:PORT, "
        "or name a ZooKeeper with --zookeeper HOST:PORT"
    )


class EmbeddedServer:
    """The embedded server on one port, ours or another daemon's; used from the event loop's thread only."""

    def __init__(
        self,
        port: int,
        state_dir: Path,
        secret: bytes,
        reaper: Reaper,
        logger: FilteringBoundLogger,
    ) -> None:
        self._port = port
        self._folder = state_dir / f"zkserver-{port}"
        self._log_path = self._folder / "server.log"
        self._logger = logger.bind(port=port)
        self._connected = False
        self._stopping = False
        self._deaths = 0
        self._look: asyncio.Task[None] | None = None
        self._companion = Companion(
            argv=(
                *(sys.executable, "-m", "autohealer.zkserver"),
                *("--port", str(port), "--data-dir", str(self._folder / "data")),
            ),
            environment=os.environ,
            token=adoption_token(secret, f"zkserver:{port}"),
            output=self._open_log,
            reaper=reaper,
            on_end=self._ended,
        )

    @property
    def pid(self) -> int | None:
        """Its process, if it is ours and lives."""
        return self._companion.pid

    async def start(self) -> None:
        """Return when a server answers on the port. Raises `ZooKeeperError`."""
        adopted, listener = self._companion.adopt(), await self._who_listens()
        if adopted:
            self._logger.info("embedded_server_adopted", pid=self.pid)
            if listener is Listener.SILENT:
                self._end_hanging()
        elif listener is Listener.NOBODY:
            self._launch()
        elif listener is Listener.SILENT:
            raise _taken(self._port)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                while await self._who_listens() is not Listener.EMBEDDED:
                    if self._deaths > 1:  # once may be a race with another daemon's server
                        raise self._not_started()
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise self._not_started() from None

    async def stop(self) -> None:
        """Take it down, if it is ours."""
        self._look_no_more()
        await self._companion.stop()

    def release(self) -> None:
        """Leave it running for the next daemon to take over."""
        self._look_no_more()
        self._companion.release()

    def _look_no_more(self) -> None:
        self._stopping = True
        if self._look is not None:
            self._look.cancel()

    def store_changed(self, store: Store) -> None:
        """The daemon's own session tells whether a server is there at all."""
        self._connected = store is Store.CONNECTED
        if not self._connected:
            self._look_after(RETRY_S)

    def _ended(self, pid: int, lived_s: float) -> None:
        if self._stopping:
            return
        self._deaths += 1
        self._logger.warning("embedded_server_died", pid=pid, said=self._last_line())
        self._look_after(RETRY_S if lived_s < SHORT_LIFE_S else 0.0)

    def _look_after(self, delay_s: float) -> None:
        if not self._stopping and (self._look is None or self._look.done() or delay_s == 0.0):
            if self._look is not None:
                self._look.cancel()
            self._look = asyncio.get_running_loop().create_task(self._bring_back(delay_s))

    async def _bring_back(self, delay_s: float) -> None:
        """Launch it where nobody listens, end it where it hangs; look again while there is no session."""
        await asyncio.sleep(delay_s)
        silent_looks = 0
        while not self._connected or self.pid is None:
            try:
                listener = await self._who_listens()
                if self.pid is None and listener is Listener.NOBODY:
                    self._launch()
            except (ZooKeeperError, OSError, RuntimeError) as error:
                # Short of descriptors, processes or threads: that may pass.
                self._logger.warning("embedded_server_not_launched", why=str(error))
                listener = Listener.NOBODY
            if self._connected:
                return  # another daemon's server serves us, or ours is there
            silent_looks = silent_looks + 1 if listener is Listener.SILENT else 0
            if silent_looks == SILENT_LOOKS:
                self._end_hanging()
            await asyncio.sleep(RETRY_S)

    def _end_hanging(self) -> None:
        """End a server of ours that does not answer; that it ended has it launched again."""
        if self.pid is not None:
            self._logger.error("embedded_server_hangs", pid=self.pid)
            self._companion.kill()

    def _launch(self) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._companion.launch()
        except OSError as error:
            raise ZooKeeperError(
                f"the embedded ZooKeeper server cannot be launched: {error}"
            ) from error
        self._logger.info("embedded_server_started", pid=self.pid)

    def _not_started(self) -> ZooKeeperError:
        return ZooKeeperError(
            f"the embedded ZooKeeper server did not start on port {self._port}: {self._last_line()}"
        )

    async def _who_listens(self) -> Listener:
        return await asyncio.to_thread(who_listens, LOOPBACK, self._port)

    def _open_log(self) -> int:
        return os.open(self._log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)

    def _last_line(self) -> str:
        try:
            lines = self._log_path.read_text(errors="replace").strip().splitlines()
        except OSError as error:
            return str(error)
        return lines[-1] if lines else "it said nothing"
