"""Who may import whom: the rooms of the architecture and their doors."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.tidy.source import Source, imports_of, is_below, source_of, within

pytestmark = pytest.mark.xdist_group("the source, parsed once")

CORE = "autohealer.core"
CONTRACT = "autohealer.contract"
DAEMON = "autohealer.daemon"
PORTS = "autohealer.daemon.ports"
SETTINGS = "autohealer.settings"
LAUNCH_SPEC = "autohealer.launchspec"
OUTPUT_SPEC = "autohealer.outputspec"
LOG_LAYOUT = "autohealer.logprocess.layout"
"""Where the log process takes from; what the daemon's side of a pipe has to know."""
HEALTH_SPEC = "autohealer.healthspec"
STATE_DIR = "autohealer.statedir"
"""How files and folders are opened safely; standard library only, so every adapter may."""
PRINTABLE = "autohealer.printable"
"""How others' words are shown; standard library only, so every adapter may."""
KAZOO_CLIENT = "autohealer.zkclient"
"""How both the daemon and every worker set up kazoo; part of the contract in all but name."""
CREDENTIALS = "autohealer.credentials"
"""What both show to a ZooKeeper that wants to know who asks; part of the contract in all but name, too."""
TLS = "autohealer.zktls"
KAZOO_GUARD = "autohealer.zkguard"
"""Whom both trust."""
SOCKET_OWNERS = "autohealer.zkserver.endpoints"
"""Whose a socket is; standard library only, and part of the server because that can be lifted out."""
PATIENCE = "autohealer.patience"
"""How long it waits for a server."""

DOORS: dict[str, tuple[str, ...]] = {
    "autohealer/core": (CORE,),
    "autohealer/contract.py": (),
    "autohealer/printable.py": (),
    "autohealer/credentials.py": (CONTRACT,),
    "autohealer/patience.py": (),
    "autohealer/zktls.py": (CREDENTIALS,),
    "autohealer/zkclient.py": (CREDENTIALS, PATIENCE, TLS),
    "autohealer/zkguard.py": (SOCKET_OWNERS, CONTRACT),
    "autohealer/launchspec.py": (f"{CORE}.policy",),
    "autohealer/healthspec.py": (f"{CORE}.health",),
    "autohealer/settings.py": (
        *(f"{CORE}.policy", f"{CORE}.health", CONTRACT, CREDENTIALS, TLS),
        *(LAUNCH_SPEC, OUTPUT_SPEC, HEALTH_SPEC),
    ),
    "autohealer/statedir": (STATE_DIR,),
    "autohealer/logprocess": (STATE_DIR, "autohealer.logprocess"),
    "autohealer/outputspec.py": (),
    "autohealer/workerlogs": (STATE_DIR, OUTPUT_SPEC, LOG_LAYOUT, "autohealer.workerlogs"),
    "autohealer/daemon": (CORE, CONTRACT, DAEMON),
    "autohealer/processes": (
        *(CORE, CONTRACT, LAUNCH_SPEC, HEALTH_SPEC, PORTS, STATE_DIR, PRINTABLE, SOCKET_OWNERS),
        LOG_LAYOUT,
        "autohealer.processes",
    ),
    "autohealer/coordination": (
        *(CORE, CONTRACT, PORTS, KAZOO_CLIENT, KAZOO_GUARD, CREDENTIALS, PRINTABLE),
        *(SOCKET_OWNERS, "autohealer.coordination"),
    ),
    "autohealer/embedded": (STATE_DIR, PRINTABLE, SOCKET_OWNERS, "autohealer.embedded"),
    "autohealer/probes": (CORE, HEALTH_SPEC, PORTS, PRINTABLE, STATE_DIR, "autohealer.probes"),
    "autohealer/telemetry": (
        *(CORE, CONTRACT, PORTS, STATE_DIR, PRINTABLE),
        "autohealer.telemetry",
    ),
    "autohealer/control": (
        *(CORE, CONTRACT, PORTS, STATE_DIR, PRINTABLE),
        "autohealer.control",
    ),
    "autohealer/registering.py": (f"{CORE}.policy", "autohealer.processes.registering"),
    "autohealer/config": (
        *(CONTRACT, f"{CORE}.policy", SETTINGS, CREDENTIALS, PRINTABLE),
        *(LAUNCH_SPEC, OUTPUT_SPEC, HEALTH_SPEC, LOG_LAYOUT),
        *("autohealer.registering", "autohealer.processes.program"),
        "autohealer.config",
    ),
    "autohealer/worker": (
        *(CONTRACT, KAZOO_CLIENT, KAZOO_GUARD, CREDENTIALS),
        "autohealer.worker",
    ),
    "autohealer/zkserver": ("autohealer.zkserver",),
    "flaky_worker": ("autohealer.worker", CONTRACT, "flaky_worker"),
}
"""What of the project each room may import."""

