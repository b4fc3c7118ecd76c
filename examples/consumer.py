"""Consume a queue in ZooKeeper: a job whose consumer dies is done by another.

A job is locked while it is worked on, by a session of the consumer's own, and removed when it is done. Who dies in
between loses the session and with it the lock. So each job is done at least once; let it be harmless to do it twice.
"""

from kazoo.client import KazooClient
from kazoo.recipe.queue import LockingQueue

from autohealer.worker import Worker, kazoo_options, run

QUEUE = "/jobs"
LOOK_S = 0.5


def main(worker: Worker) -> int:
    """Take jobs until told to stop."""
    client = KazooClient(**kazoo_options())
    client.start()
    queue = LockingQueue(client, QUEUE)
    while not worker.stopping.is_set():
        job = queue.get(timeout=LOOK_S)
        if job is not None:
            print(f"slot {worker.slot} did {job.decode()}")
            queue.consume()
    client.stop()
    return 0


if __name__ == "__main__":
    run(main)
