"""Decide what to do about the embedded server on one port: facts in, orders out.

Theory of operation. While our session is connected and somebody serves it, nothing is done. Otherwise the port is
looked at, and:

    nobody listens   launch ours, unless one of ours is starting; after short lives only with growing pauses
    ours is silent   so many looks in a row: it hangs, kill it; its end has it launched again
    embedded         it is ours, or another daemon's that shares the port: good
    anybody else     something is in the way: say so, look again with growing pauses
    another user's   the same, and not a word of it is believed
    cannot look      say so, look again; nothing is concluded

A server that was left and has other options than one would get now is launched again, as one that hangs: it has all in
its journal. One daemon answers for a server (it holds the claim beside the data directory). Another of the same state
directory leaves launching to it, but not for ever: two servers on one directory are excluded by the directory's own
lock.

Until the server answered for the first time the start may fail, if nobody depends on it yet: `GiveUp`. With living
workers there is no giving up. Every trouble is said once per cause, and again only after things had been well.

Must never know: sockets, processes, files, clocks. Pure.
Limits: `LAUNCH_PAUSE_MAX_S`, `OBSTACLE_PAUSE_MAX_S`, `SILENT_LOOKS`, `START_MAX_S`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import assert_never

from autohealer.embedded.facts import (
    Adopted,
    Begun,
    Ended,
    Event,
    Fact,
    GiveUp,
    Kill,
    Launch,
    Launched,
    Listener,
    Look,
    Looked,
    NotLaunched,
    Order,
    Say,
    SessionChanged,
    Stopped,
    TimePassed,
)

POLL_S = 0.01
"""Between two looks at a server that was just launched; it takes some 100 ms to answer."""

POLLED_S = 1.0
"""How long after a launch it is looked at that often."""

RETRY_S = 1.0
"""Between two looks while there is no server: short against any session timeout."""

OBSTACLE_PAUSE_MAX_S = 5.0
"""Between two looks at a port that somebody else has; each is a connection that somebody may write a line about."""

SILENT_LOOKS = 5
"""A server that did not answer so many looks in a row hangs; with `RETRY_S` and a probe's patience, 15 seconds."""

SILENT_LOOKS_FOUND = 2
"""The same for one that was found at the start and has never answered us."""

ABSENT_LOOKS = 5
"""A daemon without the claim launches after so many looks: who has it may be frozen."""

SHORT_LIFE_S = 5.0
"""A server that ends sooner than this is not launched again at once."""

LAUNCH_PAUSE_MAX_S = 15.0
"""The longest pause between two launches that come to nothing: soon after the disk is free again."""

KILLED_PAUSE_MAX_S = 4.0
"""The same after one that answered and was gone soon: somebody ends it, or it fails at what it is asked."""

START_PATIENCE_S = 5.0
"""How long a start may take while nobody depends on the server yet."""

START_MAX_S = 120.0
"""One that does not listen by then hangs; the largest journal is read in far less."""

OTHER_OPTIONS = "it was started with other options, so it is started anew; its sessions go on"

CAUSES_MAX = 8
"""So many different troubles are remembered as told."""


_IN_THE_WAY = frozenset({Listener.ZOOKEEPER, Listener.STRANGER, Listener.SILENT, Listener.FOREIGN})


@dataclass(frozen=True, slots=True)
class Keeping:
    """What is known of the server on one port; times in seconds of the clock `decide` is given."""

    port: int
    pid: int | None = None
    """Our server, if it lives."""
    is_connected: bool = False
    is_looking: bool = False
    is_launching: bool = False
    is_killing: bool = False
    is_stopped: bool = False
    give_up_at: float | None = None
    """Set while the start may fail."""
    look_at: float | None = None
    launch_from: float = 0.0
    held_since: float = 0.0
    has_answered: bool = False
    """Whether our present server ever answered us."""
    was_launched: bool = False
    """Whether our present server is new, not found."""
    short_lives: int = 0
    fruitless: int = 0
    """Launches in a row that came to nothing: no process, or one that never answered."""
    silent_looks: int = 0
    absent_looks: int = 0
    obstructed_looks: int = 0
    told: tuple[Say, ...] = ()
    """The last troubles told since things were well."""

    @property
    def wake_at(self) -> float | None:
        """When to tell it that time has passed; None: not until something happens."""
        if self.is_stopped:
            return None
        look_at = None if self.is_looking else self.look_at
        return min((t for t in (look_at, self.give_up_at) if t is not None), default=None)


