"""Who is to register a group's workers: what `--register` says, and what `auto` makes of a program."""

from __future__ import annotations

from enum import Enum
from pathlib import Path

from autohealer.core.policy import Registrar


class RegisterBy(Enum):
    """What `--register` takes."""

    AUTO = "auto"
    SELF = "self"
    AGENT = "agent"
    ANONYMOUS = "anonymous"


def choose_registrar(
    by: RegisterBy, argv: tuple[str, ...], *, expects_registration: bool, folder: Path = Path()
) -> tuple[Registrar, str]:
    """Who registers, and why it is that one where it was not said; `folder` is where the command is to run.

    `expects_registration`: the operator said how long registering may take.
    """
    match by:
        case RegisterBy.SELF:
            return Registrar.SELF, ""
        case RegisterBy.AGENT:
            return Registrar.AGENT, ""
        case RegisterBy.ANONYMOUS:
            return Registrar.ANONYMOUS, ""
        case RegisterBy.AUTO if expects_registration:
            return Registrar.SELF, "a --registration-timeout is for programs that register"
        case RegisterBy.AUTO:
            return _seen_from(argv, folder)


def _seen_from(argv: tuple[str, ...], folder: Path) -> tuple[Registrar, str]:
    from autohealer.processes.registering import sign_of_registering  # who asks pays for it

    if sign := sign_of_registering(argv, folder):
        return Registrar.SELF, sign
    return Registrar.AGENT, (
        "nothing shows that the program registers itself, so the daemon does it; if it does, say --register self, "
        "or --register anonymous where it chooses its name in /workers"
    )
