"""Four-letter words: what people and probes ask a server on a fresh connection.

The formats follow Apache's `server/command` package, so that existing probes can read them. Latencies
and queues are always 0: a request is served as it is read, and what is not read waits in the socket.

Must never know: sockets, the system. What it reports is handed in; the machine and its process are looked
at only for words that tell of them. Times of day are in UTC.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeAlias

from autohealer.zkserver.protocol import Op

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from autohealer.zkserver.connections import Connection
    from autohealer.zkserver.effects import Moment
    from autohealer.zkserver.host import HostFacts
    from autohealer.zkserver.machine import Machine

VERSION = "3.8.0-autohealer-embedded"
"""Starts like the version whose behaviour this server follows; clients compare the number."""

_SERVER = "standalone"

LISTEN_BACKLOG = 4096
"""All workers of a machine reconnect at once after a restart; the usual 128 would make some wait a second."""


_OPERATIONS: dict[int, str] = {
    Op.CREATE: "CREA",
    Op.CREATE2: "CREA",
    Op.CREATE_CONTAINER: "CREA",
    Op.CREATE_TTL: "CREA",
    Op.DELETE: "DELE",
    Op.EXISTS: "EXIS",
    Op.GET_DATA: "GETD",
    Op.SET_DATA: "SETD",
    Op.GET_ACL: "GETA",
    Op.SET_ACL: "SETA",
    Op.GET_CHILDREN: "GETC",
    Op.GET_CHILDREN2: "GETC",
    Op.SYNC: "SYNC",
    Op.PING: "PING",
    Op.CHECK: "CHEC",
    Op.MULTI: "MULT",
    Op.MULTI_READ: "MLTR",
    Op.CHECK_WATCHES: "CHKW",
    Op.REMOVE_WATCHES: "REMW",
    Op.SET_WATCHES: "SETW",
    Op.SET_WATCHES2: "STW2",
    Op.ADD_WATCH: "ADDW",
    Op.GET_EPHEMERALS: "GETE",
    Op.COUNT_DESCENDANTS: "GETACN",
    Op.WHO_AM_I: "HOMI",
}
"""Source: `FinalRequestProcessor`; what is not there is NA."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a word is answered from."""

    machine: Machine
    now: Moment
    look: Callable[[], HostFacts]


_Command: TypeAlias = "Callable[[Question], str]"


def answer(
    word: bytes, machine: Machine, now: Moment, look: Callable[[], HostFacts]
) -> bytes | None:
    """The reply to a word; None when it is none. `look` tells of the process."""
    command = _COMMANDS.get(word)
    return None if command is None else command(Question(machine, now, look)).encode()


def is_word(prefix: bytes) -> bool:
    """Whether the first four bytes of a connection are a word and not a frame's length."""
    return prefix in _COMMANDS


def _srvr(asked: Question) -> str:
    machine = asked.machine
    return f"Zookeeper version: {VERSION}, built with autohealer\n" + _summary(machine)


def _stat(asked: Question) -> str:
    machine = asked.machine
    head = f"Zookeeper version: {VERSION}, built with autohealer\nClients:\n"
    lines = (f" {_where(each)}({_counts(each)})\n" for each in machine.connections.values())
    return head + "".join(lines) + "\n" + _summary(machine)


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


def _cons(asked: Question) -> str:
    connections = asked.machine.connections.values()
    lines = (f" {_where(each)}({_counts(each)}{_of_session(each)})\n" for each in connections)
    return "".join(lines) + "\n"


def _where(connection: Connection) -> str:
    return f"/{connection.address}:{connection.port}[1]"


def _counts(connection: Connection) -> str:
    return f"queued=0,recved={connection.received_count},sent={connection.sent_count}"


def _of_session(connection: Connection) -> str:
    session, last = connection.session, connection.last
    if session is None or last is None:
        return ""
    operation = "SESS" if last.op is None else _OPERATIONS.get(last.op, "NA")
    return (
        f",sid={session.id:#x},lop={operation},est={connection.since_wall_ms},to={session.timeout_ms}"
        f",lcxid={last.xid:#x},lzxid={last.zxid:#x},lresp={last.at_ms},llat=0,minlat=0,avglat=0,maxlat=0"
    )


