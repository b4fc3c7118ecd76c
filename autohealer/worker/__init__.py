"""The SDK: what a worker author imports to register a process with autohealer.

    from autohealer.worker import Worker, run

    def main(worker: Worker) -> int:
        while not worker.stopping.wait(1.0):
            do_one_thing()
        return 0

    run(main)

Theory of operation: a worker proves that it serves by holding an ephemeral znode from the moment it
is ready until it ends. The SDK creates that znode, keeps it through lost sessions, turns TERM and
INT into `worker.stopping`, and closes the session on the way out so that everybody knows within
milliseconds.

Must never know: what keeps the worker alive; the environment says all there is to say.

Limits: one `Worker` per process; Linux. ZooKeeper being away never stops the worker's own work.
"""

from autohealer.worker.lifecycle import EXIT_SUPERSEDED, Worker, run
from autohealer.worker.stopping import Stopping

__all__ = ["EXIT_SUPERSEDED", "Stopping", "Worker", "run"]
