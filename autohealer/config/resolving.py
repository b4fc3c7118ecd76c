"""Turn a group's wish into the settings of a group, with everything it names found on this machine.

Must never know: other groups.
"""

from __future__ import annotations

from pathlib import Path
from signal import Signals
from typing import TYPE_CHECKING, TypedDict

from autohealer.config.command import check_placeholders, program_of, registrar_of
from autohealer.config.environment import environment_of
from autohealer.config.machine import (
    folder_of,
    group_of,
    limits_of,
    memory_restart_of,
    tree_limits_of,
    user_of,
    venv_of,
)
from autohealer.config.outputs import output_of
from autohealer.config.probing import health_of
from autohealer.config.relations import replicas_of
from autohealer.config.units import duration
from autohealer.config.unsaid import NOTHING, UnsaidGroup
from autohealer.config.wishes import Wish
from autohealer.core.policy import Restart
from autohealer.launchspec import LaunchSpec
from autohealer.outputspec import OutputSpec
from autohealer.settings import GroupSettings

if TYPE_CHECKING:
    from autohealer.config.form import Group


def group_settings(wish: Wish) -> GroupSettings:
    """Everything about a group; what is wrong is noted, and what comes back is of no use then."""
    form = wish.form
    folder = folder_of(wish)
    output = output_of(wish)
    launch, python_why, registrar_why = _launch(wish, folder, output)
    settings = GroupSettings(
        name=wish.name,
        replicas=replicas_of(wish),
        launch=launch,
        python_why=python_why,
        registrar_why=registrar_why,
        output=output,
        health=health_of(wish, folder),
        memory_restart_bytes=memory_restart_of(wish),
        **_said(form),
    )
    if settings.backoff_max_s < settings.backoff_initial_s:
        key = "initial" if form.restart is None or form.restart.max is None else "max"
        initial, most = map(duration, (settings.backoff_initial_s, settings.backoff_max_s))
        wish.note(
            f"the longest pause ({most}) is shorter than the first ({initial})", "restart", key
        )
    return settings


def _launch(wish: Wish, folder: Path | None, output: OutputSpec) -> tuple[LaunchSpec, str, str]:
    """How it is launched, why by another Python than ours, and why that one registers who does."""
    form = wish.form
    venv = venv_of(wish)
    program = program_of(wish, folder, venv)
    environment = environment_of(wish)
    check_placeholders(wish, environment)
    registrar, why = registrar_of(wish, program.argv, folder)
    ranks = form.limits or NOTHING
    spec = LaunchSpec(
        argv=program.argv,
        registrar=registrar,
        environment=environment,
        directory=str(folder or ""),
        user=user_of(wish),
        group=group_of(wish),
        umask=form.umask,
        port=form.port,
        limits=limits_of(wish),
        tree_limits=tree_limits_of(wish),
        nice=ranks.nice,
        oom_score_adj=ranks.oom_score_adj,
        output=output.way,
        venv=str(venv or ""),
        notify=form.notify or False,
        watchdog_s=form.watchdog or None,
    )
    return spec, program.why, why


class _Said(TypedDict, total=False):
    """What the settings have defaults for."""

    session_timeout_s: float
    registration_timeout_s: float
    grace_s: float
    min_ready_s: float
    stop_signal: Signals
    after: tuple[str, ...]
    restart: Restart
    backoff_initial_s: float
    backoff_max_s: float


def _said(form: Group | UnsaidGroup) -> _Said:
    """What a group does say; the rest is as the settings have it."""
    said = _Said()
    if form.session_timeout is not None:
        said["session_timeout_s"] = form.session_timeout
    if form.registration_timeout is not None:
        said["registration_timeout_s"] = form.registration_timeout
    if form.grace is not None:
        said["grace_s"] = form.grace
    if form.min_ready is not None:
        said["min_ready_s"] = form.min_ready
    if form.stop_signal is not None:
        said["stop_signal"] = form.stop_signal
    if form.after is not None:
        said["after"] = tuple(dict.fromkeys(form.after))
    if form.restart is not None and form.restart.policy is not None:
        said["restart"] = Restart(form.restart.policy)
    if form.restart is not None and form.restart.initial is not None:
        said["backoff_initial_s"] = form.restart.initial
    if form.restart is not None and form.restart.max is not None:
        said["backoff_max_s"] = form.restart.max
    return said
