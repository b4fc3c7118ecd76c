"""What may keep a daemon from starting; each message is one sentence for the operator."""

from __future__ import annotations


class PlatformError(Exception):
    """This machine lacks what the daemon needs; the message says what."""


class WorkersFailed(Exception):  # noqa: N818 - says what is the case
    """Everything is done, and some of it failed; the message says how many."""


class StateDirError(Exception):
    """The state directory cannot be used; the message names it."""


class ZooKeeperError(Exception):
    """The chosen ZooKeeper cannot be had; the message says which and why."""
