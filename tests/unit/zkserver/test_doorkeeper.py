"""Goal: nobody but the owner and root gets in. Method: real sockets of other users, whom the kernel tells apart."""

from __future__ import annotations

import os
import socket
import struct
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from autohealer.zkserver import endpoints
from autohealer.zkserver.doorkeeper import NOWHERE, Admitted, Doorkeeper, Gone, Refused
from autohealer.zkserver.endpoints import Kernel, TcpState, address_of
from tests.support.otheruser import (
    ANOTHER,
    STRANGER,
    child,
    connected_as,
    enter_user_namespace,
    socket_of,
)
from tests.support.require import require

if TYPE_CHECKING:
    from collections.abc import Iterator

    from autohealer.zkserver.doorkeeper import Verdict

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: close with a reset, which leaves nothing behind."""


@pytest.fixture(params=[True, False], ids=["netlink", "tables"])
def kernel(request: pytest.FixtureRequest) -> Iterator[Kernel]:
    """Both ways to ask."""
    with closing(Kernel(may_use_netlink=request.param)) as one:
        require("netlink sock_diag", not request.param or one.is_quick)
        yield one


@contextmanager
def _listening(host: str = "127.0.0.1", uid: int = 0) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket_of(uid, family) as listener:
        listener.bind((host, 0))
        listener.listen()
        yield listener


def _port(listener: socket.socket) -> int:
    port: int = listener.getsockname()[1]
    return port


def _judge(
    kernel: Kernel, *connections: socket.socket, own: int = ANOTHER, is_open: bool = False
) -> list[Verdict]:
    return Doorkeeper(kernel, own, is_open=is_open).judge(connections)


@pytest.mark.parametrize(
    ("own", "client", "comes_in"),
    [
        (0, 0, True),
        (ANOTHER, ANOTHER, True),
        (ANOTHER, 0, True),
        (0, STRANGER, False),
        (ANOTHER, STRANGER, False),
        (STRANGER, ANOTHER, False),
        (STRANGER, STRANGER, True),
    ],
)
def test_the_owner_and_root_come_in_and_nobody_else(
    kernel: Kernel, own: int, client: int, comes_in: bool
) -> None:
    """Any user of the machine could end every worker, or the owner's own tools would be locked out."""
    with (
        _listening() as listener,
        connected_as(client, _port(listener)),
        listener.accept()[0] as ours,
    ):
        (verdict,) = _judge(kernel, ours, own=own)
    if comes_in:
        assert verdict == Admitted(None)
    else:
        assert isinstance(verdict, Refused)
        assert f"client of user {client}: the server is of user {own}" in verdict.why
        assert "--zookeeper-open" in verdict.why


@pytest.mark.parametrize(
    ("listens", "asked"),
    [("::1", "::1"), ("127.0.0.1", "::ffff:127.0.0.1"), ("127.0.0.1", "127.3.2.1")],
)
def test_every_spelling_of_loopback_is_told_apart(kernel: Kernel, listens: str, asked: str) -> None:
    """Java's client, which prefers IPv6, would be locked out, or a stranger let in by it."""
    where = "0.0.0.0" if asked.startswith("127.3") else listens
    with ExitStack() as undo:
        try:
            listener = undo.enter_context(_listening(where))
        except OSError:
            require("IPv6", present=False)
        for client, expected in ((ANOTHER, Admitted), (STRANGER, Refused)):
            with connected_as(client, _port(listener), asked), listener.accept()[0] as ours:
                (verdict,) = _judge(kernel, ours)
                assert isinstance(verdict, expected)


@pytest.mark.parametrize("with_reset", [True, False])
def test_who_has_hung_up_is_not_taken_for_root(kernel: Kernel, with_reset: bool) -> None:
    """The kernel shows closed sockets as root's: a stranger could send a request, close, and have it served."""
    with _listening() as listener:
        client = connected_as(STRANGER, _port(listener))
        client.sendall(b"ruok")
        if with_reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        with listener.accept()[0] as ours:
            client.close()
            assert _judge(kernel, ours, own=0) == [Gone()]
            ours.shutdown(socket.SHUT_RDWR) if not with_reset else None
            assert _judge(kernel, ours, own=0) == [Gone()]  # TIME_WAIT by now


def test_a_port_given_to_root_meanwhile_lets_nobody_in(kernel: Kernel) -> None:
    """A stranger whose connection waits in the queue would be taken for root, who got the same port later."""
    with _listening() as listener, ExitStack() as undo:
        client = connected_as(STRANGER, _port(listener))
        near = client.getsockname()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        client.close()
        successor = undo.enter_context(socket.socket())
        successor.bind(near)
        successor.connect(listener.getsockname())
        first, second = (undo.enter_context(listener.accept()[0]) for _ in range(2))
        assert _judge(kernel, first, second) == [Gone(), Admitted(None)]