ROOMS_OF_LIBRARIES: dict[str, tuple[str, ...]] = {
    "kazoo": (
        *("autohealer/coordination", "autohealer/worker"),
        *("autohealer/zkclient.py", "autohealer/zkguard.py", "autohealer/patience.py"),
    ),
    "psutil": ("autohealer/processes",),
    "typer": ("autohealer/cli",),
    "click": ("autohealer/cli",),
    "rich": ("autohealer/cli",),
    "structlog": ("autohealer/telemetry", "autohealer/assembly"),
    "aiohttp": ("autohealer/control", "autohealer/probes"),
    "pydantic": ("autohealer/control", "autohealer/config"),
    "pydantic_core": ("autohealer/config",),
    "tree_sitter": ("autohealer/config/positions.py",),
    "tree_sitter_toml": ("autohealer/config/positions.py",),
    "durationpy": ("autohealer/config/units.py",),
    "dotenv": ("autohealer/config/environment.py",),
}
"""Where each library may be imported; `assembly` names structlog's types only."""

PURE_PARTS = {
    "autohealer/core": CORE,
    "autohealer/embedded/facts.py": "autohealer.embedded.facts",
    "autohealer/embedded/decider.py": "autohealer.embedded.facts",
}
"""What decides and does nothing else, and what of the project it may import."""

PURE = (
    "__future__",
    "collections",
    "dataclasses",
    "enum",
    "heapq",
    "itertools",
    "signal.Signals",
    "typing",
)
"""The parts of the standard library that neither wait, nor look at the world, nor draw lots."""


def doors_broken(source: Source, allowed: tuple[str, ...]) -> Iterator[str]:
    """Imports from rooms of the project that are closed to a module."""
    for name in imports_of(source):
        of_project = is_below(name, "autohealer") or is_below(name, "flaky_worker")
        if of_project and not any(is_below(name, door) for door in allowed):
            yield f"{source.path} imports {name}"


def libraries_astray(source: Source) -> Iterator[str]:
    """Imports of a library outside its room."""
    for name in imports_of(source):
        rooms = ROOMS_OF_LIBRARIES.get(name.split(".")[0])
        if rooms is not None and not _is_in(source, rooms):
            yield f"{source.path} imports {name}"


def impurities(source: Source, own: str = CORE) -> Iterator[str]:
    """Imports of a pure part that could wait, look at the world or draw lots."""
    for name in imports_of(source):
        if is_below(name, "typing.Any"):
            yield f"{source.path} imports Any"
        elif not any(is_below(name, pure) for pure in (*PURE, own)):
            yield f"{source.path} imports {name}"


def _is_in(source: Source, rooms: tuple[str, ...]) -> bool:
    return any(source.path == room or source.path.startswith(f"{room}/") for room in rooms)


@pytest.mark.parametrize("room", DOORS)
def test_imports_go_one_way(room: str) -> None:
    """A change in one part of the program would break another that should not know of it."""
    found = [line for source in within(room) for line in doors_broken(source, DOORS[room])]
    assert found == []


def test_nobody_imports_the_command_line_but_itself() -> None:
    """The daemon could not be used without a terminal."""
    found = [
        f"{source.path} imports {name}"
        for source in within("autohealer")
        if not _is_in(source, ("autohealer/cli", "autohealer/__main__.py"))
        for name in imports_of(source)
        if is_below(name, "autohealer.cli")
    ]
    assert found == []


