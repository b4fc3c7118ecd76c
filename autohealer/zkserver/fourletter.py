"""Four-letter words: what people and probes ask a server on a fresh connection.

The formats follow Apache's `server/command` package, so that existing probes can read them. Latencies
and queues are always 0: a request is served as it is read, and what is not read waits in the socket.

Must never know: sockets, the system. What it reports is handed in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from autohealer.zkserver.machine import Machine

VERSION = "3.8.0-autohealer-embedded"
"""Starts like the version whose behaviour this server follows; clients compare the number."""

_SERVER = "standalone"


def answer(word: bytes, machine: Machine, environment: dict[str, str]) -> bytes | None:
    """The reply to a word; None when it is none. `environment` is what `envi` and `conf` add."""
    command = _COMMANDS.get(word)
    return None if command is None else command(machine, environment).encode()


def is_word(prefix: bytes) -> bool:
    """Whether the first four bytes of a connection are a word and not a frame's length."""
    return prefix in _COMMANDS


def _srvr(machine: Machine, _: dict[str, str]) -> str:
    return f"Zookeeper version: {VERSION}, built with autohealer\n" + _summary(machine)


def _stat(machine: Machine, _: dict[str, str]) -> str:
    head = f"Zookeeper version: {VERSION}, built with autohealer\nClients:\n"
    return head + _clients(machine) + "\n" + _summary(machine)


def _summary(machine: Machine) -> str:
    return (
        "Latency min/avg/max: 0/0.0/0\n"
        f"Received: {machine.totals.received_count}\n"
        f"Sent: {machine.totals.sent_count}\n"
        f"Connections: {len(machine.connections)}\n"
        "Outstanding: 0\n"
        f"Zxid: {machine.state.zxid:#x}\n"
        f"Mode: {_SERVER}\n"
        f"Node count: {len(machine.state.tree)}\n"
    )


def _cons(machine: Machine, _: dict[str, str]) -> str:
    return _clients(machine) + "\n"


def _clients(machine: Machine) -> str:
    lines: list[str] = []
    for connection in machine.connections.values():
        counts = f"queued=0,recved={connection.received_count},sent={connection.sent_count}"
        session = connection.session
        of_session = f",sid={session.id:#x},to={session.timeout_ms}" if session else ""
        where = f"{connection.address}:{connection.port}"
        lines.append(f" /{where}[1]({counts}{of_session})\n")
    return "".join(lines)


def _mntr(machine: Machine, _: dict[str, str]) -> str:
    tree = machine.state.tree
    values: dict[str, object] = {
        "zk_version": VERSION,
        "zk_server_state": _SERVER,
        "zk_avg_latency": 0.0,
        "zk_max_latency": 0,
        "zk_min_latency": 0,
        "zk_packets_received": machine.totals.received_count,
        "zk_packets_sent": machine.totals.sent_count,
        "zk_num_alive_connections": len(machine.connections),
        "zk_outstanding_requests": 0,
        "zk_znode_count": len(tree),
        "zk_watch_count": machine.watches.count,
        "zk_ephemerals_count": sum(map(len, tree.ephemerals().values())),
        "zk_approximate_data_size": sum(
            len(path) + len(node.data or b"") for path, node in tree.items()
        ),
        "zk_global_sessions": len(machine.sessions),
        "zk_stalled_ms": machine.totals.stalled_ms,
    }
    return "".join(f"{key}\t{value}\n" for key, value in values.items())


def _conf(machine: Machine, environment: dict[str, str]) -> str:
    settings = machine.settings
    values: dict[str, object] = {
        "clientPort": environment["client.port"],
        "dataDir": settings.data_dir,
        "tickTime": settings.tick_ms,
        "maxClientCnxns": settings.connections_max,
        "minSessionTimeout": settings.session_timeout_floor_ms,
        "maxSessionTimeout": settings.session_timeout_max_ms,
        "serverId": 0,
    }
    return "".join(f"{key}={value}\n" for key, value in values.items())


def _envi(_: Machine, environment: dict[str, str]) -> str:
    lines = "".join(f"{key}={value}\n" for key, value in environment.items())
    return f"Environment:\nzookeeper.version={VERSION}, built with autohealer\n{lines}"


def _dump(machine: Machine, _: dict[str, str]) -> str:
    sessions = sorted(session.id for session in machine.sessions)
    owned = machine.state.tree.ephemerals()
    return (
        f"SessionTracker dump:\nGlobal Sessions({len(sessions)}):\n"
        + "".join(f"{session_id:#x}\n" for session_id in sessions)
        + f"ephemeral nodes dump:\nSessions with Ephemerals ({len(owned)}):\n"
        + "".join(f"{owner:#x}:\n" + _indented(paths) for owner, paths in owned.items())
    )


def _indented(paths: list[str]) -> str:
    return "".join(f"\t{path}\n" for path in paths)


def _wchs(machine: Machine, _: dict[str, str]) -> str:
    watches = machine.watches
    return (
        f"{watches.connection_count} connections watching {watches.path_count} paths\n"
        f"Total watches:{watches.count}\n"
    )


_COMMANDS: dict[bytes, Callable[[Machine, dict[str, str]], str]] = {
    b"ruok": lambda _machine, _environment: "imok",
    b"isro": lambda _machine, _environment: "rw",
    b"srvr": _srvr,
    b"stat": _stat,
    b"mntr": _mntr,
    b"conf": _conf,
    b"cons": _cons,
    b"dump": _dump,
    b"wchs": _wchs,
    b"envi": _envi,
}
