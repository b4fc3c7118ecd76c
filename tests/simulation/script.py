"""What a story is made of: how many workers, which troubles strike when, how it ends, and how luck has it.

Theory of operation. A script is a value without anything hidden: played twice it is the same story, written down
(`in_python`) it can be pasted among the kept ones, and cut down it is a simpler script. Times count from the start of
the first daemon. Who is struck is told by number among those who can be (`chosen`), counted round, so that
a trouble strikes somebody whatever became of the others.

Must never know: how a script is drawn, played or judged.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from autohealer.core.policy import Registrar, Restart

if TYPE_CHECKING:
    from tests.simulation.stage import Stage
    from tests.support.fakehost import FakeProcess

Whom = tuple[int, ...]
"""Numbers of those who are struck, among those who can be."""


class Trouble(Protocol):
    """A blow to a stage; whatever it leaves to chance it has as a field."""

    def strike(self, stage: Stage) -> None:
        """Do it, and see to its end where it lasts."""


@dataclass(frozen=True, slots=True)
class At:
    """A trouble and when it strikes."""

    at_s: float
    trouble: Trouble


class Ending(Enum):
    """What the operator wants at the end."""

    STAY = "stay"
    DETACH = "detach"
    STOP = "stop"
    STOP_TWICE = "stop twice"
    STOP_BY_FORCE = "stop, then by force"


@dataclass(frozen=True, slots=True)
class Script:
    """One story; `hasty`: its end does not wait for calm; `again_after_s`: when a stop is asked for a second time.

    `registrar`: who registers the workers; `restart`: who of them is replaced; `asked`: whether they are asked how they
    are; `notify`: whether they are to say that they are ready; `watchdog`: and again and again that they are well.
    """

    replicas: int
    troubles: tuple[At, ...] = ()
    ending: Ending = Ending.STAY
    hasty: bool = False
    again_after_s: float = 1.0
    luck: int = 0
    registrar: Registrar = Registrar.SELF
    restart: Restart = Restart.ALWAYS
    asked: bool = False
    notify: bool = False
    watchdog: bool = False


def chosen(among: Iterable[FakeProcess], whom: Whom) -> list[FakeProcess]:
    """Those of several that are struck, each once."""
    ranked = sorted(among, key=lambda process: process.name)
    return list({n % len(ranked): ranked[n % len(ranked)] for n in whom}.values()) if ranked else []


def in_python(value: object) -> str:
    """A script, or a part of one, as the expression that makes it, without what goes without saying."""
    match value:
        case Enum():
            return f"{type(value).__name__}.{value.name}"
        case Script(troubles=troubles) if troubles:
            told = "".join(f"\n        {in_python(trouble)}," for trouble in troubles)
            rest = _arguments([f for f in fields(value) if f.name != "troubles"], value)
            return f"Script(\n    {rest},\n    troubles=({told}\n    ),\n)"
        case tuple():
            return f"({', '.join(map(in_python, value))}{',' * (len(value) == 1)})"
        case _ if is_dataclass(value):
            return f"{type(value).__name__}({_arguments(fields(value), value)})"
        case _:
            return repr(value)


def _arguments(of: Sequence[Field[object]], value: object) -> str:
    told = ((field, getattr(value, field.name)) for field in of)
    return ", ".join(
        f"{field.name}={in_python(it)}"
        for field, it in told
        if field.default is MISSING or it != field.default
    )
