"""A configuration file becomes the settings of a daemon, or a list of everything that is wrong with it."""

from autohealer.config.finding import find
from autohealer.config.mistakes import ConfigError
from autohealer.config.reading import read

__all__ = ["ConfigError", "find", "read"]
