"""Goal: a session ends when its client is gone, never because the server was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autohealer.zkserver.protocol import Code, Op
from autohealer.zkserver.sessions import Sessions, first_session_id
from autohealer.zkserver.settings import ServerSettings

from .world import EPHEMERAL, WALL_START_MS, World

SETTINGS = ServerSettings(Path("/nowhere"))


@pytest.mark.parametrize(
    ("asked_ms", "granted_ms"),
    [(0, 1000), (-5, 1000), (999, 1000), (4000, 4000), (60_000, 60_000), (10**9, 60_000)],
)
def test_timeouts_are_granted_within_bounds(asked_ms: int, granted_ms: int) -> None:
    """A client would ping too seldom for the timeout it really has, and lose its session."""
    client = World().client(asked_ms)
    assert client.timeout_ms == granted_ms


@given(
    touched_ms=st.integers(0, 10**7),
    timeout_ms=st.integers(1000, 60_000),
    tick_ms=st.integers(1, 2000),
)
def test_a_session_ends_by_apaches_formula(touched_ms: int, timeout_ms: int, tick_ms: int) -> None:
    """Detection times in the documentation, and time-outs derived from them, would be wrong."""
    sessions = Sessions(replace(SETTINGS, tick_ms=tick_ms), b"secret")
    sessions.add(1, timeout_ms, touched_ms)
    due_ms = ((touched_ms + timeout_ms) // tick_ms + 1) * tick_ms
    assert sessions.next_due_ms() == due_ms
    assert sessions.due(due_ms - 1) == []
    assert sessions.due(due_ms) == [1]
    assert touched_ms + timeout_ms < due_ms <= touched_ms + timeout_ms + tick_ms


@given(
    st.lists(
        st.tuples(st.integers(1, 5), st.integers(0, 700), st.sampled_from(["touch", "remove"])),
        max_size=40,
    )
)
def test_the_earliest_expiry_is_always_known(steps: list[tuple[int, int, str]]) -> None:
    """The server would oversleep a death, or wake for nothing for ever."""
    sessions, now_ms = Sessions(SETTINGS, b"secret"), 0
    for session_id, delay_ms, action in steps:
        now_ms += delay_ms
        session = sessions.get(session_id)
        if session is None:
            sessions.add(session_id, 1000 * session_id, now_ms)
        elif action == "touch":
            sessions.touch(session, now_ms)
        else:
            sessions.remove(session_id)
        expected = min((session.expires_ms for session in sessions), default=None)
        assert sessions.next_due_ms() == expected


def test_a_pinging_session_lives_and_a_silent_one_dies() -> None:
    """Live workers would be declared dead, or dead ones alive."""
    world = World()
    live, silent = world.client(2000), world.client(2000)
    for now_ms in range(600, 10_000, 600):
        world.advance_to(now_ms)
        assert live.call(Op.PING, xid=-2).code is Code.OK
    assert silent.dropped == "session expired"
    assert live.dropped is None


def test_closing_the_socket_ends_nothing() -> None:
    """A network blink would cost a worker its registration."""
    world = World()
    client, other = world.client(2000), world.client(60_000)
    client.create("/e", mode=EPHEMERAL)
    world.advance_to(1000)
    client.hang_up()
    world.advance_to(2499)
    assert other.exists("/e").code is Code.OK
    world.advance_to(2500)
    assert other.exists("/e").code is Code.NO_NODE


def test_nothing_wakes_a_server_without_sessions() -> None:
    """An idle laptop would be kept awake."""
    world = World()
    assert world.machine.wake_at_ms() is None
    client = world.client()
    assert world.machine.wake_at_ms() is not None
    client.call(Op.CLOSE_SESSION)
    assert world.machine.wake_at_ms() is None


def test_time_the_server_lost_is_not_held_against_sessions() -> None:
    """Closing the laptop's lid would kill every healthy worker."""
    world = World()
    client = world.client(2000)
    world.advance_to(1000)
    client.call(Op.PING, xid=-2)
    world.now_ms = 61_000  # SIGSTOP, a frozen VM: nobody woke for the pulse at 1500
    world.tick()
    assert world.machine.totals.stalled_ms == 59_500
    world.advance_to(62_999)
    assert client.dropped is None
    world.advance_to(63_000)
    assert client.dropped == "session expired"


