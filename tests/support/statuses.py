"""A status as a daemon of no group would give it; tests say what matters to them by `replace`."""

from __future__ import annotations

from autohealer.control.records import SlotRecord, StatusRecord

STATUS = StatusRecord(
    group="web",
    daemon_pid=99,
    version="0.1.0",
    zookeeper="127.0.0.1:2181",
    store="connected",
    store_age_s=None,
    desired=0,
    ready=0,
    stopping=False,
    holds=(),
    slots=(),
    strangers=(),
)

SLOT = SlotRecord(
    slot=0,
    phase="ready",
    phase_age_s=1.0,
    ready=True,
    pid=4711,
    pid_age_s=2.0,
    generation=17,
    adopted=False,
    registration="present",
    registration_age_s=1.0,
    health="sleeping",
    health_age_s=0.0,
    rss_bytes=1,
    cpu_s=0.1,
    restarts=3,
    failures=0,
    reason="exited with code 3",
    next_try_s=None,
    hint="install it",
)
