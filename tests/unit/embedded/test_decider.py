"""The decider of the embedded server, rule by rule."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autohealer.embedded.decider import (
    ABSENT_LOOKS,
    LAUNCH_PAUSE_MAX_S,
    POLL_S,
    RETRY_S,
    SILENT_LOOKS,
    START_MAX_S,
    START_PATIENCE_S,
    Keeping,
    decide,
)
from autohealer.embedded.facts import (
    Adopted,
    Begun,
    Ended,
    Event,
    Fact,
    GiveUp,
    Kill,
    Launch,
    Launched,
    Listener,
    Look,
    Looked,
    NotLaunched,
    Order,
    Say,
    SessionChanged,
    Stopped,
    TimePassed,
)

PORT = 2181
FREE = Looked(Listener.NOBODY, is_claimed=True)
GOOD = Looked(Listener.EMBEDDED, is_claimed=True)
SILENT = Looked(Listener.SILENT, is_claimed=True)
SHORT = Ended(7, lived_s=0.2, said="it is corrupt")


class Told:
    """A decider that is told facts at the times it asked for, or given ones."""

    def __init__(self, *, may_give_up: bool = False) -> None:
        self.now = 0.0
        self.keeping = Keeping(PORT)
        self.tell(Begun(may_give_up))

    def tell(self, fact: Fact, at: float | None = None) -> tuple[Order, ...]:
        """One fact; what is ordered."""
        self.now = self.now if at is None else at
        self.keeping, orders = decide(self.keeping, fact, self.now)
        return orders

    def wait(self) -> tuple[Order, ...]:
        """Until it asked to be woken."""
        assert self.keeping.wake_at is not None
        return self.tell(TimePassed(), at=self.keeping.wake_at)

    def serve(self) -> None:
        """A server was launched and answers, and our session is connected."""
        for fact in (FREE, Launched(7), TimePassed(), GOOD, SessionChanged(True)):
            self.tell(fact)


def cut() -> Fact:
    """The session is cut."""
    return SessionChanged(is_connected=False)


def test_a_free_port_gets_a_server_and_peace_follows() -> None:
    """Nothing would be started, or the daemon would wake up for nothing for ever."""
    told = Told()
    assert told.tell(FREE) == (Launch(),)
    assert told.tell(Launched(7)) == (Say(Event.STARTED, 7),)
    assert told.keeping.wake_at == POLL_S
    assert told.wait() == (Look(),)
    assert told.tell(GOOD) == ()
    assert told.tell(SessionChanged(is_connected=True)) == ()
    assert told.keeping.wake_at is None


def test_a_server_that_ends_after_a_while_is_back_at_once() -> None:
    """Workers would be without a store for longer than it takes to start one."""
    (told := Told()).serve()
    orders = told.tell(Ended(7, lived_s=60.0, said="serving"), at=60.0)
    assert orders == (Say(Event.DIED, 7, "serving"), Look())
    assert told.tell(FREE) == (Launch(),)


def test_launches_that_come_to_nothing_pause_longer_and_longer_and_are_told_once() -> None:
    """A damaged journal would cost a processor and a line every second."""
    told = Told()
    pauses: list[float] = []
    said: list[Order] = []
    told.tell(FREE)
    for _ in range(8):
        said += told.tell(Launched(7))
        said += told.tell(SHORT)
        assert told.keeping.wake_at is not None
        pauses.append(told.keeping.wake_at - told.now)
        assert told.wait() == (Look(),)
        assert told.tell(FREE) == (Launch(),)
    assert pauses == sorted(pauses)
    assert pauses[0] == RETRY_S
    assert pauses[-1] == LAUNCH_PAUSE_MAX_S
    # Twice there was a launch to speak of; once there was a cause.
    assert [say.event for say in said if isinstance(say, Say)] == [
        Event.STARTED,
        Event.DIED,
        Event.STARTED,
    ]


def test_a_new_cause_is_told_and_an_old_one_again_after_relief() -> None:
    """The operator would believe an old reason, or not learn that the trouble is back."""
    told = Told()
    again = Say(Event.NOT_LAUNCHED, why="no memory")
    told.tell(FREE)
    assert told.tell(NotLaunched("no memory")) == (again,)
    told.wait()
    told.tell(FREE)
    assert told.tell(NotLaunched("no memory")) == ()
    told.wait()
    told.tell(FREE)
    assert told.tell(NotLaunched("no rights")) == (replace(again, why="no rights"),)
    told.wait()
    assert told.tell(GOOD) == (Say(Event.ANSWERS),)
    told.wait()
    told.tell(FREE)
    assert told.tell(NotLaunched("no memory")) == (again,)


@pytest.mark.parametrize(
    "who", [Listener.STRANGER, Listener.SILENT, Listener.ZOOKEEPER, Listener.FOREIGN]
)
def test_an_obstacle_ends_a_start_nobody_depends_on_and_no_other(who: Listener) -> None:
    """A first start would hang, or workers of an earlier daemon would be left alone."""
    obstructed = Looked(who, is_claimed=True)
    (order,) = Told(may_give_up=True).tell(obstructed)
    assert isinstance(order, GiveUp)
    assert f"port {PORT} is taken by" in order.sentence
    told = Told()
    assert told.tell(obstructed) == (Say(Event.OBSTRUCTED, why=order.sentence),)
    assert told.wait() == (Look(),)
    assert told.tell(FREE) == (Launch(),)


def test_another_users_listener_is_named_and_never_killed_or_believed() -> None:
    """Whoever took the port first would be taken for the registry, or a stranger's program be signalled."""
    foreign = Looked(Listener.FOREIGN, is_claimed=True, why="user 1001")
    (order,) = Told(may_give_up=True).tell(foreign)
    assert isinstance(order, GiveUp)
    assert f"port {PORT} is taken by a program of user 1001" in order.sentence
    assert f"--zookeeper 127.0.0.1:{PORT}" in order.sentence
    told = Told()
    for _ in range(20):
        assert all(isinstance(each, Say | Look) for each in (*told.tell(foreign), *told.wait()))