def test_who_only_sends_no_more_is_still_there(kernel: Kernel) -> None:
    """`echo ruok | nc -N` would get no answer."""
    with (
        _listening() as listener,
        connected_as(ANOTHER, _port(listener)) as client,
        listener.accept()[0] as ours,
    ):
        client.shutdown(socket.SHUT_WR)
        assert _judge(kernel, ours) == [Admitted(None)]


def test_root_of_a_namespace_of_ones_own_is_who_one_was(kernel: Kernel) -> None:
    """Any user could make a user namespace, be root in it, and control the group."""
    with _listening() as listener:

        def connect() -> str:
            try:
                enter_user_namespace(STRANGER, f"0 {STRANGER} 1")
            except OSError:
                return "impossible"
            client = socket.socket()
            client.connect(listener.getsockname())
            client.detach()
            return f"uid {os.getuid()}"

        with child(connect) as said:
            require("user namespaces", said != "impossible")
            assert said == "uid 0"
            with listener.accept()[0] as ours:
                (verdict,) = _judge(kernel, ours)
        assert isinstance(verdict, Refused)
        assert f"user {STRANGER}" in verdict.why


def test_a_user_without_an_id_here_is_not_taken_for_the_one_that_stands_for_all() -> None:
    """In a container the server of user 65534 would serve every user of the host."""

    def look() -> str:
        try:
            enter_user_namespace(STRANGER, f"{STRANGER} {STRANGER} 1")
        except OSError:
            return "impossible"
        kernel = Kernel()
        overflow = int(Path("/proc/sys/kernel/overflowuid").read_text("ascii"))
        return f"{kernel.is_nobody(overflow)} {kernel.is_nobody(overflow + 1)}"

    require("root", os.geteuid() == 0)
    with child(look) as said:
        require("user namespaces", said != "impossible")
        assert said == "True False"


def test_who_does_not_come_over_loopback_is_refused(kernel: Kernel) -> None:
    """With --host 0.0.0.0 another machine could pass for whoever has the same port here."""
    with (
        _listening("0.0.0.0") as listener,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe,
    ):
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing; only chooses an address
        except OSError:
            require("an address beside loopback", present=False)
        with (
            connected_as(ANOTHER, _port(listener), probe.getsockname()[0]),
            listener.accept()[0] as ours,
        ):
            (verdict,) = _judge(kernel, ours)
            assert isinstance(verdict, Refused)
            assert "loopback" in verdict.why
            assert _judge(kernel, ours, is_open=True) == [Admitted(NOWHERE)]


def test_an_open_server_knows_whom_it_serves(kernel: Kernel) -> None:
    """A stranger's share could not be bounded."""
    with _listening() as listener, ExitStack() as undo:
        for client in (STRANGER, ANOTHER, 0):
            undo.enter_context(connected_as(client, _port(listener)))
        ours = [undo.enter_context(listener.accept()[0]) for _ in range(3)]
        assert _judge(kernel, *ours, is_open=True) == [
            Admitted(STRANGER),
            Admitted(None),
            Admitted(None),
        ]


def test_where_nothing_can_be_told_nobody_comes_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without netlink and /proc/net the door would stand open."""
    monkeypatch.setattr(endpoints, "_TABLES", ())
    kernel = Kernel(may_use_netlink=False)
    with _listening() as listener, connected_as(0, _port(listener)), listener.accept()[0] as ours:
        (verdict,) = _judge(kernel, ours)
        assert isinstance(verdict, Refused)
        assert "no /proc/net/tcp" in verdict.why
        assert "open it to all" in verdict.why
        assert _judge(kernel, ours, is_open=True) == [Admitted(NOWHERE)]


def test_who_listens_is_known_by_user(kernel: Kernel) -> None:
    """A stranger who took the port first would be taken for the embedded server."""
    with _listening(uid=STRANGER) as listener:
        found = kernel.listeners(address_of("127.0.0.1", _port(listener)))
        assert [(end.uid, end.state) for end in found] == [(STRANGER, TcpState.LISTEN)]
        port = _port(listener)
    assert kernel.listeners(address_of("127.0.0.1", port)) == []


@pytest.mark.parametrize("where", ["0.0.0.0", "::"])
def test_who_listens_on_every_address_is_known(kernel: Kernel, where: str) -> None:
    """A listener on all addresses would be overlooked."""
    with ExitStack() as undo:
        try:
            listener = undo.enter_context(_listening(where, STRANGER))
        except OSError:
            require("IPv6", present=False)
        found = kernel.listeners(address_of("127.0.0.1", _port(listener)))
        assert [end.uid for end in found] == [STRANGER]
