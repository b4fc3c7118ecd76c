"""The sentences that say why: written once here, repeated by logs, status and tests."""

from __future__ import annotations

from signal import Signals

from autohealer.core.model import Exit, Occupant, Phase, Slot, View
from autohealer.core.policy import Policy, Registrar
from autohealer.core.strangers import Standing

OUTDATED = "outdated: launched from another command, environment or limits than are wanted now"
"""Why a healthy incarnation is replaced."""

STOPPED = "stopped by the operator"
STARTED_AGAIN = "started again by the operator"
RETRIED = "tried again, as asked"
RESTARTED = "restarted, as asked"
RESTART_ASKED = "the operator asked for it"

RENEWAL_HOLD = "workers that are outdated or to be restarted are replaced one at a time, each ready before the next"

OVERSIZED_HOLD = (
    "workers that use more memory than they may are replaced one at a time, each ready before the next, and while "
    "nobody else is missed, as far as that can be waited for"
)


def of_exit(exit_: Exit) -> str:
    """How a process ended: `exited with code 1`, `ended by signal 9 (SIGKILL)`."""
    if exit_.oom:
        return "ended by the kernel for want of memory (signal 9)"
    if exit_.signal is not None:
        return f"ended by signal {exit_.signal} ({_signal_name(exit_.signal)})"
    if exit_.code is not None:
        return f"exited with code {exit_.code}"
    return "exited (status unknown: not a child of this daemon)"


def of_death(occupant: Occupant, exit_: Exit, view: View) -> str:
    """How and when an incarnation died, and whether it had served."""
    served_s = occupant.served_s(view.now)
    if served_s is None:
        had_been = "never ready" if occupant.listed else "not registered"
    elif served_s < view.policy.min_ready_s:
        had_been = f"was ready for {served_s:.2f} s only"
    else:
        had_been = "was ready"
    return f"{of_exit(exit_)} after {view.now - occupant.since:.1f} s, {had_been}"


def of_end(view: View, slot: Slot, occupant: Occupant, exit_: Exit, *, tree_empty: bool) -> str:
    """How what filled a slot ended, told to or by itself."""
    if slot.phase is Phase.DRAINING:
        return of_ending(slot.reason, exit_)
    if exit_.code == 0 and occupant.ready_at is None and not tree_empty:
        return of_background(occupant, exit_, view)
    return of_death(occupant, exit_, view)


def of_background(occupant: Occupant, exit_: Exit, view: View) -> str:
    """How an incarnation ended that only started the real one and went away."""
    return (
        f"{of_death(occupant, exit_, view)}, while what it had started ran on: "
        "a program that goes to the background; start it in the foreground"
    )


def of_held_end(exit_: Exit) -> str:
    """How a process ended that held a slot."""
    return f"{of_exit(exit_)}: what held the slot could not be proven to be its worker"


def of_held(view: View) -> str:
    """That slots are held, in the same words for as long as it is as many."""
    count = view.counts[Phase.HELD]
    slots, processes = ("a slot", "a process") if count == 1 else (f"{count} slots", "processes")
    return (
        f"{slots} held by {processes} that cannot be proven to be this group's: neither ended nor doubled, "
        "and left running by a stop"
    )


def of_backoff(cause: str, failures: int) -> str:
    """Why a slot waits; for how long is its deadline's to say, since the reason outlives the wait."""
    return f"{cause}; failure {failures} in a row"


def of_done(cause: str, has_failed: bool) -> str:  # noqa: FBT001 - one word of the sentence
    """Why a slot is not filled again."""
    return f"{'done, and failed' if has_failed else 'done'}: {cause}"


def of_quick_restarts(cause: str, quick_restarts: int) -> str:
    """Why even a worker that had been ready waits."""
    return f"{cause}; restart {quick_restarts} in a row too soon after the last"


def of_late_registration(cause: str) -> str:
    """A death that turns out to have been a ready worker's."""
    return f"{cause}; the first list after its death showed that it had been registered"


def of_quarantine(cause: str, failures: int) -> str:
    """Why a slot is parked."""
    return f"{cause}; quarantined after {failures} failures in a row"


def of_oversize(occupant: Occupant, policy: Policy) -> str:
    """Why one that is well is replaced, with both figures."""
    used, may = of_bytes(occupant.rss_bytes), of_bytes(policy.memory_restart_bytes or 0)
    return f"uses {used} of memory, more than the {may} it may"


