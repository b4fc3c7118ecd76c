"""What each worker of a group is asked for its health, and how what is to be asked is written.

Theory of operation. The numbers mean what Kubernetes' mean. In what is asked `{port}`, `{slot}`, `{group}`, `{host}`
and `{generation}` stand for the worker's own, so an address is only known for each worker.

Must never know: how anything is asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from autohealer.core.health import Check

LOOPBACK = "127.0.0.1"
FROZEN_SPREAD_S = 1.0
SPREAD_MAX_S = 10.0
"""How long the end of one that fails is put off at most, to see whether others fail with it."""

_PLACEHOLDER = re.compile(r"\{(slot|group|host|generation|port)\}")
_TCP = re.compile(r"(?:(?P<host>\[[0-9a-fA-F:.]+\]|[^:\[\]\s/]+):)?(?P<port>[^:\s/]+)")


@dataclass(frozen=True, slots=True)
class HttpTarget:
    """A GET of `url`, which is answered with a status from 200 to 399."""

    url: str


@dataclass(frozen=True, slots=True)
class TcpTarget:
    """A connection to `address`, HOST:PORT."""

    address: str


@dataclass(frozen=True, slots=True)
class ExecTarget:
    """A command that ends with code 0; its first word is the path of a program."""

    argv: tuple[str, ...]


ProbeTarget = HttpTarget | TcpTarget | ExecTarget


@dataclass(frozen=True, slots=True)
class ProbeSpec:
    """What is asked, and when: `delay_s` after the start, then every `period_s`, for `timeout_s` each.

    So many `failures` in a row make it fail, so many `successes` in a row well again.
    """

    target: ProbeTarget
    delay_s: float = 0.0
    period_s: float = 10.0
    timeout_s: float = 1.0
    failures: int = 3
    successes: int = 1


@dataclass(frozen=True, slots=True)
class HealthSpec:
    """The probes of a group."""

    startup: ProbeSpec | None = None
    readiness: ProbeSpec | None = None
    liveness: ProbeSpec | None = None

    def probes(self) -> Iterator[tuple[Check, ProbeSpec]]:
        """Those there are."""
        if self.startup is not None:
            yield Check.STARTUP, self.startup
        if self.readiness is not None:
            yield Check.READINESS, self.readiness
        if self.liveness is not None:
            yield Check.LIVENESS, self.liveness

    def spread_s(self, watchdog_s: float | None) -> float:
        """How long after the first of several workers that fail together the last one is known to."""
        spreads = [FROZEN_SPREAD_S]
        spreads += [spec.period_s + spec.timeout_s for _, spec in self.probes()]
        if watchdog_s is not None:
            spreads.append(watchdog_s / 2)  # they are told to ping twice as often as they have to
        return min(SPREAD_MAX_S, max(spreads))


NO_PROBES = HealthSpec()


def filled(text: str, values: Mapping[str, str]) -> str:
    """A text with its placeholders replaced; one that has no value stays as it is."""
    return _PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), text)


def parse_http(text: str) -> HttpTarget:
    """Read an address for GET, or only its path where workers have ports. Raises `ValueError` with a sentence."""
    url = f"http://{LOOPBACK}:{{port}}{text}" if text.startswith("/") else text
    example = '"http://127.0.0.1:8000/healthz"'
    try:
        parts = urlsplit(filled(url, dict.fromkeys(("slot", "generation", "port"), "1")))
        port = parts.port
    except ValueError:
        raise ValueError(f"{text!r} is no address: write one such as {example}") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise ValueError(f"{text!r} is no address: write one such as {example}")
    if any(char <= " " or char == "\x7f" for char in url):
        raise ValueError(f"{text!r} is no address: there is a blank or a control character in it")
    return HttpTarget(url)


def parse_tcp(text: str) -> TcpTarget:
    """Read HOST:PORT, or PORT of this machine. Raises `ValueError` with a sentence."""
    match = _TCP.fullmatch(filled(text, dict.fromkeys(("slot", "generation", "port"), "1")))
    if match is None or not _is_port(match["port"]):
        raise ValueError(f'{text!r} is no address: write one such as "127.0.0.1:8000"')
    return TcpTarget(text if match["host"] else f"{LOOPBACK}:{text}")


def texts_of(target: ProbeTarget) -> tuple[str, ...]:
    """Where placeholders may stand."""
    match target:
        case HttpTarget(url):
            return (url,)
        case TcpTarget(address):
            return (address,)
        case ExecTarget(argv):
            return argv


def _is_port(digits: str) -> bool:
    return digits.isascii() and digits.isdecimal() and len(digits) < 7 and 0 < int(digits) < 65536