def _mntr(asked: Question) -> str:
    machine, host = asked.machine, asked.look()
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
        "zk_ephemerals_count": tree.ephemeral_count,
        "zk_approximate_data_size": tree.data_bytes,
        "zk_open_file_descriptor_count": host.open_file_count,
        "zk_max_file_descriptor_count": host.open_file_max,
        "zk_uptime": host.uptime_ms,
        "zk_global_sessions": len(machine.sessions),
        "zk_connection_request_count": machine.totals.handshake_count,
        "zk_stale_sessions_expired": machine.totals.expired_count,
        "zk_stalled_ms": machine.totals.stalled_ms,
    }
    return "".join(f"{key}\t{value}\n" for key, value in values.items())


def _conf(asked: Question) -> str:
    settings, host = asked.machine.settings, asked.look()
    values: dict[str, object] = {
        "clientPort": host.port,
        "secureClientPort": -1,
        "dataDir": settings.data_dir,
        "dataDirSize": host.data_bytes,
        "dataLogDir": settings.data_dir,
        "dataLogSize": host.data_bytes,
        "tickTime": settings.tick_ms,
        "maxClientCnxns": settings.connections_max,
        "minSessionTimeout": settings.session_timeout_floor_ms,
        "maxSessionTimeout": settings.session_timeout_max_ms,
        "clientPortListenBacklog": LISTEN_BACKLOG,
        "serverId": 0,
    }
    return "".join(f"{key}={value}\n" for key, value in values.items())


def _envi(asked: Question) -> str:
    lines = "".join(f"{key}={value}\n" for key, value in asked.look().environment.items())
    return f"Environment:\nzookeeper.version={VERSION}, built with autohealer\n{lines}"


def _dump(asked: Question) -> str:
    machine, now = asked.machine, asked.now
    sessions = machine.sessions.expiries()
    owned = machine.state.tree.ephemerals()
    connections: defaultdict[int, list[str]] = defaultdict(list)
    dues_ms = {session_id: due_ms for due_ms, ids in sessions.items() for session_id in ids}
    longest_ms = now.monotonic_ms + machine.settings.handshake_timeout_ms
    for each in machine.connections.values():
        session_id = each.session.id if each.session else 0
        line = f"ip: /{each.address}:{each.port} sessionId: {session_id:#x}"
        connections[dues_ms.get(session_id, longest_ms)].append(line)
    return (
        f"SessionTracker dump:\nSession Sets ({len(sessions)})/({len(machine.sessions)}):\n"
        + "".join(
            _expiring(due_ms, now, map("{:#x}".format, ids)) for due_ms, ids in sessions.items()
        )
        + f"ephemeral nodes dump:\nSessions with Ephemerals ({len(owned)}):\n"
        + "".join(f"{owner:#x}:\n" + _indented(paths) for owner, paths in owned.items())
        + f"Connections dump:\nConnections Sets ({len(connections)})/({len(machine.connections)}):\n"
        + "".join(_expiring(due_ms, now, lines) for due_ms, lines in sorted(connections.items()))
    )


def _expiring(due_ms: int, now: Moment, lines: Iterable[str]) -> str:
    """Those who expire at one moment, which is told as Java tells a date."""
    listed = list(lines)
    wall_s = (now.wall_ms + due_ms - now.monotonic_ms) / 1000
    date = datetime.fromtimestamp(wall_s, UTC).strftime("%a %b %d %H:%M:%S UTC %Y")
    return f"{len(listed)} expire at {date}:\n" + _indented(listed)


def _indented(lines: list[str]) -> str:
    return "".join(f"\t{line}\n" for line in lines)


def _wchs(asked: Question) -> str:
    watches = asked.machine.watches
    return (
        f"{watches.connection_count} connections watching {watches.path_count} paths\n"
        f"Total watches:{watches.count}\n"
    )


_COMMANDS: dict[bytes, _Command] = {
    b"ruok": lambda _: "imok",
    b"isro": lambda _: "rw",
    b"srvr": _srvr,
    b"stat": _stat,
    b"mntr": _mntr,
    b"conf": _conf,
    b"cons": _cons,
    b"dump": _dump,
    b"wchs": _wchs,
    b"envi": _envi,
}
