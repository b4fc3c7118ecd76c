"""Whose registration is it: this process's own past, a living sibling's, or somebody else's.

Theory of operation: processes of one worker share its token, which nobody else knows. A record
whose proof fits was written by one of them, and pid, start time and boot say by which. Somebody who
copies a record does not become the process it speaks of. Where no daemon gave a token there are no
proofs, and a record is believed.

"Cannot be seen" is not "is gone": a sibling in another pid namespace, on another boot, or hidden from
this user counts as living. Being wrong about a living one would end its registration, and being wrong
about a dead one costs a wait until its session expires.

Must never know: ZooKeeper, and nothing is signalled.
"""

from __future__ import annotations

import hmac
import os
from pathlib import Path

from autohealer import contract

TYPE_CHECKING = False  # what `typing` says too, and importing it would cost 2 ms
if TYPE_CHECKING:
    from autohealer.worker.identity import Identity

_START_FIELD = 22 - 3
"""Counted from the state, the first field behind the command's closing bracket."""


def is_living_sibling(raw: bytes, me: Identity) -> bool:
    """Whether the data of a znode of this worker's name was written by another of its processes, which may live."""
    try:
        record = contract.decode_record(raw)
    except contract.RecordError:
        return False
    own = (me.record.pid, me.record.start, me.record.boot)
    if (record.pid, record.start, record.boot) == own:
        return False
    return _is_proven(record, me.token) and not _has_ended(record, me.record)


def is_successor(record: contract.WorkerRecord, me: contract.WorkerRecord) -> bool:
    """Whether a newer registration of this slot comes from those who launched this worker.

    Another daemon's worker of the same group and slot, on another host perhaps, has nothing to do with this one.
    """
    if me.keeper:
        return record.keeper == me.keeper
    return (record.host, record.boot) == (me.host, me.boot)


def _is_proven(record: contract.WorkerRecord, token: str) -> bool:
    if not token:
        return True
    expected = contract.registration_proof(token, record.pid, record.start, record.boot)
    return hmac.compare_digest(record.proof.encode(), expected.encode())


def _has_ended(record: contract.WorkerRecord, me: contract.WorkerRecord) -> bool:
    """Whether a process of this boot and this pid namespace is known to be gone."""
    if record.boot != me.boot or not record.pidns or record.pidns != me.pidns:
        return False
    try:
        os.getpgid(record.pid)  # unlike /proc, this shows everybody
        stat = Path(f"/proc/{record.pid}/stat").read_text()
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:
        return False  # it is there, and hidden
    return int(stat.rpartition(")")[2].split()[_START_FIELD]) != record.start
