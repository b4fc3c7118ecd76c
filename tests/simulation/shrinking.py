"""Cut a failing story down to the few troubles it takes, and make those as plain as they can be.

Theory of operation. Delta debugging: lots of troubles are left out, halves first and single ones last, for as long as
the story fails in the same way, that is, breaks an invariant that it broke at first. Then each field of what is left
is made simpler, one after another, until nothing can be. Every attempt is a whole story played; their
number is bounded.

Must never know: what a trouble does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, fields, is_dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Protocol, TypeVar

from tests.simulation.script import At, Ending, Script, Trouble
from tests.simulation.several import Several, play_several
from tests.simulation.story import play
from tests.simulation.world import Temper

T = TypeVar("T")

PLAYS_MAX = 1500


class Judged(Protocol):
    """What came of a story."""

    @property
    def violations(self) -> tuple[str, ...]:
        """What it broke."""


def shrunk_several(script: Several) -> Several:
    """The plainest story found of as many groups: each group's own, and what strikes all, cut down in turn."""

    def of_all(part: Script) -> Several:
        luck, ending, hasty = part.luck, part.ending, part.hasty
        return replace(script, troubles=part.troubles, ending=ending, hasty=hasty, luck=luck)

    def of_group(number: int, part: Script) -> Several:
        groups = script.groups
        return replace(script, groups=(*groups[:number], part, *groups[number + 1 :]))

    whole = Script(1, script.troubles, script.ending, script.hasty, luck=script.luck)
    script = of_all(shrunk(whole, partial(_played_as, of_all)))
    for number, group in enumerate(script.groups):
        of_this = partial(of_group, number)
        script = of_this(shrunk(group, partial(_played_as, of_this)))
    return script


def _played_as(whole: Callable[[Script], Several], part: Script) -> Judged:
    return play_several(whole(part))


def shrunk(script: Script, player: Callable[[Script], Judged] = play) -> Script:
    """The plainest story found that breaks what `script` breaks; the same story if it breaks nothing."""
    broken = _kinds(player(script).violations)
    if not broken:
        return script
    plays_left = PLAYS_MAX

    def fails(attempt: Script) -> bool:
        nonlocal plays_left
        plays_left -= 1
        return plays_left >= 0 and bool(broken & _kinds(player(attempt).violations))

    before = None
    while script != before and plays_left > 0:
        before = script
        script = _with_fewer_troubles(script, fails)
        script = _made_plainer(script, fails)
    return script


def _kinds(violations: Sequence[str]) -> set[str]:
    """Which invariants, or in which way the daemon ended."""
    return {told.split(" at ")[0][:40] for told in violations}


def _with_fewer_troubles(script: Script, fails: Callable[[Script], bool]) -> Script:
    lot = max(1, len(script.troubles) // 2)
    while True:
        start = 0
        while start < len(script.troubles):
            left = script.troubles[:start] + script.troubles[start + lot :]
            attempt = replace(script, troubles=left)
            if fails(attempt):
                script = attempt
            else:
                start += lot
        if lot == 1:
            return script
        lot //= 2


def _made_plainer(script: Script, fails: Callable[[Script], bool]) -> Script:
    done = False
    while not done:
        done = True
        for attempt in _plainer_scripts(script):
            if fails(attempt):
                script, done = attempt, False
                break
    return script


def _plainer_scripts(script: Script) -> Iterator[Script]:
    """Each a step plainer: no waiting, nobody more than needed, plain numbers."""
    if script.ending is not Ending.STAY:
        yield replace(script, ending=Ending.STAY)
    if script.hasty:
        yield replace(script, hasty=False)
    for replicas in dict.fromkeys((1, 2, script.replicas // 2, script.replicas - 1)):
        if 0 < replicas < script.replicas:
            yield replace(script, replicas=replicas)
    yield from (replace(script, luck=luck) for luck in range(min(script.luck, 4)))
    yield from (replace(script, troubles=troubles) for troubles in _sooner(script.troubles))
    for number, at in enumerate(script.troubles):
        for plainer in _plainer(at.trouble):
            changed = At(at.at_s, plainer)
            others = script.troubles
            yield replace(script, troubles=(*others[:number], changed, *others[number + 1 :]))


def _sooner(troubles: tuple[At, ...]) -> Iterator[tuple[At, ...]]:
    """With a pause cut short for all that follow, or rounded."""
    for number, (before_s, at) in enumerate(pairwise((0.0, *(at.at_s for at in troubles)))):
        pause_s = at - before_s
        for plain_s in _plainer_numbers(pause_s):
            shift_s = plain_s - pause_s
            later = (At(round(t.at_s + shift_s, 9), t.trouble) for t in troubles[number:])
            yield (*troubles[:number], *later)


def _plainer_numbers(number: float) -> Iterator[float]:
    """Zero, and rounder ones that are no larger by much."""
    if number:
        yield 0.0
    for digits in range(3):
        if (plain := round(number, digits)) != number:
            yield plain
            return
    if number > 20.0:
        yield 10.0


def _plainer(value: Trouble) -> Iterator[Trouble]:
    """A trouble with one thing in it made plainer."""
    for field, now in _plainer_fields(value):
        yield _changed(value, field, now)


def _changed(value: T, field: str, now: object) -> T:
    change: Callable[..., T] = type(value)
    told = {it.name: getattr(value, it.name) for it in fields(value)} if is_dataclass(value) else {}
    return change(**(told | {field: now}))


def _plainer_fields(value: object) -> Iterator[tuple[str, object]]:
    """A field of a trouble, or of what it is made of, and what would be plainer there."""
    if not is_dataclass(value):
        return
    for field in fields(value):
        was = getattr(value, field.name)
        if field.default is not MISSING and was != field.default:
            yield field.name, field.default
        yield from ((field.name, now) for now in _plainer_values(was))


def _plainer_values(was: object) -> Iterator[object]:
    match was:
        case bool():
            pass
        case float():
            yield from _plainer_numbers(was)
        case int() if was > 0:
            yield from dict.fromkeys((0, was // 2, was - 1))
        case Temper():
            yield from (_changed(was, field, now) for field, now in _plainer_fields(was))
        case tuple():
            yield from (was[:n] + was[n + 1 :] for n in range(len(was)) if len(was) > 1)
            for number, it in enumerate(was):
                yield from ((*was[:number], now, *was[number + 1 :]) for now in _plainer_values(it))
        case _:
            pass
