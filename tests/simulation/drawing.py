"""Draw a story from a seed: the kinds of trouble it has, how they crowd, and what of them meets which deadline.

Theory of operation. Stories in which everything may happen are all alike, and where two kinds of trouble must meet for
a fault to show, the others get in the way. So most seeds draw a swarm: a few kinds with weights of their own; or
rounds: two or three kinds close together, again and again. Times are often drawn near the deadlines of the
policy, counted from an earlier trouble, because there two facts meet at one instant or in the wrong order.

Must never know: stages, the oracle.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass, replace

from autohealer.core.model import Exit
from autohealer.core.policy import Registrar, Restart
from tests.simulation.ailing import Grow
from tests.simulation.care import asked
from tests.simulation.drawing_operator import operated
from tests.simulation.faults import (
    Crash,
    CrashNewborn,
    Freeze,
    IllBirths,
    LoseSessions,
    Overlooked,
    ReusePid,
    Storm,
    Unprovable,
)
from tests.simulation.script import At, Ending, Script, Trouble, Whom
from tests.simulation.stage import POLICY, WATCHDOG_S
from tests.simulation.surroundings import (
    CutDaemon,
    CutPlanShort,
    Detach,
    ForeignChild,
    ForkFailure,
    KillDaemon,
    LateLists,
    ListFails,
    LoseWatch,
    NameTaken,
    Outage,
    RepeatList,
    Respecify,
    Return,
    Scale,
    StrangeRegistration,
    WipeRegistry,
)
from tests.simulation.world import REJOINS_WITHIN_S, SESSION_S, Temper

SIZES = (((1, 9), 60), ((2, 3), 25), ((10, 20), 12), ((40, 50), 3))
"""From and to how many workers, and how often."""
LAG_MAX_S = 0.2
THAW_MAX_S = 4 * SESSION_S
LASTS_S = (2.0, 37.5)
"""What goes unseen does so for at most this long: the registry lists again by itself."""

DEADLINES_S = (
    POLICY.rejoin_grace_s,
    POLICY.probation_s,
    REJOINS_WITHIN_S,
    POLICY.first_list_s,
    SESSION_S,
    SESSION_S + POLICY.rejoin_grace_s,
    POLICY.settle_s,
    POLICY.settle_s + POLICY.rejoin_grace_s,
    2 * POLICY.settle_s,
    SESSION_S + POLICY.settle_s,
    POLICY.grace_s,
    POLICY.grace_s + POLICY.kill_retry_s,
    POLICY.stable_s,
    POLICY.registration_timeout_s,
    WATCHDOG_S,
    POLICY.backoff_initial_s,
    4 * POLICY.backoff_initial_s,
)
NUDGES_S = (0.0, 0.0, -1e-4, 1e-4, -0.02, 0.02, -0.1, 0.1, -0.4, 0.4)
BACK_S = (0.0, 0.1, 1.0, POLICY.settle_s, 20.0)

AGENT_SHARE = 0.15
ASKED_SHARE = 0.6
"""Of these."""
ANONYMOUS_SHARE = 0.15
ASKED_SELF_SHARE = 0.12
DONE_SHARE = 0.15
LARGE_SHARE = 0.25
OF_REGISTRANTS = (Freeze, IllBirths, Overlooked, Unprovable, NameTaken)
"""Troubles of what registers itself, or is found by its registration."""
OF_NAMES = (Overlooked, Unprovable, NameTaken, ReusePid)
"""Troubles of what registers by the name it was given."""
ANONYMOUS_MAX = 5
"""They are launched one at a time, and each may take as long as registering may."""

SHORT_LIVED = Temper(registers_after_s=None, dies_after_s=0.2)


class Deck:
    """What a story is drawn from: chance, and how large the group may become."""

    def __init__(self, rng: random.Random, sizes: tuple[int, int]) -> None:
        self.rng = rng
        self.sizes = sizes

    def size(self) -> int:
        """A number of workers."""
        return self.rng.randint(*self.sizes)

    def one(self) -> int:
        """Anybody."""
        return self.rng.randrange(self.sizes[1])

    def some(self, share_max: float = 1.0) -> Whom:
        """Several, all of them as likely as one."""
        most = max(1, round(self.sizes[1] * share_max))
        return tuple(self.rng.sample(range(self.sizes[1]), self.rng.randint(1, most)))

    def most(self) -> Whom:
        """More than may be lost together before that is a mass loss, by far."""
        everybody = range(self.sizes[1])
        return tuple(
            self.rng.sample(everybody, self.rng.randint(len(everybody) // 3 + 1, len(everybody)))
        )

    def maybe(self, chance: float) -> Whom:
        """Several or nobody."""
        return self.some() if self.rng.random() < chance else ()

    def about_s(self, of: Sequence[float] = DEADLINES_S) -> float:
        """About one of several times: exactly, or a little sooner or later."""
        return max(0.0, self.rng.choice(of) + self.rng.choice(NUDGES_S))

    def lasts_s(self, low: float, high: float) -> float:
        """A time between two, often near a deadline."""
        drawn_s = self.about_s() if self.rng.random() < 0.5 else self.rng.uniform(low, high)
        return min(max(low, drawn_s), high)

    def each(self, low: float, high: float) -> tuple[float, ...]:
        """A few times, of which each of several gets one."""
        return tuple(self.lasts_s(low, high) for _ in range(self.rng.randint(1, 4)))

    def back_s(self) -> float:
        """After what time a daemon is started again."""
        return self.rng.choice(BACK_S)


def _crash(deck: Deck) -> Trouble:
    return Crash((deck.one(),), deck.rng.choice((Exit(signal=9), Exit(code=1), Exit(code=0))))


def _freeze(deck: Deck) -> Trouble:
    thaws = deck.rng.random() < 0.6
    return Freeze((deck.one(),), (deck.lasts_s(0.2, THAW_MAX_S),) if thaws else (None,))


def _freeze_several(deck: Deck) -> Trouble:
    thaws = deck.each(0.2, THAW_MAX_S)
    return Freeze(deck.some(), deck.rng.choice(((None,), thaws, (None, *thaws))))


def _freeze_most(deck: Deck) -> Trouble:
    """None or few of them come back before they are missed."""
    thaws = deck.each(SESSION_S, THAW_MAX_S)
    return Freeze(deck.most(), deck.rng.choice(((None,), (None, *thaws))))


def _temper(deck: Deck) -> Temper:
    rng = deck.rng
    return rng.choice(
        (
            Temper(registers_after_s=deck.lasts_s(2.0, 25.0)),
            Temper(registers_after_s=None),
            Temper(ignores_term=True),
            Temper(registers_after_s=None, dies_after_s=deck.lasts_s(0.0, 2.0)),
            Temper(dies_after_s=deck.lasts_s(0.3, 20.0)),
            Temper(tree=rng.randint(1, 3)),
            Temper(tree=1, resists_s=deck.lasts_s(1.0, 37.5)),
            Temper(tree=1, lingers=True),
            Temper(tree=2, lingers=True),
            Temper(tree=1, ignores_term=True, dies_after_s=deck.lasts_s(0.0, 5.0)),
        )
    )


def _ill_births(deck: Deck) -> Trouble:
    tempers = tuple(_temper(deck) for _ in range(deck.rng.randint(1, 4)))
    return IllBirths(tempers, deck.maybe(0.7))


def _broken_program(deck: Deck) -> Trouble:
    return IllBirths((SHORT_LIVED,) * deck.rng.randint(3, 12), (deck.one(),))


def _outage(deck: Deck) -> Trouble:
    return Outage(
        deck.lasts_s(0.05, 3 * SESSION_S),
        deck.rng.choice((Return.WHOLE, *Return)),
        expires_s=deck.rng.uniform(0.0, 2.0),
        crash=deck.maybe(0.4),
        crash_s=deck.rng.uniform(0.0, SESSION_S),
    )


def _cut(deck: Deck) -> Trouble:
    return CutDaemon(deck.lasts_s(0.0, 12.0), lost=deck.rng.random() < 0.4)


def _kill_daemon(deck: Deck) -> Trouble:
    return KillDaemon(deck.back_s(), deck.maybe(0.5), deck.rng.uniform(0.0, 1.0))


def _reuse_pid(deck: Deck) -> Trouble:
    tells = deck.rng.random() < 0.7
    return ReusePid(deck.one(), deck.back_s(), deck.rng.uniform(5.0, 37.5), tells_start=tells)


def _strange(deck: Deck) -> Trouble:
    rng = deck.rng
    labels = (f"manual-there-{rng.randint(1, 9)}-s1", "rubbish", f"web-{deck.one()}-7", "db-1-5")
    raw = rng.choice((b"", b'{"pid":7}', b'{"pid":7,"start":1,"boot":"other","host":"there"}'))
    return StrangeRegistration(rng.choice(labels), raw)


Draw = Callable[[Deck], Trouble]

KINDS: dict[str, tuple[int, Draw]] = {
    "crash": (5, _crash),
    "crash several": (4, lambda deck: Crash(deck.some())),
    "storm": (1, lambda deck: Storm(5, deck.rng.uniform(0.3, 0.6))),
    "crash newborn": (3, lambda deck: CrashNewborn((deck.one(),))),
    "freeze": (4, _freeze),
    "freeze several": (4, _freeze_several),
    "freeze most": (8, _freeze_most),
    "lose session": (4, lambda d: LoseSessions((d.one(),), d.each(0.05, REJOINS_WITHIN_S))),
    "lose many sessions": (6, lambda d: LoseSessions(d.some(), d.each(0.05, REJOINS_WITHIN_S))),
    "ill births": (6, _ill_births),
    "broken program": (1, _broken_program),
    "fork failure": (2, lambda deck: ForkFailure(deck.lasts_s(0.05, 20.0), deck.maybe(0.7))),
    "outage": (6, _outage),
    "cut daemon": (7, _cut),
    "lose watch": (8, lambda deck: LoseWatch(deck.lasts_s(*LASTS_S))),
    "late lists": (4, lambda deck: LateLists(deck.rng.uniform(0.0, LAG_MAX_S))),
    "repeat list": (1, lambda _deck: RepeatList()),
    "kill daemon": (4, _kill_daemon),
    "cut plan short": (
        4,
        lambda d: CutPlanShort(d.rng.randint(0, 4), d.back_s(), d.maybe(0.9)),
    ),
    "reuse pid": (2, _reuse_pid),
    "strange registration": (1, _strange),
    "unprovable": (2, lambda d: Unprovable(d.some(0.4), d.each(1.0, LASTS_S[1]), d.back_s())),
    "overlooked": (2, lambda deck: Overlooked(deck.one(), deck.back_s())),
    "name taken": (
        1,
        lambda d: NameTaken(d.one(), d.rng.uniform(0.5, 2.0), d.rng.uniform(6.0, 20.0)),
    ),
    "list fails": (1, lambda deck: ListFails(deck.lasts_s(*LASTS_S))),
    "wipe registry": (1, lambda _deck: WipeRegistry()),
    "scale": (3, lambda deck: Scale(deck.size())),
    "respecify": (3, lambda _deck: Respecify()),
    "detach": (2, lambda deck: Detach(deck.rng.choice((0.1, 1.0, 6.0)))),
}
"""Each kind with how often it comes compared with the others, where a story has them all."""


STARTS_S = (0.0, 0.1, 5.0, 15.0, 60.0)
WHOLE_S = (POLICY.settle_s, 15.0, 30.0, 60.0)
"""Pauses after which a group is often whole."""


def drawn(seed: int) -> Script:
    """The story of a seed, with what the operator does of slots in some."""
    return operated(_drawn(seed), seed)


def _drawn(seed: int) -> Script:
    rng = random.Random(seed)
    deck = Deck(rng, rng.choices([size for size, _ in SIZES], [often for _, often in SIZES])[0])
    tell = _teller(deck)
    script = Script(
        replicas=deck.size(),
        troubles=tuple(tell(deck)),
        ending=rng.choice(tuple(Ending)),
        hasty=rng.random() < 0.25,
        again_after_s=rng.uniform(0.0, 3.0),
        luck=seed,
    )
    share = rng.random()
    if share < AGENT_SHARE:
        script = _for_an_agent(script, deck)
    elif share < AGENT_SHARE + ANONYMOUS_SHARE:
        script = anonymous(script, deck)
    elif share < AGENT_SHARE + ANONYMOUS_SHARE + ASKED_SELF_SHARE:
        script = asked(script, deck)
    if rng.random() < DONE_SHARE:
        script = replace(script, restart=rng.choice((Restart.ON_FAILURE, Restart.NEVER)))
    if rng.random() < LARGE_SHARE:
        large = tuple(growths(deck, script))
        return replace(script, troubles=(*script.troubles, *large))
    return script


def drawn_troubles(deck: Deck) -> list[At]:
    """One story's, in whichever way they are told."""
    return _teller(deck)(deck)


