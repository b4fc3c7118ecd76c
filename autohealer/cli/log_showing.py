"""Show what was chosen: what was written so far and, for who follows, what is written from now on.

Theory of operation. Between two rounds it waits for the reader at the other end to go away, a tenth of a second, or
longer where looking at many slots takes long, lest that cost more than some percent of a processor; so
`logs -f | head` ends even where nobody writes any more. Ctrl-C is how following ends, and no mistake.
"""

from __future__ import annotations

import os
import select
import time
from contextlib import suppress

import typer

from autohealer.cli.exit_codes import ExitCode
from autohealer.cli.failing import fail
from autohealer.cli.log_choice import Choice
from autohealer.cli.log_printing import Printer
from autohealer.cli.streams import say
from autohealer.cli.terminal import terminal_at
from autohealer.logprocess.running import raise_descriptor_limit
from autohealer.printable import printable
from autohealer.statedir.files import NotPrivate
from autohealer.workerlogs.following import Following, strands_of
from autohealer.workerlogs.past import SlotName, Strand, Wanted, past_of

PAUSE_S = 0.1
PAUSE_MAX_S = 0.5
PAUSES_PER_LOOK = 30
"""Looking takes so much less time than waiting; so 3 % of a processor at most, until that means the longest wait."""


def show(
    choice: Choice, wanted: Wanted, *, follow: bool, with_times: bool, with_names: bool | None
) -> None:
    """All of it; ends with an exit code where there is nothing to show."""
    for sentence in choice.elsewhere:
        say(f"autohealer: {sentence}")
    if choice.elsewhere and not choice.meant:
        raise typer.Exit(ExitCode.NOT_REACHED)
    raise_descriptor_limit()
    printer = Printer(terminal_at(1, os.environ), with_times=with_times, with_names=with_names)
    try:
        with suppress(KeyboardInterrupt):
            _show(choice, wanted, printer, follow=follow)
    except OSError as error:
        of = "" if isinstance(error, NotPrivate) else f"{error.filename}: "
        fail(ExitCode.ENVIRONMENT, f"what workers wrote cannot be read: {of}{error.strerror}")


def _show(choice: Choice, wanted: Wanted, printer: Printer, *, follow: bool) -> None:
    strands = strands_of(choice.meant, choice.folder_of)
    printer.introduce([strand.name for strand in strands])
    if wanted.since is not None and not all(strand.is_stamped for strand in strands):
        say(
            "autohealer: lines carry no times here (timestamps = true in [output] gives them), so this is all that "
            "is in files that were written to since then"
        )
    has_any = False
    for strand, block in past_of(strands, wanted, is_all=not follow):
        has_any = has_any or bool(block)
        printer.write(strand.name, block, is_stamped=strand.is_stamped)
    printer.flush()
    if not has_any and wanted.lines != 0:
        say(f"autohealer: {_told_of_nothing(wanted, follow=follow)}")
    if follow:
        _follow(choice, wanted, printer, strands)
    printer.end()


def _follow(choice: Choice, wanted: Wanted, printer: Printer, strands: list[Strand]) -> None:
    following = Following(strands, choice.meant_now, choice.folder_of)
    reader = select.poll()
    reader.register(1, 0)
    told: set[SlotName] = set()
    while True:
        begun_s, is_quiet = time.thread_time(), True
        for news in following.round():
            is_quiet = False
            printer.introduce(following.names)
            strand = news.strand
            if news.is_lost and strand.name not in told:
                told.add(strand.name)
                say(_told_of_loss(strand.name))
            block = strand.found_in(news.block, wanted.pattern)
            printer.write(strand.name, block, is_stamped=strand.is_stamped)
        printer.flush()
        cost_s = time.thread_time() - begun_s
        pause_s = min(PAUSE_MAX_S, max(PAUSE_S, PAUSES_PER_LOOK * cost_s)) if is_quiet else 0.0
        if reader.poll(1000 * pause_s):
            return


def _told_of_nothing(wanted: Wanted, *, follow: bool) -> str:
    if wanted.pattern is not None or wanted.since is not None:
        return "no such line was written so far"
    return "nothing was written yet" + (", waiting" if follow else "")


def _told_of_loss(name: SlotName) -> str:
    return (
        f"autohealer: {printable(name.group)}/{name.slot}: lines were cut away before they could be read; "
        "max_size and keep in [output] say how many are kept"
    )
