"""A configuration file becomes the settings of a daemon, or a list of everything that is wrong with it.

What reads files is imported when it is asked for: a command line without options needs nothing of it.
"""

from typing import TYPE_CHECKING

from autohealer.config.mistakes import ConfigError

if TYPE_CHECKING:
    from autohealer.config.finding import find
    from autohealer.config.reading import read

__all__ = ["ConfigError", "find", "read"]


def __getattr__(name: str) -> object:
    match name:
        case "find":
            from autohealer.config.finding import find

            return find
        case "read":
            from autohealer.config.reading import read

            return read
        case _:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
