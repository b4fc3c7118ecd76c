"""What a reload would change: every difference of two configurations, with what it does to workers.

Theory of operation. Groups are told apart by their names. Of each key it is known whether a launch depends on it, so
that those who run are replaced, or not, so that it is changed in place; a test holds the keys here to the settings
there are. Values of the environment may be secrets, so only names are told of it.

Must never know: how anything is carried out. What all groups share is not changed by a reload, only told of.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from autohealer.config.units import duration
from autohealer.healthspec import ProbeSpec, texts_of
from autohealer.launchspec import LaunchSpec
from autohealer.printable import printable
from autohealer.settings import DaemonSettings, GroupSettings

VALUE_CHARS = 40
IN_PLACE = "in place"
AT_NEXT_START = "with the next start of the daemon (detach, then up)"

Tell = Callable[[GroupSettings], str]


def _launch(tell: Callable[[LaunchSpec], object]) -> Tell:
    def told(group: GroupSettings) -> str:
        value = tell(group.launch)
        return "" if value is None else str(value)

    return told


def _probe(spec: ProbeSpec | None) -> str:
    """Everything about a probe, so that any change of it is told."""
    if spec is None:
        return ""
    times = ", ".join(duration(it) for it in (spec.delay_s, spec.period_s, spec.timeout_s))
    return f"{' '.join(texts_of(spec.target))} ({times}; {spec.failures}, {spec.successes})"


_OF_LAUNCH: dict[str, Tell] = {
    "command": _launch(lambda it: shlex.join(it.argv)),
    "register": _launch(lambda it: it.registrar.value),
    "directory": _launch(lambda it: it.directory),
    "venv": _launch(lambda it: it.venv),
    "user": _launch(lambda it: it.user),
    "group": _launch(lambda it: it.group),
    "umask": _launch(lambda it: None if it.umask is None else f"{it.umask:03o}"),
    "port": _launch(lambda it: it.port),
    "output": _launch(lambda it: it.output or "file"),
    "limits.nofile": _launch(lambda it: it.limits.nofile),
    "limits.nproc": _launch(lambda it: it.limits.nproc),
    "limits.core": _launch(lambda it: it.limits.core_bytes),
    "limits.memlock": _launch(lambda it: it.limits.memlock_bytes),
    "limits.stack": _launch(lambda it: it.limits.stack_bytes),
    "limits.address_space": _launch(lambda it: it.limits.address_space_bytes),
    "limits.memory_max": _launch(lambda it: it.tree_limits.memory_max_bytes),
    "limits.cpu_max": _launch(lambda it: it.tree_limits.cpu_max),
    "limits.nice": _launch(lambda it: it.nice),
    "limits.oom_score_adj": _launch(lambda it: it.oom_score_adj),
    "notify": _launch(lambda it: "true" if it.notify else None),
    "watchdog": _launch(lambda it: None if it.watchdog_s is None else duration(it.watchdog_s)),
}


def _memory_restart(group: GroupSettings) -> str:
    size = group.memory_restart_bytes
    return "" if size is None else f"{size} bytes"


_IN_PLACE: dict[str, Tell] = {
    "registration_timeout": lambda it: duration(it.registration_timeout_s),
    "grace": lambda it: duration(it.grace_s),
    "min_ready": lambda it: duration(it.min_ready_s),
    "restart.policy": lambda it: it.restart.value,
    "restart.initial": lambda it: duration(it.backoff_initial_s),
    "restart.max": lambda it: duration(it.backoff_max_s),
    "stop_signal": lambda it: it.stop_signal.name.removeprefix("SIG"),
    "after": lambda it: ", ".join(it.after),
    "limits.memory_restart": _memory_restart,
    "startup": lambda it: _probe(it.health.startup),
    "readiness": lambda it: _probe(it.health.readiness),
    "liveness": lambda it: _probe(it.health.liveness),
    "output.to": lambda it: "" if it.output.to is None else it.output.to.value,
    "output.max_size": lambda it: f"{it.output.max_bytes} bytes",
    "output.keep": lambda it: str(it.output.keep),
    "output.timestamps": lambda it: str(it.output.timestamps).lower(),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One difference, and what it does: `~` changed, `+` new, `-` removed, `!` not to be changed by a reload."""

    mark: str
    group: str
    key: str
    change: str
    effect: str


