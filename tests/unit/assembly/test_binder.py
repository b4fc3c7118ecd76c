"""What the ends of a connection, and a record, say of who made a child."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager

from autohealer.assembly.binder import sight_of
from autohealer.core.children import Child, Sight
from autohealer.core.model import Incarnation
from autohealer.processes.kinship import Family, Kin
from autohealer.zkserver.endpoints import Address, Pair, address_of

NAME = Incarnation(0, 7)
CHILD = Child("worker_7", 7, 1)
NOBODY = Family({}, {})
ELSEWHERE = [Pair(Address(bytes((192, 0, 2, 1)), 5), Address(bytes((192, 0, 2, 2)), 6))]


@contextmanager
def connection() -> Iterator[list[Pair]]:
    """A connection of this process; the client's end."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        where = server.getsockname()
        with closing(socket.create_connection(where)) as client:
            yield [Pair(address_of(*client.getsockname()), address_of(*where))]


def test_whoever_has_the_connection_made_it() -> None:
    """Nothing could be proven, for or against."""
    with connection() as ends:
        ours = sight_of(CHILD, Family({os.getpid(): NAME}, {}), ends, [], None, is_silent=False)
        assert ours == (Kin(os.getpid(), NAME), Sight(CHILD, NAME))
        foreign = sight_of(CHILD, NOBODY, ends, ends, None, is_silent=False)
        assert foreign == (Kin(os.getpid(), None), Sight(CHILD, is_foreign=True))


def test_where_our_own_connection_is_not_where_it_should_be_nobody_is_a_foreigner() -> None:
    """A proxy on this machine has all connections: every worker would pass for its, and be replaced for ever."""
    with connection() as ends:
        for own_ends in ([], ELSEWHERE):
            kin, sight = sight_of(CHILD, NOBODY, ends, own_ends, None, is_silent=True)
            assert sight == Sight(CHILD)
            assert kin == Kin(os.getpid(), None), "who it is can be told all the same"


def test_one_that_is_connected_from_elsewhere_is_remote_and_one_that_is_not_is_silent() -> None:
    """Another host's worker, or what a dead one left, would be bound at once."""
    with connection() as own:
        _, remote = sight_of(CHILD, NOBODY, ELSEWHERE, own, None, is_silent=False)
        assert remote == Sight(CHILD, is_remote=True)
        _, silent = sight_of(CHILD, NOBODY, [], own, None, is_silent=True)
        assert silent == Sight(CHILD, is_silent=True)