Decision = tuple[Keeping, tuple[Order, ...]]


def decide(keeping: Keeping, fact: Fact, now: float) -> Decision:
    """Fold one fact; what is known afterwards and what is to be done."""
    if keeping.is_stopped:
        return _after_the_stop(keeping, fact), ()
    match fact:
        case Begun(may_give_up):
            give_up_at = now + START_PATIENCE_S if may_give_up else None
            decision = _look(replace(keeping, give_up_at=give_up_at))
        case Looked():
            decision = _looked(keeping, fact, now)
        case Adopted() | Launched() | NotLaunched() | Ended():
            decision = _of_our_process(keeping, fact, now)
        case SessionChanged(is_connected):
            decision = _session_changed(keeping, now, is_connected=is_connected)
        case TimePassed():
            decision = _time_passed(keeping, now)
        case Stopped():
            decision = replace(keeping, is_stopped=True), ()
        case _:
            assert_never(fact)
    return decision


# --- looking ----------------------------------------------------------------------------------


def _look(keeping: Keeping) -> Decision:
    """One look at a time."""
    if keeping.is_looking:
        return keeping, ()
    return replace(keeping, is_looking=True, look_at=None), (Look(),)


def _time_passed(keeping: Keeping, now: float) -> Decision:
    if keeping.give_up_at is not None and now >= keeping.give_up_at:
        unseen = [say.why for say in keeping.told if say.event is Event.UNSEEN]
        return _give_up(keeping, _not_started(keeping, (*unseen, "it does not answer")[0]))
    if keeping.look_at is not None and now >= keeping.look_at:
        return _look(keeping)
    return keeping, ()


def _session_changed(keeping: Keeping, now: float, *, is_connected: bool) -> Decision:
    changed = replace(keeping, is_connected=is_connected, silent_looks=0)
    if not is_connected:
        return (changed if changed.look_at is not None else _look_in(changed, RETRY_S, now)), ()
    well, orders = _well(replace(changed, give_up_at=None))
    # A server of ours that ended, and whose end the session has not noticed yet, is still looked for.
    return (replace(well, look_at=None) if well.pid is not None else well), orders


def _looked(keeping: Keeping, fact: Looked, now: float) -> Decision:
    looked = _counted(replace(keeping, is_looking=False), fact.listener)
    match fact.listener:
        case Listener.EMBEDDED:
            well, orders = _well(replace(looked, give_up_at=None, has_answered=True))
            return _next_look(well, now, is_served=True), orders
        case Listener.NOBODY:
            return _nobody(looked, now, is_claimed=fact.is_claimed)
        case Listener.SILENT if looked.pid is not None:
            return _silent(looked, now)
        case Listener.UNSEEN:
            return _troubled(_next_look(looked, now), Say(Event.UNSEEN, why=fact.why))
        case Listener.ZOOKEEPER | Listener.STRANGER | Listener.SILENT | Listener.FOREIGN:
            return _obstructed(looked, fact, now)
        case _:
            assert_never(fact.listener)


def _counted(keeping: Keeping, listener: Listener) -> Keeping:
    """How often in a row the port was what it is; a failed look counts for nothing."""
    if listener is Listener.UNSEEN:
        return keeping
    in_the_way = listener in _IN_THE_WAY
    return replace(
        keeping,
        silent_looks=keeping.silent_looks + 1 if listener is Listener.SILENT else 0,
        absent_looks=keeping.absent_looks + 1 if listener is Listener.NOBODY else 0,
        obstructed_looks=keeping.obstructed_looks + 1 if in_the_way else 0,
    )


