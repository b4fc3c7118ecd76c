"""What a reload would change is told before it is done, every difference and nothing else."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from signal import Signals

import pytest

from autohealer.config import plan as planning
from autohealer.config.plan import AT_NEXT_START, ReloadPlan
from autohealer.core.policy import Registrar, Restart
from autohealer.healthspec import HealthSpec, ProbeSpec, TcpTarget
from autohealer.launchspec import LaunchSpec, ResourceLimits, TreeLimits
from autohealer.outputspec import OutputSpec, OutputTo
from autohealer.settings import (
    AutoTarget,
    DaemonSettings,
    EmbeddedTarget,
    GroupSettings,
)

WEB = GroupSettings("web", 4, LaunchSpec(("/bin/web", "serve")))
QUEUE = GroupSettings("queue", 10, LaunchSpec(("/bin/queue",)))


def daemon(*groups: GroupSettings) -> DaemonSettings:
    """A daemon that keeps these."""
    return DaemonSettings(Path("/state"), AutoTarget(), groups)


def plan_of(before: DaemonSettings, after: DaemonSettings, **kept: int) -> ReloadPlan:
    """The plan where operators have scaled groups to these sizes."""
    return planning.plan_of(before, after, kept)


def test_a_plan_is_told_in_columns() -> None:
    """Nobody would see at a glance what a reload is going to do."""
    after = daemon(
        replace(WEB, replicas=6, launch=replace(WEB.launch, argv=("/bin/web", "run"))),
        replace(QUEUE, grace_s=20.0),
        GroupSettings("mail", 3, LaunchSpec(("/bin/mail",))),
    )
    before = daemon(WEB, QUEUE, GroupSettings("old", 1, LaunchSpec(("/bin/old",))))
    assert plan_of(before, after).lines(is_done=False) == [
        "  ~ web    replicas   4 -> 6                          2 started, nobody else touched",
        "  ~ web    command    /bin/web serve -> /bin/web run  4 replaced, one at a time",
        "  ~ queue  grace      10s -> 20s                      in place",
        "  + mail   3 workers                                  started",
        "  - old    1 worker                                   drained",
        "2 changed, 1 new, 1 removed, 0 unchanged. Nothing was done (--dry-run).",
    ]


def test_nothing_changes_for_the_same_file() -> None:
    """A reload out of habit would replace workers."""
    plan = plan_of(daemon(WEB, QUEUE), daemon(WEB, QUEUE))
    assert plan.lines(is_done=True) == ["0 changed, 0 new, 0 removed, 2 unchanged."]


ANOTHER_LAUNCH = {
    "argv": replace(WEB.launch, argv=("/bin/other",)),
    "registrar": replace(WEB.launch, registrar=Registrar.AGENT),
    "environment": replace(WEB.launch, environment=(("A", "b"),)),
    "directory": replace(WEB.launch, directory="/tmp"),
    "user": replace(WEB.launch, user="web"),
    "group": replace(WEB.launch, group="web"),
    "umask": replace(WEB.launch, umask=0o27),
    "port": replace(WEB.launch, port=8000),
    "limits": replace(WEB.launch, limits=ResourceLimits(nofile=10)),
    "tree_limits": replace(WEB.launch, tree_limits=TreeLimits(memory_max_bytes=2**30)),
    "nice": replace(WEB.launch, nice=5),
    "oom_score_adj": replace(WEB.launch, oom_score_adj=100),
    "output": replace(WEB.launch, output="pipe"),
    "venv": replace(WEB.launch, venv="/srv/env"),
    "notify": replace(WEB.launch, notify=True),
    "watchdog_s": replace(WEB.launch, watchdog_s=9.0),
}
ANOTHER_SETTING = {
    "replicas": replace(WEB, replicas=5),
    "session_timeout_s": replace(WEB, session_timeout_s=9.0),
    "registration_timeout_s": replace(WEB, registration_timeout_s=9.0),
    "grace_s": replace(WEB, grace_s=9.0),
    "min_ready_s": replace(WEB, min_ready_s=9.0),
    "restart": replace(WEB, restart=Restart.NEVER),
    "backoff_initial_s": replace(WEB, backoff_initial_s=9.0),
    "backoff_max_s": replace(WEB, backoff_max_s=9.0),
    "stop_signal": replace(WEB, stop_signal=Signals.SIGINT),
    "after": replace(WEB, after=("queue",)),
    "output": replace(WEB, output=OutputSpec(max_bytes=9)),
    "memory_restart_bytes": replace(WEB, memory_restart_bytes=2**30),
    "health": replace(WEB, health=HealthSpec(readiness=ProbeSpec(TcpTarget("x:1")))),
}
TOLD_AT_THE_START = {"name", "launch", "python_why", "registrar_why"}
"""What names a group, is looked into by itself, or only explains."""


@pytest.mark.parametrize("field", [field.name for field in fields(LaunchSpec)])
def test_whatever_a_launch_depends_on_is_told_and_replaces_workers(field: str) -> None:
    """Workers would be replaced and the plan have said that nothing changes."""
    launch = ANOTHER_LAUNCH[field]
    plan = plan_of(daemon(WEB), daemon(replace(WEB, launch=launch)))
    (row,) = plan.rows
    assert row.effect == "4 replaced, one at a time"
    assert launch.revision != WEB.launch.revision


@pytest.mark.parametrize("field", [field.name for field in fields(ResourceLimits)])
def test_every_limit_is_told(field: str) -> None:
    """The same, for limits."""
    launch = replace(WEB.launch, limits=replace(WEB.launch.limits, **{field: 7}))
    assert len(plan_of(daemon(WEB), daemon(replace(WEB, launch=launch))).rows) == 1


@pytest.mark.parametrize(
    "field", [it.name for it in fields(GroupSettings) if it.name not in TOLD_AT_THE_START]
)
def test_whatever_else_is_set_is_told_and_replaces_nobody(field: str) -> None:
    """A setting would change behind the operator's back, or a worker be replaced for it."""
    plan = plan_of(daemon(WEB), daemon(ANOTHER_SETTING[field]))
    (row,) = plan.rows
    assert "replaced" not in row.effect