def _teller(deck: Deck) -> Callable[[Deck], list[At]]:
    return deck.rng.choices((_everything, _swarm, _rounds), (15, 30, 55))[0]


def growths(deck: Deck, script: Script) -> Iterator[At]:
    """Some grow too large, or most of them together: close to another trouble, or some time after all of them."""
    rng = deck.rng
    last_s = max((at.at_s for at in script.troubles), default=0.0)
    for _ in range(rng.randint(1, 5)):
        close_s = rng.choice([at.at_s for at in script.troubles] or [1.0]) + deck.about_s()
        at_s = rng.choice((close_s, rng.uniform(1.0, last_s + 60.0)))
        whom = rng.choice(((deck.one(),), deck.some(), deck.most()))
        yield At(at_s, Grow(whom, rng.choice(((None,), (None,), deck.each(0.2, 30.0)))))


def anonymous(script: Script, deck: Deck) -> Script:
    """A like story of programs that choose their names, with foreigners who do, and without what befalls others."""
    few = min(script.replicas, ANONYMOUS_MAX)
    troubles = [_of_few(at) for at in script.troubles if not isinstance(at.trouble, OF_NAMES)]
    for _ in range(deck.rng.randint(0, 4)):
        at_s = deck.rng.choice([at.at_s for at in troubles] or [5.0]) + deck.rng.choice((0.0, 0.1))
        foreign = ForeignChild(
            deck.maybe(0.7), deck.rng.uniform(0.0, 0.4), deck.rng.uniform(0.5, 30.0)
        )
        troubles.append(At(at_s, foreign))
    troubles.sort(key=lambda at: at.at_s)
    return replace(script, replicas=few, troubles=tuple(troubles), registrar=Registrar.ANONYMOUS)


