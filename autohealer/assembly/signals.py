"""What each signal means to the daemon: one table, every signal in it, nothing left to chance.

Theory of operation. The table says what a signal does; `listen` installs it. Python notes a signal in a flag of
its own, so none is lost in a flood of others, and the handler only asks the loop to react. A signal that was
ignored at the start because of `nohup` or a shell's `&` stays ignored where that is what those are for (HUP, INT,
QUIT); TERM always stops.

HUP comes from a terminal that hangs up: a daemon that was started on one stops, as everything else there does.
Otherwise somebody sent it, to have the configuration read again. A daemon without one says that there is nothing to
read; and as it cannot tell the two apart while its terminal is there, it stops whenever it was started on one.

Limits: no `faulthandler` beside this. It gives the main thread a signal stack of a few pages, which Python's handlers
then share, and half a dozen different signals at once overflow it: the daemon would end by SIGSEGV.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from functools import partial
from types import FrameType

from structlog.typing import FilteringBoundLogger


class Reaction(Enum):
    """What the daemon does about a signal."""

    STOP = "stops everything in order; a second one kills at once"
    STOP_UNLESS_IGNORED = (
        "stops everything in order, unless it was ignored at the start; a second one kills at once"
    )
    HANG_UP = (
        "has the configuration read again; stops everything where the terminal it was started on is gone, or \
where there is no configuration; changes nothing if it was ignored at the start, or without either"
    )
    SAY = "changes nothing, and the log says so"
    GO_ON = "the daemon goes on after a Ctrl-Z or SIGSTOP, and says so"
    REDRAW = "the line at the bottom of the terminal is drawn anew"
    IGNORE = "ignored"
    CHILD = "a child ended: the reaper looks"
    KERNEL = "the system's own: stops, ends or does nothing, and cannot or must not be caught"


_NUMBERED = range(signal.SIGRTMIN, signal.SIGRTMAX + 1)

REACTIONS: Mapping[int, Reaction] = {
    signal.SIGTERM: Reaction.STOP,
    signal.SIGPWR: Reaction.STOP,  # the power fails, or a container is asked to halt
    signal.SIGXCPU: Reaction.STOP,  # the limit of CPU time: after the grace comes a KILL
    signal.SIGINT: Reaction.STOP_UNLESS_IGNORED,
    signal.SIGQUIT: Reaction.STOP_UNLESS_IGNORED,
    signal.SIGHUP: Reaction.HANG_UP,
    signal.SIGUSR1: Reaction.SAY,
    signal.SIGUSR2: Reaction.SAY,
    signal.SIGALRM: Reaction.SAY,
    signal.SIGVTALRM: Reaction.SAY,
    signal.SIGPROF: Reaction.SAY,
    signal.SIGIO: Reaction.SAY,
    signal.SIGSTKFLT: Reaction.SAY,
    **dict.fromkeys(_NUMBERED, Reaction.SAY),
    signal.SIGCONT: Reaction.GO_ON,
    signal.SIGWINCH: Reaction.REDRAW,
    signal.SIGPIPE: Reaction.IGNORE,  # writing says it, too
    signal.SIGXFSZ: Reaction.IGNORE,  # writing says it, too
    signal.SIGTTIN: Reaction.IGNORE,  # nothing is ever read from the terminal
    signal.SIGTTOU: Reaction.IGNORE,  # else a log line written in the background could stop the daemon
    signal.SIGCHLD: Reaction.CHILD,
    signal.SIGTSTP: Reaction.KERNEL,  # Ctrl-Z stops the daemon, as everything else
    signal.SIGURG: Reaction.KERNEL,
    signal.SIGKILL: Reaction.KERNEL,
    signal.SIGSTOP: Reaction.KERNEL,
    signal.SIGILL: Reaction.KERNEL,
    signal.SIGTRAP: Reaction.KERNEL,
    signal.SIGABRT: Reaction.KERNEL,
    signal.SIGBUS: Reaction.KERNEL,
    signal.SIGFPE: Reaction.KERNEL,
    signal.SIGSEGV: Reaction.KERNEL,
    signal.SIGSYS: Reaction.KERNEL,
}

SAY_AGAIN_S = 1.0
"""Of a flood of meaningless signals one line a second tells enough."""


@dataclass(frozen=True, slots=True)
class Reactions:
    """What can be done about signals; called from the loop's thread. `reload` only where there is a configuration."""

    stop: Callable[[], None]
    redraw: Callable[[], None]
    logger: FilteringBoundLogger
    reload: Callable[[], None] | None = None