def _nobody(keeping: Keeping, now: float, *, is_claimed: bool) -> Decision:
    if keeping.pid is not None:
        is_stuck = now - keeping.held_since > START_MAX_S
        return _kill(keeping, now) if is_stuck else (_next_look(keeping, now), ())
    if keeping.is_launching or now < keeping.launch_from:
        return _next_look(keeping, now), ()
    if not is_claimed and keeping.absent_looks < ABSENT_LOOKS:
        return _next_look(keeping, now), ()
    return replace(keeping, is_launching=True, look_at=None), (Launch(),)


def _silent(keeping: Keeping, now: float) -> Decision:
    is_new_to_us = not keeping.has_answered and not keeping.was_launched
    if keeping.silent_looks >= (SILENT_LOOKS_FOUND if is_new_to_us else SILENT_LOOKS):
        return _kill(keeping, now)
    return _next_look(_more_patient(keeping, now), now), ()


def _kill(keeping: Keeping, now: float) -> Decision:
    if keeping.is_killing:
        return _next_look(keeping, now), ()
    killing = replace(_more_patient(keeping, now), is_killing=True)
    told, said = _troubled(_next_look(killing, now), Say(Event.HANGS, keeping.pid))
    return told, (*said, Kill())


def _more_patient(keeping: Keeping, now: float) -> Keeping:
    """A start that finds a hanging server takes longer."""
    if keeping.give_up_at is None:
        return keeping
    return replace(keeping, give_up_at=now + START_PATIENCE_S)


def _obstructed(keeping: Keeping, fact: Looked, now: float) -> Decision:
    sentence = obstacle(keeping.port, fact.listener, fact.why)
    if keeping.give_up_at is not None and keeping.pid is None:
        return _give_up(keeping, sentence)
    looking = _next_look(keeping, now, is_served=fact.listener is Listener.ZOOKEEPER)
    return _troubled(looking, Say(Event.OBSTRUCTED, why=sentence))


def _next_look(keeping: Keeping, now: float, *, is_served: bool = False) -> Keeping:
    """None is needed while there is a session and somebody who serves it."""
    if keeping.is_connected and (is_served or keeping.pid is not None):
        return replace(keeping, look_at=None)
    return _look_in(keeping, _pause_s(keeping, now), now)


def _pause_s(keeping: Keeping, now: float) -> float:
    if keeping.obstructed_looks and keeping.pid is None:
        return float(min(OBSTACLE_PAUSE_MAX_S, RETRY_S * 2 ** min(keeping.obstructed_looks - 1, 9)))
    is_starting = keeping.was_launched and not keeping.has_answered
    if keeping.pid is not None and is_starting and now - keeping.held_since < POLLED_S:
        return POLL_S
    return RETRY_S


def _look_in(keeping: Keeping, pause_s: float, now: float) -> Keeping:
    return replace(keeping, look_at=now + pause_s)


# --- our process ------------------------------------------------------------------------------


def _of_our_process(
    keeping: Keeping, fact: Adopted | Launched | NotLaunched | Ended, now: float
) -> Decision:
    match fact:
        case Adopted(pid, is_as_told):
            held = _held(keeping, pid, now, was_launched=False)
            if is_as_told:
                return held, (Say(Event.ADOPTED, pid),)
            killing = replace(_more_patient(held, now), is_killing=True)
            return killing, (Say(Event.OUTDATED, pid, OTHER_OPTIONS), Kill())
        case Launched(pid):
            held = _held(replace(keeping, is_launching=False), pid, now, was_launched=True)
            # While launches come to nothing, a line for each would drown the cause.
            return held, () if held.fruitless > 1 else (Say(Event.STARTED, pid),)
        case NotLaunched(why):
            return _not_launched(keeping, why, now)
        case Ended():
            return _ended(keeping, fact, now)


def _held(keeping: Keeping, pid: int, now: float, *, was_launched: bool) -> Keeping:
    held = replace(
        keeping,
        pid=pid,
        held_since=now,
        was_launched=was_launched,
        has_answered=False,
        is_killing=False,
        silent_looks=0,
    )
    return _look_in(held, POLL_S, now)


