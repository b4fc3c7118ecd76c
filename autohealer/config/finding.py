"""Which configuration file is meant where none is named."""

from __future__ import annotations

from pathlib import Path

from autohealer.config.mistakes import ConfigError, Mistake, Place

NAME = "autohealer.toml"
SYSTEM_FILE = Path("/etc/autohealer") / NAME


def find(named: Path | None) -> Path:
    """The file that was named, else the one in the current folder, else the system's.

    Raises:
        ConfigError: there is neither of the last two.
    """
    if named is not None:
        return named
    for path in (Path(NAME), SYSTEM_FILE):
        if _may_be_there(path):
            return path
    sentence = (
        f"no such file here, and no {SYSTEM_FILE} either: write one by `autohealer init`, "
        "or name one with -c FILE"
    )
    raise ConfigError((Mistake(Place(f"./{NAME}"), (), sentence),))


def _may_be_there(path: Path) -> bool:
    """Whether there is something by that name; reading it says why it cannot be."""
    try:
        return path.exists()
    except OSError:
        return True
