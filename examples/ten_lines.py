"""The least that a worker is: it registers, works, and ends when told to."""

from autohealer.worker import Worker, run


def main(worker: Worker) -> int:
    """Work until told to stop."""
    while not worker.stopping.wait(1.0):
        print(f"slot {worker.slot} works")
    return 0


if __name__ == "__main__":
    run(main)
