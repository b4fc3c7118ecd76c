"""The server that autohealer brings along, run for tests exactly as a user would run it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tests.support.servers import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class EmbeddedZooKeeper(ServerProcess):
    """`python -m autohealer.zkserver` on a port and a data directory of its own."""

    def __init__(
        self, data_dir: Path, port: int | None = None, options: Sequence[str] = ()
    ) -> None:
        """`options` stand behind all others on its command line."""
        super().__init__(data_dir, port)
        self._options = options

    def _command(self) -> Sequence[str]:
        data_dir = self.data_dir / "data"
        port = str(self.port)
        return (
            sys.executable,
            *("-m", "autohealer.zkserver", "--port", port, "--data-dir", str(data_dir)),
            *self._options,
        )