def _of_few(at: At) -> At:
    match at.trouble:
        case Scale(replicas):
            return At(at.at_s, Scale(min(replicas, ANONYMOUS_MAX)))
        case _:
            return at


def _for_an_agent(script: Script, deck: Deck) -> Script:
    """The same story of programs that do not register themselves, without what befalls only those that do.

    Of most of them some are asked for their health, and ail.
    """
    troubles = tuple(at for at in script.troubles if not is_of_registrants(at.trouble))
    script = replace(script, troubles=troubles, registrar=Registrar.AGENT)
    return asked(script, deck) if deck.rng.random() < ASKED_SHARE else script


def is_of_registrants(trouble: Trouble) -> bool:
    """Whether a trouble befalls only who registers itself."""
    match trouble:
        case ReusePid(tells_start=tells_start):
            return not tells_start  # what a daemon writes does
        case _:
            return isinstance(trouble, OF_REGISTRANTS)


def _everything(deck: Deck) -> list[At]:
    """Every kind, as often as it comes."""
    return _in_a_row(deck, list(KINDS), [often for often, _ in KINDS.values()])


def _swarm(deck: Deck) -> list[At]:
    """A few kinds, with weights of their own."""
    few = _few(deck, deck.rng.randint(2, 7))
    return _in_a_row(deck, few, [deck.rng.uniform(0.2, 1.0) for _ in few])