@dataclass(frozen=True, slots=True)
class ReloadPlan:
    """What is to be done, and how it is told."""

    rows: tuple[Row, ...]
    changed: tuple[GroupSettings, ...]
    new: tuple[GroupSettings, ...]
    removed: tuple[str, ...]
    unchanged: int

    def lines(self, *, is_done: bool) -> list[str]:
        """A line for each difference, in columns, below them a sum."""
        cells = [(row.group, row.key, row.change) for row in self.rows]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        told = [
            f"  {row.mark} "
            + "  ".join(f"{cell:{width}}" for cell, width in zip(cell_row, widths, strict=True))
            + f"  {row.effect}"
            for row, cell_row in zip(self.rows, cells, strict=True)
        ]
        counts = (
            f"{len(self.changed)} changed, {len(self.new)} new, {len(self.removed)} removed, "
            f"{self.unchanged} unchanged."
        )
        return [*told, counts if is_done else f"{counts} Nothing was done (--dry-run)."]


def plan_of(before: DaemonSettings, after: DaemonSettings, kept: Mapping[str, int]) -> ReloadPlan:
    """What leads from one to the other; `kept` is how many workers groups have by now, where somebody scaled them."""
    old = {group.name: group for group in before.groups}
    new = {group.name: group for group in after.groups}
    rows: list[Row] = []
    changed = []
    for name, group in new.items():
        if name not in old:
            rows.append(Row("+", name, _count(group.replicas), "", "started"))
        elif differences := list(_differences(old[name], group, kept)):
            rows += differences
            changed.append(group)
    removed = tuple(name for name in old if name not in new)
    rows += [
        Row("-", name, _count(kept.get(name, old[name].replicas)), "", "drained")
        for name in removed
    ]
    rows += _of_daemon(before, after)
    return ReloadPlan(
        tuple(rows),
        tuple(changed),
        tuple(group for name, group in new.items() if name not in old),
        removed,
        len(old) - len(removed) - len(changed),
    )


def _differences(old: GroupSettings, new: GroupSettings, kept: Mapping[str, int]) -> Iterator[Row]:
    name = new.name
    now = wanted = kept.get(name, old.replicas)
    if old.replicas != new.replicas:
        wanted = new.replicas
        yield Row("~", name, "replicas", f"{old.replicas} -> {wanted}", _resized(now, wanted, old))
    replaced = f"{min(now, wanted)} replaced, one at a time"
    for key, tell in _OF_LAUNCH.items():
        if tell(old) != tell(new):
            yield Row("~", name, key, _change(tell(old), tell(new)), replaced)
    if change := _of_environment(old.launch, new.launch):
        yield Row("~", name, "env", change, replaced)
    if old.session_timeout_s != new.session_timeout_s:
        change = _change(duration(old.session_timeout_s), duration(new.session_timeout_s))
        yield Row("~", name, "session_timeout", change, "for those launched from now on")
    for key, tell in _IN_PLACE.items():
        if tell(old) != tell(new):
            yield Row("~", name, key, _change(tell(old), tell(new)), IN_PLACE)


def _resized(now: int, wanted: int, old: GroupSettings) -> str:
    """What it does to workers; where an operator scaled the group, the configuration's new number ends that."""
    scaled = "" if now == old.replicas else f" ({now} by scale)"
    if now == wanted:
        return f"nobody touched{scaled}"
    effect = f"{wanted - now} started" if wanted > now else f"{now - wanted} drained"
    return f"{effect}, nobody else touched{scaled}"


def _of_environment(old: LaunchSpec, new: LaunchSpec) -> str:
    """Which names have come, gone or another value."""
    was, now = dict(old.environment), dict(new.environment)
    names = [*was, *(name for name in now if name not in was)]
    marks = [_mark(was.get(name), now.get(name)) + printable(name) for name in names]
    return ", ".join(it for it in marks if not it.startswith("="))


def _mark(was: str | None, now: str | None) -> str:
    if was is None:
        return "+"
    if now is None:
        return "-"
    return "=" if was == now else "~"


def _of_daemon(before: DaemonSettings, after: DaemonSettings) -> Iterator[Row]:
    shared: Sequence[tuple[str, object, object]] = (
        ("zookeeper", before.target, after.target),
        ("zookeeper_open", before.zookeeper_open, after.zookeeper_open),
        ("zookeeper_auth and zookeeper_tls_*", before.credentials, after.credentials),
    )
    for key, old, new in shared:
        if old != new:
            yield Row("!", "[daemon]", key, "differs", AT_NEXT_START)


def _change(old: str, new: str) -> str:
    return f"{_short(old)} -> {_short(new)}"


def _short(value: str) -> str:
    """A value on a line of its own words; the end of a long one tells more than its middle."""
    shown = printable(value) or "none"
    return shown if len(shown) <= VALUE_CHARS else f"{shown[:12]}…{shown[13 - VALUE_CHARS :]}"


def _count(replicas: int) -> str:
    return f"{replicas} worker{'s' * (replicas != 1)}"
