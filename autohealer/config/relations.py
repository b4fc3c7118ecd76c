"""What groups have to do with each other: who starts after whom, whose ports are whose, how many there are in all."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from autohealer.config.units import nearest
from autohealer.config.wishes import Wish
from autohealer.settings import PORT_MAX, REPLICAS_MAX, in_common


def check_relations(wishes: Sequence[Wish], names: Collection[str]) -> None:
    """Note what does not go together; `names` are those of all groups, also of such as have no form."""
    _check_order(wishes, names)
    _check_ports(wishes)
    _check_total(wishes)


def replicas_of(wish: Wish) -> int:
    """How many workers a group is to have; 1 where it does not say."""
    return 1 if wish.form.replicas is None else wish.form.replicas


def _check_order(wishes: Sequence[Wish], names: Collection[str]) -> None:
    known = {wish.name: wish for wish in wishes}
    waits: dict[str, set[str]] = {}
    for wish in wishes:
        for number, name in enumerate(wish.form.after or ()):
            if name not in names:
                close = nearest(name, set(names) - {wish.name})
                wish.note(f"there is no group {name!r}{close}", "after", number)
            elif name in known:
                waits.setdefault(wish.name, set()).add(name)
    while circle := _circle_in(waits):
        last, first = circle[0], circle[1]
        told = " after ".join(reversed(circle))
        known[first].note(f"these would wait for each other for ever: {told}", "after")
        waits[first].discard(last)


def _circle_in(waits: Mapping[str, set[str]]) -> list[str]:
    """Groups of which each waits for the one before, the first one being the last one, too."""
    try:
        TopologicalSorter(waits).prepare()
    except CycleError as error:
        circle: list[str] = error.args[1]
        return circle
    return []


def _check_ports(wishes: Sequence[Wish]) -> None:
    taken: list[tuple[range, Wish]] = []
    for wish in wishes:
        if wish.form.port is None:
            continue
        ports = range(wish.form.port, wish.form.port + replicas_of(wish))
        if ports and ports[-1] > PORT_MAX:
            wish.note(f"the last of {len(ports)} workers would have port {ports[-1]}", "port")
            continue
        for others, other in taken:
            if in_common(ports, others):
                wish.note(
                    f"ports {_told(ports)} are in part those of group {other.name!r}, {_told(others)} "
                    f"({other.place_of('port')})",
                    "port",
                )
        taken.append((ports, wish))


def _told(ports: range) -> str:
    return f"{ports[0]}" if len(ports) == 1 else f"{ports[0]} to {ports[-1]}"


def _check_total(wishes: Sequence[Wish]) -> None:
    total = 0
    for wish in wishes:
        total += replicas_of(wish)
        if total > REPLICAS_MAX:
            wish.note(f"with these, {total} workers are wanted: at most {REPLICAS_MAX}", "replicas")
            return