def _rounds(deck: Deck) -> list[At]:
    """Two or three kinds close together, again and again, with time to become whole in between."""
    rng = deck.rng
    few = _few(deck, rng.choice((2, 2, 3)))
    troubles: list[At] = []
    at_s = rng.choice(STARTS_S)
    for _ in range(rng.randint(3, 8)):
        for name in few:
            troubles.append(At(at_s, KINDS[name][1](deck)))
            at_s = rng.choice(_soon_s(deck, troubles))
        at_s += rng.choice(WHOLE_S)
    return troubles


def _few(deck: Deck, count: int) -> list[str]:
    """So many kinds, the likelier ones sooner (Efraimidis and Spirakis)."""
    rng = deck.rng
    return sorted(KINDS, key=lambda name: rng.random() ** (1.0 / KINDS[name][0]), reverse=True)[
        :count
    ]


def _in_a_row(deck: Deck, names: Sequence[str], weights: Sequence[float]) -> list[At]:
    """One after another, with a habit of how they follow: at once, close, at a deadline, after a pause, a long one."""
    rng = deck.rng
    habits = [rng.random(), rng.random(), 2 * rng.random(), rng.random(), 0.2 * rng.random()]
    troubles: list[At] = []
    at_s = rng.choice(STARTS_S)
    for _ in range(rng.randint(1, 25)):
        troubles.append(At(at_s, KINDS[rng.choices(names, weights)[0]][1](deck)))
        pause_s = rng.choice((0.6, 1.5, 4.3, 6.2, 15.0))
        whens_s = (*_soon_s(deck, troubles), at_s + pause_s, at_s + 60.0)
        at_s = rng.choices(whens_s, habits)[0]
    return troubles


def _ends_s(trouble: object) -> Iterator[float]:
    """After what times a trouble does something again: its end, a daemon that is back."""
    if not is_dataclass(trouble):
        return
    for field in fields(trouble):
        value = getattr(trouble, field.name)
        if field.name.endswith("_s"):
            yield from (at for at in (value if isinstance(value, tuple) else (value,)) if at)


def _soon_s(deck: Deck, troubles: Sequence[At]) -> tuple[float, float, float]:
    """When the next one may strike: at once, close, or when something that an earlier one set off is due."""
    rng, last_s = deck.rng, troubles[-1].at_s
    close_s = rng.choice((1e-4, 0.02, rng.uniform(0.0, 0.5)))
    earlier = rng.choice(troubles[-3:])
    ends_s = tuple(_ends_s(earlier.trouble))
    due_s = earlier.at_s + deck.about_s(ends_s if ends_s and rng.random() < 0.5 else DEADLINES_S)
    return (last_s, last_s + close_s, max(last_s, due_s))
