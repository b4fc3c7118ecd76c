"""A status as a daemon of no group would give it; tests say what matters to them by `replace`."""

from __future__ import annotations

from autohealer.control.records import StatusRecord

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