def of_outgrown(cause: str, outgrown: int, policy: Policy) -> str:
    """Why a slot waits whose workers use too much soon after each launch."""
    soon = f"within {policy.memory_soon_s:g} s of its launch, {outgrown} in a row"
    return f"{cause}, {soon}: it probably needs more than that (memory_restart)"


def of_bytes(size: float) -> str:
    """A size in the unit that suits it: `412.3 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1000:
            return f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:.4g} TiB"


def of_no_registration(occupant: Occupant, view: View) -> str:
    """Why a start is given up, with what is probably wrong; what it may have registered as instead is named."""
    age = f"launched {view.now - occupant.since:.1f} s ago but never registered"
    if occupant.registrar is Registrar.ANONYMOUS:
        return f"{age}: {view.bindings.unclear or _of_no_child(occupant, view)}"
    if others := _names_of_nobody(view):
        return (
            f"{age} under the name it was given: if {others} is its registration, let it choose its name (--register "
            "anonymous) or use the one in AUTOHEALER_ZNODE, or have the daemon register it (--register agent)"
        )
    return (
        f"{age}: the program probably does not use autohealer.worker (or create the znode AUTOHEALER_ZNODE itself), "
        "hangs before it does, or cannot reach ZooKeeper"
    )


def _of_no_child(occupant: Occupant, view: View) -> str:
    """Why nothing is bound to one that was launched; what others made meanwhile may be its all the same."""
    bond = view.bindings.bonds.get(occupant.name)
    others = sorted(
        sight.child.label
        for sight in view.bindings.sights.values()
        if sight.is_foreign and bond is not None and sight.child.czxid > bond.born
    )
    if others:
        return f"{others[-1]} appeared since, but another program has that session's connection"
    return (
        "it has made no ephemeral child of /workers, so it hangs before it does, uses another ZooKeeper or path, or "
        "does not register at all (--register agent)"
    )


def _names_of_nobody(view: View) -> str:
    """A registration under a name that no daemon gave out and nobody claims by hand, and how many more there are."""
    names = sorted(
        label
        for label in view.strange
        if (who := view.strangers.get(label)) is None or who.standing is not Standing.MANUAL
    )
    more = f" (or one of {len(names) - 1} more)" if len(names) > 1 else ""
    return f"{names[-1]}{more}" if names else ""


def of_lost_registration(occupant: Occupant, now: float) -> str:
    """Why a live process is replaced."""
    gone_s = now - occupant.listed_changed
    gone = (
        f"not registered since it was adopted {gone_s:.1f} s ago"
        if occupant.ready_at is None and occupant.adopted
        else f"registration gone for {gone_s:.1f} s"
    )
    return f"{gone} while the process lives (frozen, or its session was lost)"


def of_ending(ordered: str, exit_: Exit) -> str:
    """How an incarnation ended that was told to, for the reason `ordered`."""
    return f"{ordered}; it was stopped (SIGSTOP)" if exit_.frozen else ordered


def of_mass_loss(view: View) -> str:
    """What set the brake off, with its numbers."""
    wanted = sum(view.room.replicas.values())
    return (
        f"{view.brake.lost} of {wanted} registrations went missing together while their processes live: "
        "a fault of ZooKeeper or the network is likelier than as many deaths"
    )


def of_mass_loss_hold(view: View) -> str:
    """What the brake holds back, in the same words for as long as it is on."""
    return (
        f"mass loss of registrations: no worker is ended for it until {view.policy.settle_s:g} s have passed, "
        "then one, and more only as replacements register"
    )


def of_epidemic(view: View) -> str:
    """What set the brake of health off, with its numbers."""
    wanted = sum(view.room.replicas.values())
    return (
        f"{view.room.epidemic.count} of {wanted} workers fail their health checks together: "
        "a fault of something they all depend on is likelier than as many sick workers"
    )


def of_epidemic_hold(view: View) -> str:
    """What the brake of health holds back, in the same words for as long as it is on."""
    return (
        f"many workers fail their health checks together: none is ended for it until {view.policy.settle_s:g} s have "
        "passed, then one, and more only as replacements prove to be well"
    )


def of_holdouts(reason: str, holdouts: tuple[str, ...]) -> str:
    """Why a slot cannot be used again yet."""
    return f"{reason}; still there after a kill: {', '.join(holdouts)}" if holdouts else reason


def of_surplus(slot: Slot, view: View) -> str:
    """Why a healthy incarnation has to go."""
    if slot.key < 0:
        return "surplus: another incarnation holds its slot"
    return f"surplus: {view.desired.replicas} wanted"


def _signal_name(number: int) -> str:
    try:
        return Signals(number).name
    except ValueError:
        return "real-time signal"
