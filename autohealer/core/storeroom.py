"""Fold what happens to the daemon's own ZooKeeper session into the room that its groups share.

Theory of operation. Every group's loop is handed every change of the session, numbered, in the same order. The first
to fold one changes the room; the others only note that they know of it. So the room never goes back, whichever loop
is ahead, and a view whose list is older than the room's last change knows that it is not fresh. A change without a
number is the next one: with one group nobody needs to count.

What differs from group to group is kept out of here: its list, its slots, its budget.

Must never know: clocks, I/O, what will be decided.
"""

from __future__ import annotations

from dataclasses import replace

from autohealer.core.model import Store, View


def store_changed(view: View, store: Store, number: int) -> None:
    """The session changed: whatever was listed is of unknown age until the next list."""
    room = view.room
    number = number or room.changes + 1
    if number > room.changes:
        if store is room.store:
            return
        was_connected = room.ever_connected
        room.store, room.store_since, room.changes = store, view.now, number
        room.ever_connected = was_connected or store is Store.CONNECTED
        if store is Store.CONNECTED and was_connected:
            trust_after_settling(view)
    view.connection, view.list_failed = number, ""
    if number == room.changes and store is Store.CONNECTED and view.key_of:
        trust_after_settling(view)


def trust_after_settling(view: View) -> None:
    """Whoever lived through this connection's beginning has one settle time from then on to register again."""
    room = view.room
    room.trust_from = max(room.trust_from, room.store_since + view.policy.settle_s)


def timeout_granted(view: View, settle_s: float, rejoin_grace_s: float) -> None:
    """Sessions last otherwise than was asked for: who is settling now has as long as that takes."""
    room, was_s = view.room, view.policy.settle_s
    view.policy = replace(view.policy, settle_s=settle_s, rejoin_grace_s=rejoin_grace_s)
    if room.trust_from == room.store_since + was_s:
        room.trust_from = room.store_since + settle_s
    view.touched |= view.missing


def note_found(view: View) -> None:
    """A worker is found of which nobody here saw what it went through: the store may just have come back."""
    if view.now - view.store_since < view.policy.settle_s:
        trust_after_settling(view)


def registry_wiped(view: View) -> None:
    """Every registration went at once, whoever lives: each has time to come back."""
    view.room.trust_from = max(view.trust_from, view.now + view.policy.settle_s)


def list_failed(view: View, why: str) -> None:
    """A connected store does not tell what is registered."""
    if view.store is Store.CONNECTED and view.list_failed != why:
        view.list_failed, view.list_failed_at = why, view.now
