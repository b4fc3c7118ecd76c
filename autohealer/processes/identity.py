"""Which process is which: pid, start time and boot id name one process for ever; the token proves it ours.

A pid alone proves nothing, it is reused. Start time (clock ticks since boot) and boot id make it unique;
`AUTOHEALER_TOKEN` in its environment, an HMAC only this state directory's secret can make, proves which
incarnation it is. Whoever wants to signal opens a pidfd first and verifies afterwards: the pidfd pins the
process that was verified.
"""

from __future__ import annotations

import errno
import hmac
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from autohealer.contract import (
    ENV_GENERATION,
    ENV_GROUP,
    ENV_SLOT,
    ENV_TOKEN,
    ZnodeName,
    adoption_token,
)
from autohealer.core.model import Incarnation

SECRET_BYTES = 32
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Claim:
    """What a process's environment says it is, not yet proven."""

    group: str
    name: Incarnation
    token: str


def boot_id() -> str:
    """The kernel's id of this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None when there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    return int(stat[stat.rindex(b")") + 2 :].split()[19])


def age_s(pid: int) -> float:
    """How long ago a process started, in seconds; 0 when it is gone."""
    ticks = start_ticks(pid)
    uptime_s = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
    return 0.0 if ticks is None else max(0.0, uptime_s - ticks / TICKS_PER_S)


def environment_of(pid: int) -> dict[str, str]:
    """A process's environment as it was exec'd; empty when it is gone or not ours to read."""
    try:
        raw = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return {}
    pairs = (entry.decode(errors="replace").partition("=") for entry in raw.split(b"\0"))
    return {key: value for key, _, value in pairs if key}


def claim_of(pid: int) -> Claim | None:
    """Which incarnation a process claims to be."""
    environment = environment_of(pid)
    try:
        name = Incarnation(int(environment[ENV_SLOT]), int(environment[ENV_GENERATION]))
        return Claim(environment[ENV_GROUP], name, environment[ENV_TOKEN])
    except (KeyError, ValueError):
        return None


def token_of(secret: bytes, group: str, name: Incarnation) -> str:
    """The proof given to an incarnation at its launch."""
    return adoption_token(secret, str(ZnodeName(group, name.slot, name.generation)))


def is_proven(claim: Claim, secret: bytes) -> bool:
    """Whether a claim was made by a daemon holding the same secret."""
    expected = token_of(secret, claim.group, claim.name)
    return hmac.compare_digest(claim.token.encode(), expected.encode())


def load_secret(path: Path) -> bytes:
    """Read the state directory's secret, making it on first use. Raises `OSError`.

    It appears whole or not at all, whoever else starts or crashes meanwhile.
    """
    if not path.exists():
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(SECRET_BYTES))
        with suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    secret = path.read_bytes()
    if len(secret) != SECRET_BYTES:
        raise OSError(errno.EINVAL, f"its file {path.name!r} is damaged: remove it")
    return secret