def _not_launched(keeping: Keeping, why: str, now: float) -> Decision:
    sentence = f"the embedded ZooKeeper server cannot be launched: {why}"
    if keeping.give_up_at is not None:
        return _give_up(keeping, sentence)
    failed = replace(keeping, is_launching=False, fruitless=keeping.fruitless + 1)
    paused = _paused(failed, lived_s=0.0, now=now)
    return _troubled(paused, Say(Event.NOT_LAUNCHED, why=why))


def _ended(keeping: Keeping, fact: Ended, now: float) -> Decision:
    if fact.pid != keeping.pid:
        return keeping, ()
    fruitless = 0 if keeping.has_answered else keeping.fruitless + 1
    gone = replace(keeping, pid=None, is_killing=False, fruitless=fruitless)
    if keeping.is_killing:
        return _look(replace(_more_patient(gone, now), launch_from=now))
    paused = _paused(gone, fact.lived_s, now)
    if paused.give_up_at is not None and paused.short_lives > 1:  # once may be a race with another
        return _give_up(paused, _not_started(paused, fact.said))
    told, said = _troubled(paused, Say(Event.DIED, fact.pid, fact.said))
    if paused.launch_from > now:
        return told, said
    again, orders = _look(told)
    return again, (*said, *orders)


def _paused(keeping: Keeping, lived_s: float, now: float) -> Keeping:
    """When it may be launched again: at once after a life, ever later after short ones."""
    short_lives = keeping.short_lives + 1 if lived_s < SHORT_LIFE_S else 0
    longest_s = LAUNCH_PAUSE_MAX_S if keeping.fruitless else KILLED_PAUSE_MAX_S
    pause_s = float(min(longest_s, RETRY_S * 2 ** min(short_lives - 1, 9)))
    launch_from = now + pause_s if short_lives else now
    return replace(keeping, short_lives=short_lives, launch_from=launch_from, look_at=launch_from)


# --- saying -----------------------------------------------------------------------------------


def obstacle(port: int, listener: Listener, whose: str = "") -> str:
    """What is in the way of an embedded server, and what to do about it; `whose` it is, if it is foreign."""
    if listener is Listener.FOREIGN:
        return (
            f"port {port} is taken by a program of {whose}, which is not trusted: if it is the ZooKeeper you want, say "
            f"so with --zookeeper 127.0.0.1:{port}, else give the embedded server another port with "
            "--zookeeper embedded:PORT"
        )
    if listener is Listener.ZOOKEEPER:
        return (
            f"port {port} is taken by another ZooKeeper: use it with --zookeeper 127.0.0.1:{port}, "
            "or give the embedded server another port with --zookeeper embedded:PORT"
        )
    return (
        f"port {port} is taken by something that is not ZooKeeper: "
        "give the embedded server another port with --zookeeper embedded:PORT, "
        "or name a ZooKeeper with --zookeeper HOST:PORT"
    )


def _not_started(keeping: Keeping, why: str) -> str:
    return f"the embedded ZooKeeper server did not start on port {keeping.port}: {why}"


def _troubled(keeping: Keeping, say: Say) -> Decision:
    """Once per cause."""
    cause = replace(say, pid=None)
    if cause in keeping.told:
        return keeping, ()
    return replace(keeping, told=(*keeping.told, cause)[-CAUSES_MAX:]), (say,)


def _well(keeping: Keeping) -> Decision:
    """Somebody serves: what was told is over."""
    if not keeping.told:
        return keeping, ()
    return replace(keeping, told=()), (Say(Event.ANSWERS, keeping.pid),)


def _give_up(keeping: Keeping, sentence: str) -> Decision:
    return replace(keeping, is_stopped=True), (GiveUp(sentence),)


def _after_the_stop(keeping: Keeping, fact: Fact) -> Keeping:
    """Whether there is a process is still known."""
    match fact:
        case Adopted(pid) | Launched(pid):
            return replace(keeping, pid=pid)
        case Ended(pid) if pid == keeping.pid:
            return replace(keeping, pid=None)
        case _:
            return keeping
