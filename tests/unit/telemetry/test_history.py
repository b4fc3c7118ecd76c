"""The history: every kind of death told truly, kept across daemons, bounded, and readable whatever was cut short."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

import pytest

from autohealer.core import events
from autohealer.core.actions import Drain, Kill, Plan, Spawn
from autohealer.core.evolve import evolve
from autohealer.core.model import Budget, Ending, Exit, Incarnation, Store, View
from autohealer.core.policy import Policy
from autohealer.telemetry.history import HISTORY_NAME, LAST_MOMENT_S, Entry, History, read_history

NAME = Incarnation(3, 17)
PID = 4711
LAST_WORDS = ["last words of slot 3"]


class Keeper:
    """A view with one worker in slot 3, 60 s old and ready, and the history that observes it."""

    def __init__(self, folder: Path, limit_bytes: int = 10**6) -> None:
        self.warnings: list[str] = []
        self.hint = ""
        self.view = View(policy=Policy(), budget=Budget(30.0), now=100.0)
        self._history = History(
            folder,
            limit_bytes,
            lambda slot: [f"last words of slot {slot}"],
            lambda _slot: self.hint,
            self.warnings.append,
        )
        self.round(events.ReplicasSet(4), events.StoreChanged(Store.CONNECTED))
        self.launch()

    def launch(self) -> None:
        """Fill the slot with NAME."""
        self.round(plan=Plan((Spawn(3, NAME, "first start"),)))
        self.round(events.WorkerSpawned(NAME, PID))
        self.round(events.WorkersListed(frozenset({NAME}), frozenset()))
        self.view.now += 60.0

    def round(self, *facts: events.Event, plan: Plan | None = None) -> None:
        """What the loop does, with a plan of the test's own."""
        evolve(self.view, events.Ticked(self.view.now))
        for fact in facts:
            evolve(self.view, fact)
        made = plan or Plan()
        evolve(self.view, events.Decided(made))
        self._history(facts, made, self.view)

    def close(self) -> None:
        """What the end of the daemon does: everything is written."""
        self._history.close()

    def end(self, exit_: Exit, told: Drain | Kill | None = None) -> Keeper:
        """The worker ends, after it was told to or by itself."""
        if told is not None:
            self.round(plan=Plan((told,)))
        self.round(events.WorkerExited(NAME, exit_, tree_empty=True, jitter=0.5, pid=PID))
        return self


def deaths(folder: Path) -> list[Entry]:
    """The deaths a history tells of."""
    return [entry for entry in read_history(folder) if entry.event == "ended"]


def kill(ending: Ending) -> Kill:
    """The order to end the worker."""
    return Kill(3, NAME, "the daemon's reason", ending)


@pytest.mark.parametrize(
    ("exit_", "told", "cause", "why"),
    [
        (Exit(code=3), None, "exit_code", "exited with code 3 after 60.0 s, was ready"),
        (Exit(signal=11), None, "signal", "ended by signal 11 (SIGSEGV) after 60.0 s, was ready"),
        (
            Exit(signal=9, oom=True),
            None,
            "out_of_memory",
            "ended by the kernel for want of memory (signal 9) after 60.0 s, was ready",
        ),
        (
            Exit(),
            None,
            "unknown",
            "exited (status unknown: not a child of this daemon) after 60.0 s",
        ),
        (
            Exit(signal=9),
            kill(Ending.NEVER_REGISTERED),
            "registration_timeout",
            "the daemon's reason",
        ),
        (
            Exit(signal=9),
            kill(Ending.REGISTRATION_LOST),
            "registration_lost",
            "the daemon's reason",
        ),
        (
            Exit(signal=9, frozen=True),
            kill(Ending.REGISTRATION_LOST),
            "frozen",
            "the daemon's reason; it was stopped (SIGSTOP)",
        ),
        (
            Exit(code=0),
            Drain(3, NAME, "answered 500", Ending.UNHEALTHY),
            "unhealthy",
            "answered 500",
        ),
        (Exit(signal=6), Drain(3, NAME, "no ping", Ending.WATCHDOG), "watchdog", "no ping"),
        (Exit(code=0), Drain(3, NAME, "uses 2 GiB", Ending.MEMORY), "memory", "uses 2 GiB"),
        (Exit(signal=9), kill(Ending.FROZEN), "frozen", "the daemon's reason"),
        (Exit(code=0), Drain(3, NAME, "stopping", Ending.STOPPED), "operator", "stopping"),
        (Exit(code=1), Drain(3, NAME, "surplus: 2 wanted", Ending.SURPLUS), "surplus", "surplus"),
    ],
)
def test_every_kind_of_death_is_told_apart(
    tmp_path: Path, exit_: Exit, told: Drain | Kill | None, cause: str, why: str
) -> None:
    """At 3 a.m. a crash would look like a stop, or a frozen worker like a crash."""
    Keeper(tmp_path).end(exit_, told).close()
    (death,) = deaths(tmp_path)
    assert death.cause == cause
    assert death.why.startswith(why)
    assert (death.slot, death.generation, death.pid) == (*NAME, PID)
    assert (death.exit_code, death.signal) == (exit_.code, exit_.signal)
    assert (death.lived_s, death.was_ready) == (60.0, True)
    assert list(death.last_output) == LAST_WORDS


