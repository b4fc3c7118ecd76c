"""Run the daemon in this process, its log on standard output; what keeps it from starting becomes an exit code."""

from __future__ import annotations

import os
import sys

from autohealer.assembly.daemon import run_daemon
from autohealer.assembly.errors import PlatformError, StateDirError, WorkersFailed, ZooKeeperError
from autohealer.cli.exit_codes import ExitCode
from autohealer.cli.failing import fail
from autohealer.cli.progress import LogScreen
from autohealer.coordination.session import ZooKeeperUnreachable
from autohealer.settings import DaemonSettings
from autohealer.statedir.lock import AlreadyRunning
from autohealer.telemetry.formats import LogFormat
from autohealer.telemetry.logs import configure, line_about_missing


def keep(settings: DaemonSettings, log_format: LogFormat) -> None:
    """Until told to stop."""
    screen = LogScreen(1, sys.stdout.encoding, os.environ, line_about_missing)
    logger = configure(
        log_format,
        screen.log,
        on_terminal=screen.terminal.is_terminal,
        colors=screen.terminal.has_colors,
    )
    try:
        run_daemon(settings, logger, [screen], screen.redraw)
    except (ZooKeeperError, ZooKeeperUnreachable) as error:
        fail(ExitCode.ZOOKEEPER, error)
    except AlreadyRunning as error:
        fail(ExitCode.ALREADY_RUNNING, error)
    except WorkersFailed as error:
        fail(ExitCode.NOT_REACHED, error)
    except (PlatformError, StateDirError) as error:
        fail(ExitCode.ENVIRONMENT, error)
    finally:
        screen.close()
