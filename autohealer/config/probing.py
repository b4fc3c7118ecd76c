"""What a group's workers are asked for their health, from its tables `startup`, `readiness` and `liveness`.

Must never know: how anything is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from autohealer.config.command import words_of
from autohealer.config.mistakes import Mistakes
from autohealer.config.wishes import Layer, Wish
from autohealer.healthspec import (
    ExecTarget,
    HealthSpec,
    ProbeSpec,
    ProbeTarget,
    parse_http,
    parse_tcp,
    texts_of,
)
from autohealer.processes.program import ProgramError, resolve_command

if TYPE_CHECKING:
    from autohealer.config.form import Probe

_KINDS = ("http", "tcp", "exec")
_PORT = "{port}"


def health_of(wish: Wish, folder: Path | None) -> HealthSpec:
    """The probes of a group; `folder` is where its command is to run. What is wrong is noted."""
    form = wish.form
    return HealthSpec(
        startup=_spec(wish, "startup", form.startup, folder),
        readiness=_spec(wish, "readiness", form.readiness, folder),
        liveness=_spec(wish, "liveness", form.liveness, folder),
    )


def _spec(
    wish: Wish,
    table: Literal["startup", "readiness", "liveness"],
    probe: Probe | None,
    folder: Path | None,
) -> ProbeSpec | None:
    if probe is None or wish.is_taken_away(table):
        return None
    sentence, keys = _not_one(probe)
    if sentence:
        wish.note(sentence, table, *keys)
        return None
    if table != "readiness" and probe.successes not in {None, 1}:
        wish.note(f"one success is enough for a {table} probe: leave it out", table, "successes")
    target = _target(wish, table, _kinds(probe)[0], probe, folder)
    if target is None:
        return None
    default = ProbeSpec(target)
    return ProbeSpec(
        target,
        delay_s=default.delay_s if probe.delay is None else probe.delay,
        period_s=default.period_s if probe.period is None else probe.period,
        timeout_s=default.timeout_s if probe.timeout is None else probe.timeout,
        failures=default.failures if probe.failures is None else probe.failures,
        successes=default.successes if probe.successes is None else probe.successes,
    )


def check_kinds(layer: Layer, mistakes: Mistakes) -> None:
    """Note each probe of a table that does not say what to ask, whether or not a group has it."""
    for table in ("startup", "readiness", "liveness"):
        if (probe := getattr(layer.form, table)) is None:
            continue
        sentence, keys = _not_one(probe)
        if sentence:
            mistakes.note(layer.place_of((table, *keys)), (*layer.at, table, *keys), sentence)


def _kinds(probe: Probe) -> list[str]:
    return [kind for kind in _KINDS if kind in probe.model_fields_set]


def _not_one(probe: Probe) -> tuple[str, Sequence[str]]:
    """What is wrong with what it asks, and the key to point at; an empty sentence where it is one of them."""
    said = _kinds(probe)
    if len(said) == 1:
        return "", ()
    found = " and ".join(said) or "none"
    return f"say exactly one of http, tcp and exec; here is {found}", said[1:2]


def _target(
    wish: Wish, table: str, kind: str, probe: Probe, folder: Path | None
) -> ProbeTarget | None:
    makers: dict[str, Callable[[], ProbeTarget]] = {
        "http": lambda: parse_http(probe.http or ""),
        "tcp": lambda: parse_tcp(probe.tcp or ""),
        "exec": lambda: _command(probe.exec or [], folder or Path()),
    }
    try:
        target = makers[kind]()
    except (ProgramError, ValueError) as error:
        wish.note(str(error), table, kind)
        return None
    if wish.form.port is None and any(_PORT in text for text in texts_of(target)):
        wish.note(f"{_PORT} stands here, and group {wish.name!r} has no `port`", table, kind)
    return target


def _command(command: str | list[str], folder: Path) -> ExecTarget:
    words = words_of(command)
    return ExecTarget((*resolve_command(words[0], folder).argv, *words[1:]))
