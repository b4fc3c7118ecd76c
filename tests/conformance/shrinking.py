"""Make a failing list of actions as short as it gets.

Theory of operation. Delta debugging (Zeller's ddmin): leave out ever smaller stretches as long as
what is left still fails; then make single actions simpler: wait for the answer, do fewer steps in a
multi. Both are repeated until nothing more helps.

Must never know: what "fails" means.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.conformance.operations import Action


def shrink(actions: Sequence[Action], fails: Callable[[Sequence[Action]], bool]) -> list[Action]:
    """The shortest list found that still fails; no single action can be left out of it."""
    left = list(actions)
    while True:
        shorter = _simplified(_without(left, fails), fails)
        if shorter == left:
            return left
        left = shorter


def _without(actions: list[Action], fails: Callable[[Sequence[Action]], bool]) -> list[Action]:
    stretch = max(len(actions) // 2, 1)
    while True:
        at, shorter = 0, actions
        while at < len(shorter):
            attempt = shorter[:at] + shorter[at + stretch :]
            if fails(attempt):
                shorter = attempt
            else:
                at += stretch
        if stretch == 1 and len(shorter) == len(actions):
            return shorter
        actions, stretch = shorter, max(stretch // 2, 1)


def _simplified(actions: list[Action], fails: Callable[[Sequence[Action]], bool]) -> list[Action]:
    for index in range(len(actions)):
        for simpler in _simpler(actions[index]):
            attempt = [*actions[:index], simpler, *actions[index + 1 :]]
            if fails(attempt):
                actions = attempt
                break
    return actions


def _simpler(action: Action) -> Iterator[Action]:
    """What to try in place of an action, one step simpler."""
    if action.is_pipelined:
        yield replace(action, is_pipelined=False)
    request = action.request
    if request is None:
        return
    if request.since:
        yield replace(action, request=replace(request, since=0))
    for at in range(len(request.steps)):
        steps = request.steps[:at] + request.steps[at + 1 :]
        yield replace(action, request=replace(request, steps=steps))
    for at, some in enumerate(request.lists):
        for path in some:
            rest = tuple(other for other in some if other != path)
            lists = (*request.lists[:at], rest, *request.lists[at + 1 :])
            yield replace(action, request=replace(request, lists=lists))
