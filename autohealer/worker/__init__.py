"""The SDK: what a worker author imports to register a process with autohealer.

    from autohealer.worker import Worker, run

    def main(worker: Worker) -> int:
        while not worker.stopping.wait(1.0):
            do_one_thing()
        return 0

    if __name__ == "__main__":
        run(main)

`async def main` works as well: there, `await worker.stopping` waits until the worker is to stop.

Theory of operation: a worker proves that it serves by holding an ephemeral znode from the moment it
is ready until it ends. The SDK creates that znode, keeps it through lost sessions, turns TERM and
INT into `worker.stopping`, and closes the session on the way out so that everybody knows within
milliseconds. Of several processes of one worker one holds it, the others stand by; children that
were not forked have no part in it (`identity` says who is what, and why).

Must never know: what keeps the worker alive; the environment says all there is to say.

Limits: one `Worker` at a time in each process; Linux. ZooKeeper being away, or a stranger in the
way, delays the worker's own work by five seconds at most.
"""

from autohealer.worker.lifecycle import EXIT_SUPERSEDED, Worker, run
from autohealer.worker.options import kazoo_options
from autohealer.worker.stopping import Stopping

__all__ = ["EXIT_SUPERSEDED", "Stopping", "Worker", "kazoo_options", "run"]
