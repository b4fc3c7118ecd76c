"""What the groups of one daemon tell each other: changes of the session they share, and of the mass-loss brake.

Theory of operation. Each change of the session is numbered and put into every group's mailbox at once, so that all
fold the same changes in the same order and the store room they share never goes back. A group whose round changed the
brake has the others look again: what they wait for may have changed. Nothing else passes from group to group.

Limits: used from the event loop's thread only.
"""

from __future__ import annotations

from collections.abc import Sequence

from autohealer.core.actions import Plan
from autohealer.core.events import Event, StoreChanged
from autohealer.core.model import Store, StoreRoom, View
from autohealer.daemon.mailbox import Mailbox


class Neighbours:
    """The groups that look at one store."""

    def __init__(self) -> None:
        self.room = StoreRoom()
        self._mailboxes: dict[str, Mailbox] = {}
        self._last: StoreChanged | None = None
        self._turns = 0

    def join(self, group: str, mailbox: Mailbox) -> None:
        """A group hears of every change from now on, and of the present state."""
        assert group not in self._mailboxes, f"the group {group} looks at the store twice"
        self._mailboxes[group] = mailbox
        if self._last is not None:
            mailbox.put(self._last)

    def leave(self, group: str) -> None:
        """A group is kept no more: nothing of it counts for the others."""
        del self._mailboxes[group]
        self.room.replicas.pop(group, None)

    def store_changed(self, store: Store) -> None:
        """The daemon's session changed state."""
        number = 1 if self._last is None else self._last.number + 1
        self._last = StoreChanged(store, number)
        for mailbox in self._mailboxes.values():
            mailbox.put(self._last)

    def observe(self, _facts: Sequence[Event], _plan: Plan, view: View) -> None:
        """After a group's round: have the others look again if it changed the brake."""
        if self.room.turns == self._turns:
            return
        self._turns = self.room.turns
        for group, mailbox in self._mailboxes.items():
            if group != view.group:
                mailbox.wake()
