"""`python -m autohealer.zkserver --data-dir DIR`: the embedded server in the foreground.

Must never know: anything but the names of the options.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields
from pathlib import Path

from autohealer.zkserver.server import serve
from autohealer.zkserver.settings import LIMITS, ServerSettings

_DEFAULT = "default %(default)s"


def main(arguments: list[str] | None = None) -> int:
    """Run the server; returns the exit code (see `server.serve`)."""
    parser = argparse.ArgumentParser(
        prog="python -m autohealer.zkserver",
        description="An embedded single-node ZooKeeper server for one machine: development, tests, "
        "single-host use. Not for more than one machine: no replication, no TLS.",
    )
    parser.add_argument(
        "--data-dir", type=Path, required=True, help="where the journal lives; one server each"
    )
    parser.add_argument("--log", type=Path, help="log to this file; beyond 1 MiB one older is kept")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; " + _DEFAULT)
    parser.add_argument("--port", type=int, default=2181, help="port to listen on; " + _DEFAULT)
    parser.add_argument(
        "--open-to-all",
        action="store_true",
        help="serve every user of this machine and whoever else can connect, not only this user and root",
    )
    parser.add_argument("--tick-ms", type=int, default=500, help="granularity of session expiry")
    parser.add_argument("--fsync", action="store_true", help="survive power cuts, slowly")
    limits = parser.add_argument_group(
        "limits", "what goes beyond is refused with an error or closed; README.md says which"
    )
    defaults = {setting.name: setting.default for setting in fields(ServerSettings)}
    for name in LIMITS:
        option = f"--{name.replace('_', '-')}"
        limits.add_argument(option, type=int, metavar="N", default=defaults[name], help=_DEFAULT)
    given = parser.parse_args(arguments)
    try:
        settings = ServerSettings(
            data_dir=given.data_dir,
            log=given.log,
            host=given.host,
            port=given.port,
            open_to_all=given.open_to_all,
            tick_ms=given.tick_ms,
            fsync=given.fsync,
            **{name: getattr(given, name) for name in LIMITS},
        )
    except ValueError as error:
        parser.error(str(error))
    return serve(settings)


if __name__ == "__main__":
    sys.exit(main())
