"""Elect a leader: the smallest sequence number leads, each other candidate watches the one before it alone.

When the leader goes only its successor wakes, not the whole herd. Who comes back does so with a new number: it
follows. A candidate whose session ends has lost its number and must not lead any more; this one ends, and the daemon
replaces it.
"""

import threading

from kazoo.client import KazooClient, KazooState

from autohealer.worker import Worker, kazoo_options, run

ELECTION = "/election"


class Candidate:
    """One candidate; `lost` is set when its session has ended."""

    def __init__(self, client: KazooClient) -> None:
        self.lost = threading.Event()
        self._client = client
        self._changed = threading.Event()
        client.add_listener(self._state_changed)
        path = client.create(f"{ELECTION}/n_", ephemeral=True, sequence=True, makepath=True)
        self.name = path.rpartition("/")[2]

    def predecessor(self) -> str | None:
        """Who comes right before us; None where we lead."""
        before = [name for name in self._client.get_children(ELECTION) if name < self.name]
        return max(before, default=None)

    def wait_for(self, other: str, within_s: float) -> bool:
        """Whether another candidate was seen to go within so many seconds."""
        self._changed.clear()
        if self._client.exists(f"{ELECTION}/{other}", lambda _event: self._changed.set()) is None:
            return True
        return self._changed.wait(within_s)

    def _state_changed(self, state: str) -> None:
        """On kazoo's thread: note, and wait for nothing."""
        if state == KazooState.LOST:
            self.lost.set()


def main(worker: Worker) -> int:
    """Lead or follow until told to stop."""
    client = KazooClient(**kazoo_options())
    client.start()
    candidate = Candidate(client)
    said = ""
    while not worker.stopping.is_set() and not candidate.lost.is_set():
        other = candidate.predecessor()
        says = f"{candidate.name} leads" if other is None else f"{candidate.name} follows {other}"
        if says != said:
            print(says)
            said = says
        if other is None:
            worker.stopping.wait(0.2)
        else:
            candidate.wait_for(other, 0.5)
    client.stop()
    return 1 if candidate.lost.is_set() else 0


if __name__ == "__main__":
    run(main)
