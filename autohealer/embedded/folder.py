"""Where an embedded server lives on disk, and which daemon answers for it.

One folder per port in the state directory: the data directory with the server's own lock and pid, its log, and the
claim, a lock that the kernel drops with the daemon that holds it. Whoever has the claim may adopt the server and
takes it along at the end; another daemon of the same state directory only uses it.

Everything here may wait for a disk, so it is called on a thread. Must never know: processes, what a port answers.
"""

from __future__ import annotations

import fcntl
import os
import re
from contextlib import suppress
from pathlib import Path

from autohealer.statedir.files import open_private

NAME = re.compile(r"zkserver-(\d{1,5})")
TAIL_BYTES = 4096
_STAMP = re.compile(r"\d{4}-\d\d-\d\d [\d:,]+ zkserver ")


class ServerFolder:
    """The folder of the server on one port."""

    def __init__(self, state_dir: Path, port: int) -> None:
        self.port = port
        self._path = state_dir / f"zkserver-{port}"
        self._claim: int | None = None

    @property
    def data(self) -> Path:
        """The server's data directory."""
        return self._path / "data"

    @property
    def log(self) -> Path:
        """What the server says."""
        return self._path / "server.log"

    @property
    def pid_note(self) -> Path:
        """Where the server that holds the data directory wrote its pid."""
        return self.data / "lock"

    def claim(self) -> bool:
        """Become who answers for this server; False while another daemon is that.

        Where no claim can be made, for want of space or rights, nobody else has one: what else is
        wrong there the server itself says better.
        """
        if self._claim is not None:
            return True
        try:
            self._path.mkdir(parents=True, exist_ok=True, mode=0o700)
            claim = open_private(self._path / "claim", os.O_RDWR | os.O_CREAT)
        except OSError:
            return True
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(claim)
            return False
        self._claim = claim
        return True

    def disclaim(self) -> None:
        """Let another daemon answer for it."""
        if self._claim is not None:
            os.close(self._claim)
            self._claim = None

    def open_log(self) -> int:
        """A descriptor for what the server says before it opens its log itself. Raises `OSError`.

        Where the log cannot be had the words are lost, the server is not.
        """
        self._path.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            return open_private(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        except OSError:
            return os.open(os.devnull, os.O_WRONLY)

    def last_line(self) -> str:
        """The last the server said, without the time; however long its log is, only its end is read."""
        try:
            with self.log.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - TAIL_BYTES))
                lines = log.read(TAIL_BYTES).decode(errors="replace").strip().splitlines()
        except OSError as error:
            return f"its log cannot be read ({error.strerror})"
        return _STAMP.sub("", lines[-1]) if lines else "it said nothing"


def ports_in(state_dir: Path) -> list[int]:
    """The ports embedded servers of this state directory were ever kept on."""
    with suppress(OSError):
        names = (NAME.fullmatch(entry.name) for entry in state_dir.iterdir())
        return sorted(int(match[1]) for match in names if match is not None)
    return []