def brace() -> None:
    """Before anything is started: what would only change nothing later must not end the daemon now."""
    for number, reaction in REACTIONS.items():
        if reaction in {Reaction.SAY, Reaction.IGNORE}:
            signal.signal(number, signal.SIG_IGN)


def listen(loop: asyncio.AbstractEventLoop, reactions: Reactions) -> None:
    """React to signals from now on, until the process ends."""
    has_terminal = _has_terminal()
    react: Callable[[], None]
    said = dict[int, float]()
    for number, reaction in REACTIONS.items():
        match reaction:
            case Reaction.IGNORE | Reaction.CHILD | Reaction.KERNEL:
                continue
            case Reaction.STOP_UNLESS_IGNORED | Reaction.HANG_UP if _is_ignored(number):
                continue
            case Reaction.STOP | Reaction.STOP_UNLESS_IGNORED:
                react = partial(_stop, number, reactions)
            case Reaction.HANG_UP:
                react = partial(_hang_up, number, reactions, had_terminal=has_terminal)
            case Reaction.SAY:
                react = partial(_say, number, reactions, loop, said)
            case Reaction.GO_ON:
                react = partial(_go_on, number, reactions)
            case Reaction.REDRAW:
                react = reactions.redraw
        signal.signal(number, partial(_hop, loop, react))


def _hop(
    loop: asyncio.AbstractEventLoop,
    react: Callable[[], None],
    _number: int,
    _frame: FrameType | None,
) -> None:
    """Between any two instructions of the main thread: only ask the loop."""
    with suppress(RuntimeError):  # the loop is closed: everything is over anyway
        loop.call_soon_threadsafe(react)


def _stop(number: int, reactions: Reactions) -> None:
    reactions.logger.info("signal_received", signal=_name_of(number), then="stop")
    reactions.stop()


def _hang_up(number: int, reactions: Reactions, *, had_terminal: bool) -> None:
    if had_terminal and (reactions.reload is None or not _has_terminal()):
        _stop(number, reactions)
    elif reactions.reload is None:
        _say_hangup(number, reactions)
    else:
        reactions.logger.info("signal_received", signal=_name_of(number), then="reload")
        reactions.reload()


def _say_hangup(number: int, reactions: Reactions) -> None:
    reactions.logger.warning(
        "signal_received",
        signal=_name_of(number),
        then="nothing: no terminal hung up, and there is no configuration to be read again; TERM stops, "
        "`autohealer detach` makes way for a daemon with other settings",
    )


def _say(
    number: int, reactions: Reactions, loop: asyncio.AbstractEventLoop, said: dict[int, float]
) -> None:
    now = loop.time()
    if now - said.get(number, -SAY_AGAIN_S) >= SAY_AGAIN_S:
        said[number] = now
        reactions.logger.info("signal_received", signal=_name_of(number), then="nothing")


def _go_on(number: int, reactions: Reactions) -> None:
    reactions.logger.info(
        "signal_received", signal=_name_of(number), then="goes on, if it was stopped"
    )
    reactions.redraw()


def _name_of(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIGRTMIN+{number - signal.SIGRTMIN}"


def _is_ignored(number: int) -> bool:
    return signal.getsignal(number) is signal.SIG_IGN


def _has_terminal() -> bool:
    """Whether this process has a controlling terminal, which may hang up."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK))
    except OSError:
        return False
    return True