def test_a_launch_that_came_to_nothing_is_a_death_too(tmp_path: Path) -> None:
    """A program that vanished would leave no trace but an empty slot."""
    keeper = Keeper(tmp_path)
    keeper.end(Exit(code=0))
    heir = Incarnation(3, 18)
    keeper.round(plan=Plan((Spawn(3, heir, "again"),)))
    keeper.round(events.SpawnFailed(heir, "no such file", 0.5))
    keeper.close()
    assert [death.cause for death in deaths(tmp_path)] == ["exit_code", "not_launched"]
    assert deaths(tmp_path)[1].why == "could not be launched: no such file"


def test_a_death_that_left_a_tree_is_told_once(tmp_path: Path) -> None:
    """One death would be counted twice."""
    keeper = Keeper(tmp_path)
    keeper.round(events.WorkerExited(NAME, Exit(code=1), tree_empty=False, jitter=0.5, pid=PID))
    keeper.round(events.TreeResists(NAME, ("pid 7 (disk-sleep, python3)",)))
    keeper.round(events.TreeEmptied(NAME, 0.5))
    keeper.close()
    assert len(deaths(tmp_path)) == 1
    (resists,) = [e for e in read_history(tmp_path) if e.event == "tree_resists"]
    assert resists.why == "pid 7 (disk-sleep, python3)"


def test_the_next_daemon_goes_on_in_the_same_history(tmp_path: Path) -> None:
    """A restart of the daemon would wipe the answer to why it was needed."""
    Keeper(tmp_path).end(Exit(code=1)).close()
    Keeper(tmp_path).end(Exit(code=2)).close()
    assert [death.exit_code for death in deaths(tmp_path)] == [1, 2]


def test_a_line_cut_short_costs_only_itself(tmp_path: Path) -> None:
    """A crash in the middle of a line would make the whole history, or the next line, unreadable."""
    Keeper(tmp_path).end(Exit(code=1)).close()
    with (tmp_path / HISTORY_NAME).open("ab") as file:
        file.write(b'{"at": "2026-')
    Keeper(tmp_path).end(Exit(code=2)).close()
    assert [death.exit_code for death in deaths(tmp_path)] == [1, 2]


def test_it_never_grows_beyond_two_files_and_keeps_the_newest(tmp_path: Path) -> None:
    """Years of crashes would fill the disk, or the latest ones be missing."""
    keeper = Keeper(tmp_path, limit_bytes=4000)
    for code in range(100):
        if code:
            keeper.launch()
        keeper.end(Exit(code=code))
    keeper.close()
    sizes = [file.stat().st_size for file in tmp_path.iterdir()]
    assert len(sizes) == 2
    assert max(sizes) <= 4000
    kept = [death.exit_code for death in deaths(tmp_path)]
    assert kept == list(range(100))[-len(kept) :]
    assert len(kept) >= 9


