"""Watch a znode: a watch fires once, so each look sets the next one.

Several changes between two looks are seen as one: a watch tells that something changed, the look tells what is. That is
why nothing may be concluded from the event itself.
"""

import queue

from kazoo.client import KazooClient
from kazoo.protocol.states import WatchedEvent

from autohealer.worker import kazoo_options

PATH = "/watched"


def main() -> None:
    """Create, change and delete a znode, and tell what each look showed."""
    client, events = KazooClient(**kazoo_options()), queue.Queue[WatchedEvent]()
    client.start()
    if client.exists(PATH, events.put):
        raise SystemExit(f"{PATH} is somebody's already")
    for value in (b"one", b"two", None):
        change(client, value)
        event = events.get(timeout=10)
        stat = client.exists(PATH, events.put)  # the next watch, with the look
        seen = "nothing there" if stat is None else client.get(PATH)[0].decode()
        print(f"{event.type}: {seen}")
    client.stop()


def change(client: KazooClient, value: bytes | None) -> None:
    """Have the znode hold this, or be gone."""
    if value is None:
        client.delete(PATH)
    elif client.exists(PATH):
        client.set(PATH, value)
    else:
        client.create(PATH, value)


if __name__ == "__main__":
    main()
