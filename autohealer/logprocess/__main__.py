"""`python -m autohealer.logprocess FOLDER`: what a daemon launches; not for people."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from autohealer.logprocess.files import RotatingFile
from autohealer.logprocess.layout import JOURNAL, PID_NOTE, log_of
from autohealer.logprocess.running import LogProcess, raise_descriptor_limit
from autohealer.logprocess.sinks import Journal, Sink, StandardOutput
from autohealer.logprocess.slots import SlotLog


def main() -> None:
    """Take what workers write until nobody is left who could."""
    parser = argparse.ArgumentParser(prog="autohealer.logprocess", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--max-bytes", type=int, required=True)
    parser.add_argument("--keep", type=int, required=True)
    parser.add_argument("--timestamps", action="store_true")
    parser.add_argument("--to", choices=("file", "stdout", "journald"), default="file")
    parser.add_argument("--group", default="")
    parser.add_argument("--journal", default=JOURNAL)
    told = parser.parse_args()
    folder: Path = told.folder

    def sink_of(slot: int) -> Sink | None:
        if told.to == "stdout":
            return StandardOutput(is_stamped=told.timestamps)
        return Journal(f"{told.group}-{slot}", told.journal) if told.to == "journald" else None

    def open_slot(slot: int) -> SlotLog:
        path = log_of(folder, slot)
        file = RotatingFile(path, told.max_bytes, told.keep, is_stamped=told.timestamps)
        return SlotLog(folder, slot, file, sink_of(slot))

    raise_descriptor_limit()
    process = LogProcess(folder, open_slot)
    process.begin()
    (folder / PID_NOTE).write_text(str(os.getpid()), encoding="ascii")
    process.run()


if __name__ == "__main__":
    main()
