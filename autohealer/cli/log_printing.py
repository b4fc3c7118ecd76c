"""Print lines of slots: which slot it is before each where there are several, harmless on a terminal, as they are else.

Theory of operation. What is not for a terminal leaves as it came, byte for byte; whole blocks of lines are handled at
once, so following costs little. A line that is not whole yet stays open: what its slot writes next continues it, and
whoever else writes before that begins a line of its own.

Must never know: where lines come from.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Collection

from autohealer.cli.terminal import Terminal
from autohealer.logprocess.layout import unstamped
from autohealer.printable import printable
from autohealer.workerlogs.lines import lines_in
from autohealer.workerlogs.past import SlotName

_COLORS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)


class Printer:
    """Writes to standard output."""

    def __init__(self, terminal: Terminal, *, with_times: bool, with_names: bool | None) -> None:
        """`with_names` is None for where there are several slots."""
        self._terminal = terminal
        self._with_times = with_times
        self._with_names = with_names
        self._prefixes: dict[SlotName, bytes] = {}
        self._open: SlotName | None = None

    def introduce(self, names: Collection[SlotName]) -> None:
        """These are all whose lines may come."""
        if len(names) == len(self._prefixes):
            return
        is_shown = len(names) > 1 if self._with_names is None else self._with_names
        has_groups = len({name.group for name in names}) > 1
        told = {
            name: f"{printable(name.group)}/{name.slot}" if has_groups else str(name.slot)
            for name in names
        }
        width = max(map(len, told.values()), default=0)
        self._prefixes = {
            name: self._colored(name, f"{text:<{width}} | ") if is_shown else b""
            for name, text in told.items()
        }

    def write(self, name: SlotName, block: bytes, *, is_stamped: bool) -> None:
        """Lines of one slot, the last perhaps not whole."""
        if not block:
            return
        text = block if self._with_times or not is_stamped else unstamped(block)
        if self._terminal.is_terminal:
            text = b"".join(map(_harmless, lines_in(text)))
        out = sys.stdout.buffer
        prefix = self._prefixes[name]
        if self._open not in {None, name}:
            out.write(b"\n")
        if prefix:
            first = b"" if self._open == name else prefix
            text = first + text[:-1].replace(b"\n", b"\n" + prefix) + text[-1:]
        out.write(text)
        self._open = None if text.endswith(b"\n") else name

    def flush(self) -> None:
        """Have it arrive."""
        sys.stdout.buffer.flush()

    def end(self) -> None:
        """What a terminal shows next stands on a line of its own."""
        if self._open is not None and self._terminal.is_terminal:
            sys.stdout.buffer.write(b"\n")
        self.flush()

    def _colored(self, name: SlotName, text: str) -> bytes:
        """Always the same colour for a slot, another for its neighbours."""
        if self._terminal.has_colors:
            color = _COLORS[(zlib.crc32(name.group.encode()) + name.slot) % len(_COLORS)]
            text = f"\x1b[{color}m{text}\x1b[0m"
        return text.encode(errors="backslashreplace")


def _harmless(line: bytes) -> bytes:
    end = b"\n" if line.endswith(b"\n") else b""
    text = line.removesuffix(b"\n").removesuffix(b"\r").decode(errors="backslashreplace")
    return printable(text.expandtabs()).encode() + end
