"""What a group wants of its output, and whether this machine has what that needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from autohealer.config.unsaid import NOTHING, Unsaid
from autohealer.config.wishes import Wish
from autohealer.logprocess.layout import JOURNAL
from autohealer.outputspec import OutputSpec, OutputTo

if TYPE_CHECKING:
    from autohealer.config.form import Output

OUTPUT_BYTES_MIN = 4096

_NOT_TAKEN = {
    OutputTo.STDOUT: {"max_size", "keep"},
    OutputTo.JOURNALD: {"max_size", "keep", "timestamps"},
    OutputTo.NULL: {"max_size", "keep", "timestamps"},
}
"""Keys that mean nothing there."""


def output_of(wish: Wish) -> OutputSpec:
    """What becomes of a group's output; what cannot be is noted."""
    form = wish.form.output or NOTHING
    to = None if form.to is None else OutputTo(form.to)
    if form.max_size is not None and form.max_size < OUTPUT_BYTES_MIN:
        wish.note(
            f"too small to be of use: at least {OUTPUT_BYTES_MIN} bytes", "output", "max_size"
        )
    if to is OutputTo.JOURNALD and not Path(JOURNAL).is_socket():
        sentence = f"there is no journal on this machine ({JOURNAL}): write to a file, or to stdout"
        wish.note(sentence, "output", "to")
    for key in sorted(_NOT_TAKEN.get(to, set()) if to is not None else ()):
        # What the defaults say of files means nothing here and is no mistake.
        if wish.source_of("output", key).says(("output", "to")) and _is_said(form, key):
            wish.note(f"this is for files, and output goes to {form.to}", "output", key)
    plain = OutputSpec()
    return OutputSpec(
        to,
        plain.max_bytes if form.max_size is None else int(form.max_size),
        plain.keep if form.keep is None else form.keep,
        bool(form.timestamps),
    )


def _is_said(form: Output | Unsaid, key: str) -> bool:
    return getattr(form, key) is not None