def test_only_the_command_line_imports_the_assembly() -> None:
    """The composition root would become part of what it composes."""
    found = [
        f"{source.path} imports {name}"
        for source in within("autohealer")
        if not _is_in(source, ("autohealer/cli", "autohealer/assembly"))
        for name in imports_of(source)
        if is_below(name, "autohealer.assembly")
    ]
    assert found == []


def test_only_the_command_line_and_the_assembly_read_configurations() -> None:
    """What keeps workers alive would depend on what a file looks like, and every command wait for its libraries."""
    found = [
        f"{source.path} imports {name}"
        for source in within("autohealer")
        if not _is_in(source, ("autohealer/cli", "autohealer/assembly", "autohealer/config"))
        for name in imports_of(source)
        if is_below(name, "autohealer.config")
    ]
    assert found == []


def test_each_library_stays_in_its_room() -> None:
    """Replacing a library would touch the whole program; the SDK would need more than kazoo."""
    found = [line for s in within("autohealer", "flaky_worker") for line in libraries_astray(s)]
    assert found == []


@pytest.mark.parametrize("part", PURE_PARTS)
def test_what_decides_is_pure(part: str) -> None:
    """A decision could wait, or come out differently from the same facts."""
    sources = within(part)
    assert sources
    found = [line for source in sources for line in impurities(source, PURE_PARTS[part])]
    assert found == []


@pytest.mark.parametrize(
    ("path", "text", "room"),
    [
        ("autohealer/core/x.py", "from autohealer import contract", "autohealer/core"),
        ("autohealer/core/x.py", "from ..daemon import ports", "autohealer/core"),
        (
            "autohealer/processes/x.py",
            "import autohealer.coordination.session",
            "autohealer/processes",
        ),
        ("autohealer/processes/x.py", "from autohealer.daemon import loop", "autohealer/processes"),
        (
            "autohealer/zkserver/x.py",
            "from autohealer.contract import RecordError",
            "autohealer/zkserver",
        ),
        (
            "autohealer/worker/x.py",
            "def f():\n    from autohealer.core import model",
            "autohealer/worker",
        ),
        ("flaky_worker/x.py", "from autohealer import core", "flaky_worker"),
        ("autohealer/settings.py", "from autohealer.core import evolve", "autohealer/settings.py"),
    ],
)
def test_a_closed_door_is_noticed(path: str, text: str, room: str) -> None:
    """The check of the doors would pass whatever is imported."""
    assert len(list(doors_broken(source_of(path, text), DOORS[room]))) == 1


@pytest.mark.parametrize(
    ("path", "text", "room"),
    [
        ("autohealer/core/x.py", "from . import model", "autohealer/core"),
        (
            "autohealer/processes/x.py",
            "from autohealer.daemon.ports import Post",
            "autohealer/processes",
        ),
        ("flaky_worker/x.py", "from autohealer.worker import run", "flaky_worker"),
    ],
)
def test_an_open_door_is_open(path: str, text: str, room: str) -> None:
    """The check of the doors would object to everything."""
    assert list(doors_broken(source_of(path, text), DOORS[room])) == []


@pytest.mark.parametrize("library", ROOMS_OF_LIBRARIES)
def test_a_library_astray_is_noticed(library: str) -> None:
    """The check of the libraries would pass wherever they are used."""
    for text in (f"import {library}", f"def f():\n    from {library} import x"):
        assert len(list(libraries_astray(source_of("autohealer/settings.py", text)))) == 1


@pytest.mark.parametrize(
    "text",
    [
        "import asyncio",
        "import time",
        "from os import environ",
        "import random",
        "import logging",
        "import socket",
        "import threading",
        "import signal",
        "from typing import Any",
        "import json",
    ],
)
def test_an_impurity_is_noticed(text: str) -> None:
    """The check of purity would pass a core that waits or looks at the clock."""
    assert len(list(impurities(source_of("autohealer/core/x.py", text)))) == 1