def test_a_full_disk_is_said_once_and_heals_nothing_less(tmp_path: Path) -> None:
    """A full disk would stop the daemon's rounds, or flood its log."""
    (tmp_path / HISTORY_NAME).symlink_to("/dev/full")
    keeper = Keeper(tmp_path)
    keeper.end(Exit(code=1)).close()
    assert len(keeper.warnings) == 1
    assert "cannot be written" in keeper.warnings[0]


def test_a_mass_loss_and_its_end_are_in_it(tmp_path: Path) -> None:
    """Nobody could tell afterwards why nobody was replaced for seconds."""
    keeper = Keeper(tmp_path)
    names = [Incarnation(key, 50) for key in range(3)]
    keeper.round(plan=Plan(tuple(Spawn(name.slot, name, "first start") for name in names)))
    everyone = frozenset({NAME, *names})
    keeper.round(events.WorkersListed(everyone, frozenset()))
    keeper.round(events.WorkersListed(frozenset(), frozenset()))
    keeper.round(events.WorkersListed(everyone, frozenset()))
    keeper.close()
    told = [(e.event, e.why) for e in read_history(tmp_path) if e.event.startswith("mass_loss")]
    assert [event for event, _ in told] == ["mass_loss", "mass_loss_over"]
    assert told[0][1].startswith("4 of 4 registrations went missing together")


def test_every_line_names_the_daemon(tmp_path: Path) -> None:
    """Two daemons' stories could not be told apart."""
    Keeper(tmp_path).close()
    assert {entry.daemon_pid for entry in read_history(tmp_path)} == {os.getpid()}


def test_a_disk_that_hangs_holds_no_round_up_and_not_the_end(tmp_path: Path) -> None:
    """A network file system that went away would stop healing."""
    os.mkfifo(tmp_path / HISTORY_NAME)
    reader = os.open(tmp_path / HISTORY_NAME, os.O_RDONLY | os.O_NONBLOCK)
    filler = os.open(tmp_path / HISTORY_NAME, os.O_WRONLY | os.O_NONBLOCK)
    with suppress(BlockingIOError):
        while True:
            os.write(filler, bytes(4096))
    began = time.monotonic()
    keeper = Keeper(tmp_path)
    for _ in range(1000):
        keeper.end(Exit(code=1))
    assert time.monotonic() - began < LAST_MOMENT_S
    keeper.close()
    assert time.monotonic() - began < 3 * LAST_MOMENT_S
    os.close(reader)  # lets the thread go
    os.close(filler)


def test_the_last_words_are_those_of_the_moment(tmp_path: Path) -> None:
    """A slow disk would put the next worker's words into the mouth of the one before."""
    words = ["first"]
    view = View(policy=Policy(), budget=Budget(30.0), now=100.0)
    history = History(tmp_path, 10**6, lambda _slot: words, lambda _slot: "", print)
    for code, word in enumerate(("first", "second")):
        words[:] = [word]
        launch = Plan((Spawn(0, Incarnation(0, code), "start"),))
        ended = events.WorkerExited(Incarnation(0, code), Exit(code=code), True, 0.5, PID)
        for fact in (
            events.Ticked(100.0),
            events.ReplicasSet(1),
            events.Decided(launch),
            events.WorkerSpawned(Incarnation(0, code), PID),
            events.Decided(Plan()),
            ended,
        ):
            evolve(view, fact)
        history((ended,), Plan(), view)
        evolve(view, events.Decided(Plan()))
    history.close()
    assert [list(death.last_output) for death in deaths(tmp_path)] == [["first"], ["second"]]


def test_a_hint_is_kept_with_the_death(tmp_path: Path) -> None:
    """`why` would show the last words of a worker that cannot start, and not what to do."""
    keeper = Keeper(tmp_path)
    keeper.hint = "install it there"
    keeper.end(Exit(code=1)).close()
    assert [death.hint for death in deaths(tmp_path)] == ["install it there"]
