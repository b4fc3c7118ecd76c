"""What goes wrong is said in one line, whatever the names in it are."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from autohealer.cli.streams import say


def test_a_sentence_is_one_harmless_line(capfd: pytest.CaptureFixture[str]) -> None:
    """A folder's name could clear the screen, or forge a second sentence of ours."""
    say("autohealer: größer /tmp/\x1b[2J\r\nautohealer: all is well\x9b\u202e\udcff")
    said = capfd.readouterr().err
    assert said == (
        "autohealer: größer /tmp/\\x1b[2J\\r\\nautohealer: all is well\\x9b\\u202e\\udcff\n"
    )


@pytest.mark.parametrize(
    "fault",
    ["raise RuntimeError(evil)", "print(evil, file=sys.stderr)", "warnings.warn(evil)"],
)
def test_standard_error_obeys_nobody(fault: str) -> None:
    """A traceback, a warning or the parser's complaint could carry what `say` keeps away."""
    script = (
        "import sys, warnings; from autohealer.cli.streams import mend_streams; mend_streams(); "
        r"evil = 'größer \x1b]0;owned\x07 \x9b2J \udcff'; " + fault
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        timeout=60,
        check=False,
        env=dict(os.environ) | {"PYTHONUTF8": "1"},
    )
    said = done.stderr.decode()
    assert r"größer \x1b]0;owned\x07 \x9b2J \udcff" in said
    assert not {"\x1b", "\x07", "\x9b", "\r"} & set(said)
    assert said.endswith("\n")
