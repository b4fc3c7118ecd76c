"""Values with a unit and other words of a configuration, each from the text that stands for it.

Every function takes what stood in the file and raises `ValueError` with the sentence that says how to write it.

Limits: a duration is told in ms, s, m, h and d.
"""

from __future__ import annotations

import difflib
import re
import signal
from collections.abc import Callable, Iterable
from datetime import timedelta

import durationpy

from autohealer.config.interpolation import Interpolated

DURATION_PATTERN = r"^(\d+(\.\d+)?(ms|s|m|h|d))+$"
SIZE_PATTERN = r"^\d+(\.\d+)?\s*([kKmMgGtT]i?)?[bB]?$"
UMASK_PATTERN = r"^[0-7]{1,4}$"
SIGNAL_PATTERN = r"^(SIG)?[A-Z][A-Z0-9]*$"

_DIGITS = re.compile(r"-?\d{1,18}")
_NOT_ENDING = {signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGCONT}


def seconds(least: str, most: str) -> Callable[[object], float]:
    """Read a duration within bounds, both told as durations."""
    least_s, most_s = _seconds(least), _seconds(most)

    def read(value: object) -> float:
        if not isinstance(value, str) or re.fullmatch(DURATION_PATTERN, value) is None:
            raise ValueError('write a duration with its unit, such as "10s" or "1m30s"')
        try:
            found_s = _seconds(value)
        except durationpy.DurationError:
            raise ValueError(f"at most {most}") from None
        if not least_s <= found_s <= most_s:
            raise ValueError(
                f"{value} is too short: at least {least}"
                if found_s < least_s
                else f"{value} is too long: at most {most}"
            )
        return found_s

    return read


def unless_off(read: Callable[[object], float]) -> Callable[[object], float]:
    """Read a duration, or 0 where `false` or "0s" says that what the defaults ask for is not wanted."""

    def read_it(value: object) -> float:
        return 0.0 if value == "0s" or truth(value) is False else read(value)

    return read_it


def number(value: object) -> object:
    """Let digits from the environment stand for a whole number; what else there is stays as it is."""
    is_digits = isinstance(value, Interpolated) and _DIGITS.fullmatch(value)
    return int(str(value)) if is_digits else value


def processors(value: object) -> object:
    """A number of processors, perhaps a part of one; let digits from the environment stand for one."""
    if isinstance(value, Interpolated) and re.fullmatch(r"\d{1,4}(\.\d{1,3})?", value):
        return float(str(value))
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("write a number of processors, such as 1.5, without quotes")  # noqa: TRY004
    return float(value)


def truth(value: object) -> object:
    """Let `true` and `false` from the environment stand for themselves; what else there is stays as it is."""
    is_word = isinstance(value, Interpolated) and value in {"true", "false"}
    return value == "true" if is_word else value


def size(value: object) -> object:
    """Text or a number of bytes, as pydantic's `ByteSize` takes it."""
    is_text = isinstance(value, str) and re.fullmatch(SIZE_PATTERN, value)
    is_bytes = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    if not is_text and not is_bytes:
        raise ValueError('write a size with its unit, such as "10MiB"')
    return value


def umask(value: object) -> int:
    """Read a umask, as a shell writes it."""
    if not isinstance(value, str) or re.fullmatch(UMASK_PATTERN, value) is None:
        raise ValueError('write a umask in octal digits and in quotes, such as "027"')
    mask = int(value, 8)
    if mask > 0o777:
        raise ValueError(f'{value} is no umask: at most "777"')
    return mask


def stop_signal(value: object) -> signal.Signals:
    """Read a signal's name, with or without `SIG`."""
    names = [it.name for it in signal.Signals]
    if not isinstance(value, str):
        raise ValueError('write the name of a signal in quotes, such as "TERM"')  # noqa: TRY004
    name = value if value.startswith("SIG") else f"SIG{value}"
    if name not in names:
        bare = [it.removeprefix("SIG") for it in names]
        close = nearest(value.upper().removeprefix("SIG"), bare)
        raise ValueError(f"{value} is no signal{close or ': write one such as TERM, INT or HUP'}")
    found = signal.Signals[name]
    if found in _NOT_ENDING:
        raise ValueError(f"{value} ends no program: write one that does, such as TERM, INT or HUP")
    return found


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of a sentence that asks whether another word was meant; empty where none is near."""
    close = difflib.get_close_matches(word, sorted(known), n=1)
    return f", did you mean `{close[0]}`?" if close else ""


def duration(value_s: float) -> str:
    """A duration as one writes it."""
    return durationpy.to_str(timedelta(seconds=value_s)) or "0s"


def _seconds(text: str) -> float:
    return durationpy.from_str(text).total_seconds()
