"""Whether a group can be scaled: how many workers a daemon keeps at most, and whose the ports are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from autohealer.settings import PORT_MAX, REPLICAS_MAX, in_common


@dataclass(frozen=True, slots=True)
class Size:
    """How many workers a group has, and from which port on; None: it gives out none."""

    group: str
    replicas: int
    port: int | None = None

    @property
    def ports(self) -> range:
        """Those that its slots have."""
        return range(0) if self.port is None else range(self.port, self.port + self.replicas)


def why_not(wanted: Size, others: Iterable[Size]) -> str:
    """Why a group cannot have a size beside the others; empty where it can."""
    others = list(others)
    if wanted.replicas < 0:
        return f"the number of workers cannot be negative, as {wanted.replicas} is"
    total = wanted.replicas + sum(other.replicas for other in others)
    if total > REPLICAS_MAX:
        return f"with these, {total} workers are wanted: one daemon keeps at most {REPLICAS_MAX}"
    ports = wanted.ports
    if ports and ports[-1] > PORT_MAX:
        return f"the last of {wanted.replicas} workers would have port {ports[-1]}"
    for other in others:
        if shared := in_common(ports, other.ports):
            return f"port {shared[0]} would be that of a slot of group {other.group!r}, too"
    return ""