def test_the_environment_is_told_by_its_names() -> None:
    """Passwords would be printed."""

    def with_environment(**pairs: str) -> GroupSettings:
        return replace(WEB, launch=replace(WEB.launch, environment=tuple(pairs.items())))

    before = with_environment(KEY="secret", GONE="x", SAME="y")
    (row,) = plan_of(
        daemon(before), daemon(with_environment(KEY="secret2", SAME="y", NEW="z"))
    ).rows
    assert (row.key, row.change) == ("env", "~KEY, -GONE, +NEW")


def test_what_a_reload_cannot_change_is_told() -> None:
    """Somebody would wait for workers to move to another ZooKeeper."""
    after = replace(daemon(WEB), target=EmbeddedTarget(2999))
    (row,) = plan_of(daemon(WEB), after).rows
    assert (row.mark, row.key, row.effect) == ("!", "zookeeper", AT_NEXT_START)


@pytest.mark.parametrize(
    "spec",
    [OutputSpec(OutputTo.STDOUT), OutputSpec(keep=5), OutputSpec(timestamps=True)],
    ids=str,
)
def test_whatever_is_set_of_output_is_told(spec: OutputSpec) -> None:
    """What workers write would go elsewhere behind the operator's back."""
    assert len(plan_of(daemon(WEB), daemon(replace(WEB, output=spec))).rows) == 1


@pytest.mark.parametrize(
    ("kept", "wanted", "effect"),
    [
        (6, 5, "1 drained, nobody else touched (6 by scale)"),
        (2, 5, "3 started, nobody else touched (2 by scale)"),
        (5, 5, "nobody touched (5 by scale)"),
    ],
)
def test_what_an_operator_scaled_is_counted_as_it_is(kept: int, wanted: int, effect: str) -> None:
    """A reload would drain workers and be announced as one that starts some."""
    (row,) = plan_of(daemon(WEB), daemon(replace(WEB, replicas=wanted)), web=kept).rows
    assert (row.change, row.effect) == (f"4 -> {wanted}", effect)


def test_those_that_an_operator_added_are_counted_among_the_replaced() -> None:
    """Fewer would be announced than are replaced."""
    launch = replace(WEB.launch, argv=("/bin/other",))
    (row,) = plan_of(daemon(WEB), daemon(replace(WEB, launch=launch)), web=6).rows
    assert row.effect == "6 replaced, one at a time"


def test_those_that_an_operator_added_are_drained_with_their_group() -> None:
    """A reload would end more workers than were announced."""
    (row,) = plan_of(daemon(WEB), daemon(), web=6).rows
    assert (row.mark, row.key, row.effect) == ("-", "6 workers", "drained")
