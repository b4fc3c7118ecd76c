"""Which ZooKeeper the live workers of some groups were told to register with, read from their environments."""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Collection

from autohealer.contract import (
    ENV_GENERATION,
    ENV_GROUP,
    ENV_SLOT,
    ENV_TOKEN,
    ENV_ZOOKEEPER,
    adoption_token,
)
from autohealer.processes.identity import parse_environment
from autohealer.processes.procfs import all_pids, raw_environment_of


def zookeepers_of_workers(groups: Collection[str], secret: bytes) -> Counter[str]:
    """Connection strings, by how many proven processes of the groups have each; looks at every process.

    Raises:
        OSError: it could not be looked at.
    """
    marker = f"{ENV_GROUP}=".encode()
    found: Counter[str] = Counter()
    for pid in all_pids():
        raw = raw_environment_of(pid)
        if raw is None or marker not in raw:
            continue
        environment = parse_environment(raw)
        if environment.get(ENV_GROUP) not in groups or not _is_proven(environment, secret):
            continue
        if told := environment.get(ENV_ZOOKEEPER):
            found[told] += 1
    return found


def _is_proven(environment: dict[str, str], secret: bytes) -> bool:
    """Whether a daemon with the same secret launched it under the name it carries."""
    parts = (ENV_GROUP, ENV_SLOT, ENV_GENERATION)
    name = "-".join(environment.get(part, "") for part in parts)
    expected = adoption_token(secret, name)
    return hmac.compare_digest(environment.get(ENV_TOKEN, "").encode(), expected.encode())
