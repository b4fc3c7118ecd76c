"""Where what workers write goes, as it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

ROTATE_BYTES = 10 * 1024 * 1024
"""A worker's output file is cut at this size and one older file kept: 20 MiB a slot, as Nomad and Kubernetes keep."""

LAST_WORDS_BYTES = 64 * 1024
"""What is kept in a file where output goes elsewhere, so that a death can be told of with its last words."""

KEEP_MAX = 100


class OutputTo(Enum):
    """Where to: a file for each slot, the daemon's own standard output, systemd's journal, or nowhere."""

    FILE = "file"
    STDOUT = "stdout"
    JOURNALD = "journald"
    NULL = "null"


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """What becomes of the output of a group's workers; `to` is None where nobody said.

    A file of more than `max_bytes` is begun anew, and `keep` older ones are kept (0 to 100). `timestamps` puts the time
    before each line.
    """

    to: OutputTo | None = None
    max_bytes: int = ROTATE_BYTES
    keep: int = 1
    timestamps: bool = False

    @property
    def way(self) -> str:
        """What workers are given to write to: a file (""), a pipe or nothing ("null")."""
        return "null" if self.to is OutputTo.NULL else "pipe" if self.needs_log_process else ""

    @property
    def needs_log_process(self) -> bool:
        """Whether more is asked for than workers can do by writing into files themselves."""
        if self.to in {OutputTo.STDOUT, OutputTo.JOURNALD}:
            return True
        return self.to is not OutputTo.NULL and (self.timestamps or self.keep > 1)


AS_ALWAYS = OutputSpec()
"""What is where nothing was said."""
