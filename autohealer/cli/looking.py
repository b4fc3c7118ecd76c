"""Which state directory a command looks in that starts nothing: this user's own, or that of the system service.

What somebody asks for without naming a directory is whatever runs. So this user's own counts where a daemon of it
lives; where none does and the service's does, that one; where neither lives, the first in which anything ever ran.
"""

from __future__ import annotations

import os
from pathlib import Path

from autohealer.cli.daemons import Refused, group_names, keeps_anything
from autohealer.cli.options import state_dir_of

SERVICE_STATE_DIR = Path("/var/lib/autohealer")
"""`StateDirectory=` of the unit."""


def state_dir_to_look_in(given: Path | None) -> Path:
    """The one that was given, or the one that is meant."""
    own = state_dir_of(given)
    return own if given is not None else the_one_meant(own, SERVICE_STATE_DIR)


def the_one_meant(own: Path, of_service: Path) -> Path:
    """One of two; the first unless only the other can be meant."""
    if own == of_service or not os.access(of_service, os.R_OK | os.X_OK):
        return own
    try:
        if keeps_anything(own):
            return own
        is_meant = keeps_anything(of_service) or (group_names(of_service) and not group_names(own))
    except Refused:
        return own  # said by whoever looks into it
    return of_service if is_meant else own
