"""Stories that once showed a fault, each by what it showed; replayed by test_simulation.py.

A story is a value, so it stays what it is however stories are drawn later. Those here were cut down from longer ones,
or written by hand to what was seen.
"""

from __future__ import annotations

from autohealer.core.policy import Registrar, Restart
from tests.simulation.ailing import CannotServe, Grow, Sicken
from tests.simulation.faults import (
    Crash,
    Freeze,
    IllBirths,
    LoseSessions,
    Overlooked,
    ReusePid,
    Storm,
    Unprovable,
)
from tests.simulation.kept_operated import KEPT_OPERATED
from tests.simulation.script import At, Ending, Script
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
    Respecify,
    Return,
    Scale,
    WipeRegistry,
)
from tests.simulation.world import Temper

KEPT: dict[str, Script] = {
    "one that was outdated, not fit and sick was ended twice in one plan, which froze the group": Script(
        replicas=1,
        restart=Restart.ON_FAILURE,
        asked=True,
        notify=True,
        troubles=(
            At(0.0, LoseWatch(30.0)),
            At(17.0, Freeze((0,))),
            At(17.0, Respecify()),
        ),
    ),
    "what one that died unseen had registered was bound to one that was launched in an outage": Script(
        replicas=2,
        registrar=Registrar.ANONYMOUS,
        troubles=(
            At(0.0, LoseWatch(14.0)),
            At(2.0, Outage(11.0)),
            At(2.0, ForeignChild((0,), 0.0, 0.0)),
            At(8.0, Freeze((0,))),
        ),
    ),
    "the oracle took two frozen ones for the rest of a mass loss whose list was cut off on its way": Script(
        replicas=9,
        troubles=(
            At(5.0, Freeze((3,))),
            At(6.5, LateLists(0.1732)),
            At(7.0, LoseSessions((2, 4, 5, 6), (1.1881, 1.382, 1.4, 1.4))),
            At(7.02, CutDaemon(12.0)),
            At(7.0201, Freeze((8, 6, 5), (2.4152, 6.1249, None))),
        ),
    ),
    "the same, as short as it gets": Script(
        replicas=4,
        troubles=(
            At(5.0, Freeze((0,))),
            At(7.0, LoseSessions((4, 2, 0), (1.0,))),
            At(7.0, CutDaemon(12.0)),
            At(7.0, Freeze((1,))),
        ),
    ),
    "the oracle gave workers launched since the first connection time to register again": Script(
        replicas=4,
        troubles=(
            At(5.0, KillDaemon(6.0)),
            At(10.0, Outage(8.0)),
            At(18.82, Crash((0, 1, 2, 3))),
            At(20.0, Freeze((1, 3))),
        ),
    ),
    "a mass loss that a cut has hidden is one all the same": Script(
        replicas=9,
        troubles=(At(5.0, Freeze((0, 1, 2, 3, 4))), At(8.0, CutDaemon(4.0))),
    ),
    "two that are left of a mass loss are ended one by one, whatever the connection does": Script(
        replicas=9,
        troubles=(
            At(5.0, Freeze((0, 1, 2, 3), (None, None, 6.0, 6.0))),
            At(13.0, CutDaemon(0.01)),
        ),
    ),
    "the oracle complained of a stop in the moment in which a tree that had resisted gave in": Script(
        replicas=1,
        ending=Ending.STOP,
        hasty=True,
        troubles=(
            At(0.0, IllBirths((Temper(tree=1, resists_s=26.3),))),
            At(12.0, Freeze((0,), (14.7,))),
        ),
    ),
    "a daemon started after an outage ended an adopted worker whose session the store gave up only then": Script(
        replicas=1,
        troubles=(At(11.0, Unprovable((0,), (0.0,), 6.0)), At(17.0, Freeze((0,)))),
    ),
    "the brake stayed on after the last one missing was ended, and the next mass loss got no hold": Script(
        replicas=5,
        troubles=(
            At(0.0, IllBirths((Temper(), *[Temper(tree=1, resists_s=60.0)] * 2))),
            At(3.0, Freeze((0, 1, 2))),
            At(55.0, LoseSessions((0, 1, 2), (1.0,))),
        ),
    ),
    "a claim on a slot was forgotten when the connection was cut right after the list that showed it": Script(
        replicas=1,
        luck=1,
        troubles=(At(6.0, Overlooked(0, 1.0)), At(7.0001, CutDaemon(0.0))),
    ),
    "a launch that failed passed for an own incarnation, and another's registration was deleted": Script(
        replicas=1,
        troubles=(At(2.0, NameTaken(0, 0.0, 0.0)), At(2.0, ForkFailure(10.0))),
    ),
    "the children of a worker that only its registration had shown lived on beside its replacement": Script(
        replicas=1,
        troubles=(
            At(0.0, IllBirths((Temper(ignores_term=True, tree=1),))),
            At(6.0, Overlooked(0, 1.0)),
            At(7.0, Crash((0,))),
        ),
    ),
    "a stop ended before the list that would have shown who only his registration shows": Script(
        replicas=1,
        ending=Ending.STOP_BY_FORCE,
        hasty=True,
        troubles=(At(10.0, Overlooked(0, 6.0)), At(16.0, LateLists(0.0756))),
    ),
    "a slot that waited for a look kept the last token, and the loop had no rest": Script(
        replicas=3,
        troubles=(
            At(5.0, Unprovable((0,), (10.0,), 0.0)),
            At(7.0, CutDaemon(7.0)),
            At(7.0, ForkFailure(4.0, (8, 0, 1))),
        ),
    ),
    "the oracle took for a mass loss what no list could show": Script(
        replicas=4,
        troubles=(
            At(10.0, Outage(12.0, Return.EMPTY)),
            At(10.0, Freeze((1, 2, 0), (None, 0.0))),
            At(10.0, ListFails(37.0)),
        ),
    ),
    "the oracle took for new losses those known before a cut, who had been back and lost again unseen": Script(
        replicas=3,
        troubles=(
            At(5.0, Freeze((0, 1, 2), (16.0,))),
            At(21.0, CutDaemon(12.0)),
            At(27.0, Freeze((2, 0, 1))),
        ),
    ),
    "the world wiped away what alone could show a worker to a daemon that had listed nothing yet": Script(
        replicas=1,
        troubles=(At(10.0, Overlooked(0, 1.0)), At(11.0, WipeRegistry())),
    ),
    "a frozen worker was never replaced: `/workers` was wiped while a list was asked for to confirm its end": Script(
        replicas=1,
        troubles=(
            At(18.0, Freeze((0,))),
            At(18.0, WipeRegistry()),
            At(24.0, LateLists(0.1898)),
            At(24.6415, WipeRegistry()),
        ),
    ),
    "a mute worker was never replaced: `/workers` was wiped in the very round in which its end was due": Script(
        replicas=1,
        luck=1,
        troubles=(At(0.0, LoseWatch(32.0)), At(30.0, Freeze((0,))), At(30.0, WipeRegistry())),
    ),
    "the oracle counted losses against a number that was not wanted any more when they were seen": Script(
        replicas=3,
        troubles=(At(10.0, LoseSessions((1, 2, 0), (2.0,))), At(10.0, Scale(10))),
    ),
    "the oracle held a daemon to a second mass loss before a late list could show it": Script(
        replicas=8,
        luck=1,
        troubles=(
            At(0.0, IllBirths((Temper(registers_after_s=0.0, tree=1),), (7,))),
            At(0.0, Freeze((0, 7, 5, 1, 8, 6), (None, 14.731586760350247, 10.9999))),
            At(10.0, IllBirths((Temper(None, dies_after_s=0.4),), (6, 5, 3))),
            At(10.0, Freeze((6, 8, 1, 0, 3, 2))),
            At(16.0, IllBirths((Temper(registers_after_s=2.0),))),
            At(16.0, Freeze((5, 4, 8, 7, 2, 0, 6), (None, 10.02, 16.0, 12.1, 15.1757))),
            At(22.38, LateLists(0.1672)),
            At(32.0, Freeze((5, 6, 1, 7, 4, 0, 3), (None, 10.4866, 10.9, 16.0, 5.4932))),
        ),
    ),
    "a session ended between the look at processes and the first list, and nothing showed the worker": Script(
        replicas=1,
        troubles=(At(10.0, Overlooked(0, 6.0)), At(12.0, Freeze((0,)))),
    ),
    "the oracle took for a new mass loss who had come back and was lost again while the daemon was deaf": Script(
        replicas=3,
        troubles=(
            At(10.0, LoseSessions((0, 1, 2), (0.0,))),
            At(10.0, LoseWatch(6.0)),
            At(16.0, LoseSessions((0, 1, 2), (1.0,))),
        ),
    ),
    "the oracle took the end of one that had registered and lost that unseen for a turn under the brake": Script(
        replicas=5,
        troubles=(
            At(10.0, Freeze((0, 2, 3, 1), (None, 0.0, 16.0))),
            At(16.0, LoseWatch(16.0)),
            At(24.0, Freeze((0,))),
            At(34.0, Freeze((7, 4, 3))),
        ),
    ),
    "the oracle took two losses for the rest of one whose last was ended before a late list showed them": Script(
        replicas=5,
        troubles=(
            At(10.0, Freeze((0, 1, 2))),
            At(12.0, LateLists(0.16)),
            At(16.7, Freeze((3, 4))),
            At(18.0, Crash((1, 2))),
        ),
    ),
    "the oracle still missed who had been told to go because he was not wanted any more": Script(
        replicas=1,
        luck=1,
        troubles=(
            At(0.0, Outage(0.0)),
            At(0.0, Scale(5)),
            At(10.0, IllBirths((Temper(ignores_term=True),), (1, 7, 5, 8, 3, 4, 0, 6, 2))),
            At(30.0, LoseSessions((6, 2, 8, 4, 3, 1), (1.0223, 1.5))),
            At(30.0, Freeze((4, 8, 5, 1, 0, 2, 7, 3))),
            At(31.0224, Scale(1)),
        ),
    ),
    "the oracle took for a mass loss what vanished in the moment from which there was no list": Script(
        replicas=3,
        troubles=(
            At(10.0, LoseSessions((2, 0, 1), (0.0,))),
            At(10.0, ListFails(20.0)),
            At(10.0, Freeze((0,))),
            At(10.0, Freeze((1, 2), (None, 12.0))),
        ),
    ),
    "the oracle did not know which replacements were due under the brake when a cut hid the next mass loss": Script(
        replicas=19,
        troubles=(
            At(10.0, CutDaemon(0.0)),
            At(10.0, Freeze((0, 15, 8, 14, 12, 9, 17, 35))),
            At(25.0, CutDaemon(8.0)),
            At(40.0, CutDaemon(4.0)),
            At(
                40.0,
                Freeze(
                    (14, 8, 0, 12, 33, 18, 1, 13, 16, 7, 9, 28, 36, 15, 10, 6, 4, 5, 3, 2),
                    (None, 11.98),
                ),
            ),
        ),
    ),
    "a first stop in the moment of a detach was taken for a second one, and nobody had his grace": Script(
        replicas=1,
        ending=Ending.STOP_BY_FORCE,
        hasty=True,
        again_after_s=2.0,
        troubles=(
            At(0.0, IllBirths((Temper(), Temper(tree=1), Temper(tree=2, lingers=True)), (1,))),
            At(0.0, Scale(9)),
            At(10.0, Scale(2)),
            At(10.02, Detach(0.1)),
        ),
    ),
    "two facts for one instant came in the wrong order, and a slot was never filled again": Script(
        replicas=3,
        again_after_s=0.6192718429546634,
        troubles=(
            At(0.0, Overlooked(0, 0.0)),
            At(
                0.0,
                IllBirths(
                    (
                        Temper(registers_after_s=0.0, tree=2, lingers=True),
                        Temper(tree=2, lingers=True),
                    ),
                    (3, 6, 8, 4),
                ),
            ),
            At(12.0, Overlooked(7, 20.0)),
            At(
                12.0,
                IllBirths(
                    (
                        Temper(tree=2),
                        Temper(registers_after_s=None, dies_after_s=0.8090750517214051),
                        Temper(tree=2, lingers=True),
                    ),
                    (6, 0),
                ),
            ),
            At(
                32.0,
                IllBirths(
                    (
                        Temper(tree=2, lingers=True),
                        Temper(tree=2, lingers=True),
                        Temper(dies_after_s=4.742763902073432, ignores_term=True, tree=1),
                    ),
                    (7, 5, 8, 3, 1, 2, 6),
                ),
            ),
        ),
    ),
    "a slot that was done, unwanted and wanted again was taken for done by the next daemon": Script(
        replicas=1,
        ending=Ending.DETACH,
        hasty=True,
        again_after_s=1.4,
        restart=Restart.NEVER,
        troubles=(
            At(10.0, LoseSessions((0,), (1.0,))),
            At(20.0, Scale(0)),
            At(20.0, Scale(1)),
        ),
    ),
    "a second wave that ailed under the brake had as many ended together as had proved well before": Script(
        replicas=7,
        again_after_s=1.0663105266934418,
        luck=50000138,
        registrar=Registrar.AGENT,
        asked=True,
        troubles=(
            At(134.66117472319144, Sicken((8, 4, 2, 1, 5))),
            At(74.09279221810728, Freeze((6,), (8.43434949182967, 24.39444484564823, 10.0001))),
            At(61.27723054943043, Sicken((5,))),
            At(126.55344544102553, Sicken((5, 1, 8, 6, 3, 7, 2, 4), (7.898720978261941,))),
            At(
                85.553445441,
                Sicken((8, 4, 3, 5, 6, 0), (27.5840904635082, 0.5, 0.3857671015196863)),
            ),
        ),
    ),
    "the oracle took for seen what registered while the daemon was deaf": Script(
        replicas=4,
        again_after_s=2.441555286687594,
        troubles=(
            At(20.0, Freeze((2, 0, 9))),
            At(30.0, Freeze((3,))),
            At(30.0, Scale(6)),
            At(36.0, LoseWatch(10.0)),
            At(46.0, Freeze((0, 16))),
            At(46.0, Outage(0.34449092446207824, comes_back=Return.EMPTY)),
        ),
    ),
    "the brake was on after the last one missing was done, and nobody too large was replaced": Script(
        replicas=4,
        again_after_s=2.2082632496341796,
        restart=Restart.NEVER,
        troubles=(
            At(19.0, ReusePid(0, 0.0, 0.0)),
            At(19.0, Freeze((19, 0, 8))),
            At(29.0, Grow((0,))),
        ),
    ),
    "the oracle took what a daemon withholds itself for a mass loss that the next daemon finds": Script(
        replicas=5,
        again_after_s=0.42057970089327046,
        registrar=Registrar.AGENT,
        asked=True,
        notify=True,
        troubles=(
            At(10.0, Respecify()),
            At(10.0, CutPlanShort(actions=0, back_s=0.0, crash=(0,))),
            At(9.0, CannotServe((6, 2, 3), (18.0,))),
            At(19.0, Sicken((0,))),
        ),
    ),
    "the oracle took what was wanted in a daemon's last moment for heard": Script(
        replicas=1,
        again_after_s=0.6787887090329838,
        restart=Restart.NEVER,
        troubles=(
            At(10.0, Storm(times=1, between_s=0.0)),
            At(10.499882968, Scale(0)),
            At(10.499882968, KillDaemon(0.0)),
            At(10.499882968, Scale(1)),
        ),
    ),
    "the oracle took one for done that died just when it was told to end for its size": Script(
        replicas=5,
        again_after_s=1.1594841256952497,
        luck=2,
        registrar=Registrar.ANONYMOUS,
        restart=Restart.NEVER,
        troubles=(
            At(5.0, KillDaemon(6.0)),
            At(7.0, ForeignChild((16,), 0.0, 0.0)),
            At(
                22.0,
                IllBirths(
                    (Temper(registers_after_s=0.0, dies_after_s=1.1170463367073786),),
                    (6, 16, 19, 15, 7, 13, 9, 2, 10, 11, 14, 18, 3, 4, 0, 8, 1, 12, 17, 5),
                ),
            ),
            At(17.0, Grow((14, 3, 5, 8, 13, 17, 1, 0))),
        ),
    ),
}

KEPT |= KEPT_OPERATED
