"""One question to one worker, once: by HTTP, by a connection, or by a command run beside it.

Must never know: how often it is asked, what follows from the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, assert_never

from autohealer.core.model import Incarnation
from autohealer.healthspec import ExecTarget, HttpTarget, ProbeTarget, TcpTarget, filled
from autohealer.printable import printable
from autohealer.probes.answers import WELL, Answer, CouldNotAsk, failed, raise_if_ours
from autohealer.probes.connecting import connected
from autohealer.probes.http import ask_http, in_words

LINE_CHARS_MAX = 200
LATE_S = 0.5
"""Who notices the end of a timeout so late was not there to hear an answer."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of a command: how it ended, and the last line of what it wrote."""

    code: int | None = None
    signal: int | None = None
    last_line: str = ""


class Commands(Protocol):
    """Runs commands as a worker is run, beside it."""

    async def run(self, name: Incarnation, argv: tuple[str, ...]) -> Ran:
        """Until it ends; cancelled, it is killed with all that it started. Raises `OSError` where it cannot be run."""


async def ask(
    target: ProbeTarget,
    name: Incarnation,
    values: Mapping[str, str],
    timeout_s: float,
    commands: Commands,
) -> Answer:
    """The answer of a worker, or that there was none in time. Raises `CouldNotAsk`."""
    told = dict(values)
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        async with asyncio.timeout(timeout_s):
            match target:
                case HttpTarget(url):
                    return await ask_http(filled(url, told))
                case TcpTarget(address):
                    return await _ask_tcp(filled(address, told))
                case ExecTarget(argv):
                    return await _ask_command(
                        tuple(filled(word, told) for word in argv), name, commands
                    )
                case _:
                    assert_never(target)
    except TimeoutError:
        if loop.time() - began > timeout_s + LATE_S:
            raise CouldNotAsk("this daemon was stopped, or busy") from None
        return failed(f"{_in_words(target, told)} did not answer within {timeout_s:g} s")


def _in_words(target: ProbeTarget, values: dict[str, str]) -> str:
    match target:
        case HttpTarget(url):
            return f"GET {printable(filled(url, values)[:LINE_CHARS_MAX])}"
        case TcpTarget(address):
            return f"a connection to {printable(filled(address, values))}"
        case ExecTarget(argv):
            return printable(filled(argv[0], values))
        case _:
            assert_never(target)


async def _ask_tcp(address: str) -> Answer:
    host, _, port = address.rpartition(":")
    try:
        connection = await connected(host.strip("[]"), int(port))
    except (OSError, ValueError, OverflowError) as error:
        raise_if_ours(error)
        return failed(f"a connection to {printable(address)}: {in_words(error)}")
    connection.close()
    return WELL


async def _ask_command(argv: tuple[str, ...], name: Incarnation, commands: Commands) -> Answer:
    try:
        ran = await commands.run(name, argv)
    except OSError as error:
        raise_if_ours(error)
        return failed(f"{printable(argv[0])} could not be run: {in_words(error)}")
    if ran.code == 0:
        return WELL
    program = printable(argv[0])
    said = f": {printable(ran.last_line[:LINE_CHARS_MAX])}" if ran.last_line else ""
    if ran.signal is not None:
        return failed(f"{program} was ended by signal {ran.signal}{said}")
    return failed(f"{program} exited with code {ran.code}{said}")