@given(
    timeout_ms=st.integers(1000, 60_000),
    stops=st.lists(st.tuples(st.integers(0, 20_000), st.integers(1, 20_000)), max_size=4),
)
def test_a_stop_costs_the_stop_and_no_more(timeout_ms: int, stops: list[tuple[int, int]]) -> None:
    """A dead worker would stay registered for a whole timeout more, or for ever."""
    world = World()
    client, stopped_ms = world.client(timeout_ms), 0
    for awake_ms, stop_ms in stops:
        world.advance_to(world.now_ms + awake_ms)
        stopped_ms += stop_ms if client.dropped is None else 0
        world.now_ms += stop_ms
        world.tick()
    assert world.machine.totals.stalled_ms <= stopped_ms
    world.advance_to(timeout_ms + SETTINGS.tick_ms + stopped_ms)
    assert client.dropped == "session expired"


@given(
    timeout_ms=st.integers(1000, 60_000),
    awake_ms=st.integers(0, 100_000),
    stop_ms=st.integers(1, 200_000),
    neighbours_ms=st.lists(st.integers(1000, 60_000), max_size=3),
)
def test_who_was_stopped_with_the_server_has_time_to_be_heard(
    timeout_ms: int, awake_ms: int, stop_ms: int, neighbours_ms: list[int]
) -> None:
    """A suspended group would lose its healthy workers, whose pings come only after the server woke."""
    world = World()
    client = world.client(timeout_ms)
    _ = [world.client(each_ms) for each_ms in neighbours_ms]  # dead ones
    for now_ms in range(0, awake_ms, timeout_ms // 3):
        world.advance_to(now_ms)
        client.call(Op.PING, xid=-2)
    world.advance_to(awake_ms)
    world.now_ms += stop_ms
    world.tick()
    world.advance_to(world.now_ms + timeout_ms // 7)
    assert client.dropped is None


@pytest.mark.parametrize("timeout_ms", [1000, 15_000, 60_000])
@pytest.mark.parametrize("late_ms", [5, 100, 250])
def test_a_timer_that_fires_late_is_no_stall(timeout_ms: int, late_ms: int) -> None:
    """A lone dead worker's session would never end: the kernel lets a long sleep overrun."""
    world = World()
    client = world.client(timeout_ms)
    world.advance_to(timeout_ms + SETTINGS.tick_ms, late_ms)
    assert client.dropped == "session expired"
    assert world.now_ms <= timeout_ms + SETTINGS.tick_ms + late_ms
    assert world.machine.totals.stalled_ms == 0


def test_no_sleep_is_longer_than_the_kernel_is_exact() -> None:
    """Nobody could tell a late timer from a stop, nor when a stop began."""
    world = World()
    world.client(60_000)
    for _ in range(80):
        wake_ms = world.machine.wake_at_ms()
        if wake_ms is None:
            break
        assert 0 < wake_ms - world.now_ms <= 1000
        world.now_ms = wake_ms
        world.tick()
    assert len(world.machine.sessions) == 0


def test_a_short_session_among_long_ones_shortens_the_pulse_at_once() -> None:
    """A stop right after it connected would count from too late and cost it its session."""
    world = World()
    world.client(60_000)
    world.client(1000)
    assert world.machine.wake_at_ms() == 250
    world.advance_to(260)
    assert world.machine.wake_at_ms() == 500


def test_no_stall_is_told_while_there_is_no_session() -> None:
    """People would look for a stall that was none: nobody had a reason to wake."""
    world = World()
    world.client().call(Op.CLOSE_SESSION)
    world.now_ms = 579_538
    world.client()
    world.advance_to(600_000)
    assert world.machine.totals.stalled_ms == 0


def test_a_client_comes_back_to_its_session_and_the_old_connection_goes() -> None:
    """After a network blink a worker would lose its znode, or two connections share a session."""
    world = World()
    first = world.client(2000)
    first.create("/e", mode=EPHEMERAL)
    second = world.peer()
    second.connect(4000, first.session_id, first.password)
    assert (second.session_id, second.timeout_ms) == (first.session_id, 4000)
    assert first.dropped == "its session moved to another connection"
    first.hang_up()
    world.advance_to(4000)
    assert second.exists("/e").stat.ephemeral_owner == first.session_id


def test_a_wrong_password_gets_no_session() -> None:
    """Whoever sees an ephemeral's owner could take over or close that worker's session."""
    world = World()
    victim, thief = world.client(), world.peer()
    thief.connect(4000, victim.session_id, bytes(16))
    assert (thief.session_id, thief.timeout_ms, thief.password) == (0, 0, bytes(16))
    assert thief.dropped is not None
    assert victim.dropped is None


def test_passwords_depend_on_the_servers_secret() -> None:
    """Passwords could be computed from what `stat` shows, as they can on Apache ZooKeeper."""
    passwords = {Sessions(SETTINGS, secret).password(7) for secret in (b"a", b"b")}
    assert len(passwords) == 2
    assert all(len(password) == 16 for password in passwords)


def test_an_expired_session_is_refused_clearly() -> None:
    """A client would wait for ever instead of starting over."""
    world = World()
    client = world.client(1000)
    world.advance_to(5000)
    back = world.peer()
    back.connect(1000, client.session_id, client.password)
    assert (back.session_id, back.timeout_ms) == (0, 0)
    assert back.dropped is not None


def test_a_client_from_the_future_is_turned_away_without_an_answer() -> None:
    """A client that saw a newer state would be shown an older one."""
    world = World()
    peer = world.peer()
    peer.connect(last_zxid=world.state.zxid + 1)
    assert peer.dropped is not None
    assert (peer.session_id, peer.inbox) == (0, [])


def test_old_clients_get_no_flag_they_do_not_know() -> None:
    """Clients older than 3.4 could not read the answer."""
    world = World()
    sizes: list[int] = []
    for tail in (b"", b"\0"):
        peer = world.peer()
        peer.connect(tail=tail)
        world.machine.closed(peer.connection)
        back = world.peer()
        back.send(bytes(12) + bytes(4) + peer.session_id.to_bytes(8, "big") + bytes(4) + tail)
        sizes.append(len(back.inbox[0]))
    assert sizes == [36, 37]


def test_too_many_sessions_are_refused() -> None:
    """A leaking client would take the server down for all."""
    world = World(replace(SETTINGS, sessions_max=2))
    clients = [world.client() for _ in range(3)]
    assert [client.dropped for client in clients] == [None, None, "too many sessions"]


def test_session_ids_never_come_back() -> None:
    """A node of a long dead session would pass for one of a new session's."""
    assert first_session_id(WALL_START_MS, 0) > 0
    assert first_session_id(WALL_START_MS + 1, 0) > first_session_id(WALL_START_MS, 0) + 60_000
    assert first_session_id(0, 1 << 57) == 1 << 57


def test_garbage_drops_that_connection_only() -> None:
    """One broken client would end everybody's session."""
    world = World()
    good, bad, worse = world.client(), world.client(), world.peer()
    bad.send(b"\0\0\0\1")
    worse.send(b"garbage")
    assert bad.dropped is not None
    assert worse.dropped is not None
    assert good.create("/a").code is Code.OK


def test_a_request_that_can_not_be_read_is_answered() -> None:
    """A client with a faulty library would lose its connection, not just the one answer."""
    world = World()
    client = world.client()
    zxid = world.machine.state.zxid
    assert client.call(Op.CREATE, b"\0\0\0\5/a").code is Code.MARSHALLING_ERROR
    assert world.machine.state.zxid == zxid + 1  # as any refused write
    assert client.call(Op.EXISTS, b"\0\0\0\5/a").code is Code.MARSHALLING_ERROR
    assert client.create("/a").code is Code.OK


@given(st.lists(st.binary(max_size=80), max_size=10), st.booleans())
def test_no_frame_can_break_the_machine(frames: list[bytes], with_session: bool) -> None:
    """Anybody on the machine could stop the server with one packet."""
    world = World()
    good = world.client()
    bad = world.client() if with_session else world.peer()
    for frame in frames:
        bad.send(frame)
    assert good.create("/still-here").code is Code.OK


@pytest.mark.parametrize(
    "wrong", [{"port": 65_536}, {"port": -1}, {"tick_ms": 0}, {"tick_ms": 40_000}]
)
def test_settings_no_server_can_run_with_are_refused(wrong: dict[str, int]) -> None:
    """A slip on the command line would end in a traceback, or in a server that expires all at once."""
    with pytest.raises(ValueError, match=str(next(iter(wrong.values())))):
        ServerSettings(Path("/nowhere"), **wrong)  # type: ignore[arg-type]  # mixed types by design


@pytest.mark.parametrize("op", [16, 102, 77, -10])
def test_unknown_requests_are_refused_not_fatal(op: int) -> None:
    """A newer client would be cut off instead of told to do without."""
    client = World().client()
    assert client.call(op, b"whatever").code is Code.UNIMPLEMENTED
    assert client.dropped is None