def test_a_start_without_sight_says_why() -> None:
    """Where the kernel does not tell whose a port is, the start would fail without the reason."""
    told = Told(may_give_up=True)
    orders: list[Order] = []
    while not any(isinstance(order, GiveUp) for order in orders):
        orders += told.tell(
            Looked(Listener.UNSEEN, is_claimed=True, why="netlink is not permitted")
        )
        orders += told.wait()
    (given_up,) = (order for order in orders if isinstance(order, GiveUp))
    assert given_up.sentence.endswith("netlink is not permitted")


def test_a_server_left_with_other_options_is_started_anew() -> None:
    """A server that is to be opened to all, or closed again, would stay as it was until somebody ends it."""
    told = Told()
    said, kill = told.tell(Adopted(7, is_as_told=False))
    assert isinstance(said, Say)
    assert (said.event, said.pid, kill) == (Event.OUTDATED, 7, Kill())
    told.tell(FREE)
    assert told.tell(Ended(7, lived_s=600.0, said="")) == (Look(),)
    assert told.tell(FREE) == (Launch(),)
    told = Told()
    assert told.tell(Adopted(7)) == (Say(Event.ADOPTED, 7),)


def test_a_start_that_comes_to_nothing_is_one_sentence_with_the_servers_own_words() -> None:
    """A first start would try for ever, or not say why it cannot be."""
    told = Told(may_give_up=True)
    told.tell(FREE)
    told.tell(Launched(7))
    told.tell(SHORT)
    told.wait()
    told.tell(FREE)
    told.tell(Launched(7))
    (order,) = told.tell(SHORT)
    assert isinstance(order, GiveUp)
    assert order.sentence.endswith(f"did not start on port {PORT}: it is corrupt")
    assert told.keeping.wake_at is None
    late = Told(may_give_up=True).tell(TimePassed(), at=START_PATIENCE_S)
    assert isinstance(late[0], GiveUp)


def test_a_server_is_killed_only_after_many_silent_looks_in_a_row() -> None:
    """A busy server would be killed, or a hanging one borne for ever."""
    (told := Told()).serve()
    told.tell(cut())
    for listener in [SILENT] * (SILENT_LOOKS - 1) + [GOOD] + [SILENT] * (SILENT_LOOKS - 1):
        told.wait()
        assert told.tell(listener) == ()
    told.wait()
    assert told.tell(SILENT) == (Say(Event.HANGS, 7), Kill())
    told.wait()
    assert told.tell(SILENT) == ()  # once is enough
    assert told.tell(Ended(7, lived_s=90.0, said="")) == (Look(),)
    assert told.tell(FREE) == (Launch(),)


def test_one_that_never_listens_is_killed_in_the_end() -> None:
    """A server that was stopped while it started would be waited for, for ever."""
    told = Told()
    told.tell(FREE)
    told.tell(Launched(7))
    assert told.tell(FREE, at=START_MAX_S) == ()
    assert Kill() in told.tell(FREE, at=START_MAX_S + 1.0)


def test_one_daemon_of_a_directory_launches_and_another_only_when_that_does_not() -> None:
    """Two daemons would launch two servers, or a frozen one would leave both without."""
    told, foreign = Told(), Looked(Listener.NOBODY, is_claimed=False)
    for _ in range(ABSENT_LOOKS - 1):
        assert told.tell(foreign) == ()
        assert told.wait() == (Look(),)
    assert told.tell(foreign) == (Launch(),)


def test_a_look_that_fails_concludes_nothing() -> None:
    """A daemon short of descriptors would launch a second server."""
    told, blind = Told(may_give_up=True), Looked(Listener.UNSEEN, is_claimed=False, why="short")
    assert told.tell(blind) == (Say(Event.UNSEEN, why="short"),)
    told.wait()
    assert told.tell(blind) == ()


def test_after_the_stop_nothing_is_done() -> None:
    """A server would be launched while the daemon takes everything down."""
    (told := Told()).serve()
    told.tell(Stopped())
    for fact in (Ended(7, 60.0, ""), cut(), FREE, TimePassed(), Adopted(8)):
        assert told.tell(fact) == ()
    assert told.keeping.wake_at is None
