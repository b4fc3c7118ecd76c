"""Wait for what a worker does: its znode comes or goes, it prints something."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kazoo.exceptions import NoNodeError

from tests.support.eventually import eventually

if TYPE_CHECKING:
    from kazoo.client import KazooClient

    from tests.support.workers import RunningWorker

WITHIN_S = 15.0


def await_znode(client: KazooClient, path: str, worker: RunningWorker) -> tuple[bytes, Any]:
    """Wait until a znode exists; return its data and stat."""

    def found() -> tuple[bytes, Any] | None:
        try:
            return client.get(path)  # type: ignore[no-any-return]
        except NoNodeError:
            return None

    seen = eventually(found, within_s=WITHIN_S, view=lambda: worker.output)
    assert seen is not None
    return seen


def await_gone(
    client: KazooClient, path: str, worker: RunningWorker, within_s: float = WITHIN_S
) -> None:
    """Wait until a znode does not exist."""
    eventually(lambda: client.exists(path) is None, within_s=within_s, view=lambda: worker.output)


def await_output(worker: RunningWorker, text: str) -> None:
    """Wait until a worker has printed something."""
    eventually(lambda: text in worker.output, within_s=WITHIN_S, view=lambda: worker.output)
