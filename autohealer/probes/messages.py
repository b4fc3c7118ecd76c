"""Messages of systemd's notify protocol, see sd_notify(3): what of them means something here.

Must never know: who sent one, what follows from it.
"""

from __future__ import annotations

from dataclasses import dataclass

from autohealer.printable import printable

BYTES_MAX = 4096
"""As systemd takes."""

STATUS_CHARS_MAX = 200
_USEC_MAX = 10**13


@dataclass(frozen=True, slots=True)
class Message:
    """What a worker said; None and False stand for what it did not."""

    ready: bool = False
    stopping: bool = False
    ping: bool = False
    trigger: bool = False
    status: str | None = None
    watchdog_s: float | None = None
    extend_s: float | None = None


def parse_message(raw: bytes) -> Message:
    """Read a message; lines that mean nothing here are left out, of several the last counts."""
    fields: dict[str, str] = {}
    for line in raw[:BYTES_MAX].decode(errors="replace").splitlines():
        name, sign, value = line.partition("=")
        if sign:
            fields[name.strip()] = value.strip()
    status = fields.get("STATUS")
    return Message(
        ready=fields.get("READY") == "1",
        stopping=fields.get("STOPPING") == "1",
        ping=fields.get("WATCHDOG") == "1",
        trigger=fields.get("WATCHDOG") == "trigger",
        status=None if status is None else printable(status, STATUS_CHARS_MAX),
        watchdog_s=_seconds(fields.get("WATCHDOG_USEC")),
        extend_s=_seconds(fields.get("EXTEND_TIMEOUT_USEC")),
    )


def _seconds(digits: str | None) -> float | None:
    if digits is None or not (digits.isascii() and digits.isdecimal() and len(digits) < 20):
        return None
    return min(int(digits), _USEC_MAX) / 1e6
