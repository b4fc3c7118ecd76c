"""Show who serves, and where, from `/workers`: a service registry, kept up to date until Ctrl-C.

Usage: python examples/registry.py GROUP
"""

import json
import sys
import threading

from kazoo.client import KazooClient
from kazoo.exceptions import NoNodeError

from autohealer.worker import kazoo_options

WORKERS = "/workers"
LOOK_S = 5.0


def serving(client: KazooClient, group: str, names: list[str]) -> list[str]:
    """A line for each registered worker of a group: its slot, its pid and its address, where it tells one."""
    lines = []
    for name in sorted(names):
        if not name.startswith(f"{group}-"):
            continue
        try:
            record = json.loads(client.get(f"{WORKERS}/{name}")[0])
        except NoNodeError:
            continue  # it went between the list and the look
        slot = name.removeprefix(f"{group}-").partition("-")[0]
        lines.append(f"slot {slot}: pid {record['pid']} {record.get('address') or '(no address)'}")
    return lines


def main() -> None:
    """Print the list whenever it changes, and every few seconds."""
    group = sys.argv[1]
    client = KazooClient(**kazoo_options())
    client.start()
    client.ensure_path(WORKERS)

    changed = threading.Event()
    while True:
        changed.clear()
        # One that is not noticed is seen a few seconds later.
        names = client.get_children(WORKERS, lambda _event: changed.set())
        print(f"{group}:", "; ".join(serving(client, group, names)) or "nobody", flush=True)
        changed.wait(LOOK_S)


if __name__ == "__main__":
    main()
