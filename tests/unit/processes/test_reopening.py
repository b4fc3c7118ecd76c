"""Whether a program opens its own output anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from autohealer.processes.reopening import sign_of_reopening


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("#!/bin/sh\necho bad > /dev/stderr\n", "/dev/stderr"),
        ('open("/dev/stdout", "w").write("x")\n', "/dev/stdout"),
        ("#!/bin/sh\necho bad >&2\n", ""),
    ],
)
def test_a_script_that_names_its_output_is_known(tmp_path: Path, text: str, named: str) -> None:
    """Such a script would empty its log with each line."""
    script = tmp_path / "script"
    script.write_text(text)
    sign = sign_of_reopening(("/bin/sh", str(script)))
    assert sign == (f"{script} names {named}" if named else "")


def test_a_script_that_runs_one_is_known(tmp_path: Path) -> None:
    """A wrapper would hide it."""
    (tmp_path / "inner.sh").write_text("echo bad > /dev/stderr\n")
    (tmp_path / "outer.sh").write_text("exec sh ./inner.sh\n")
    sign = sign_of_reopening(("/bin/sh", str(tmp_path / "outer.sh")))
    assert sign == f"{tmp_path / 'inner.sh'} names /dev/stderr"


def test_the_command_itself_is_looked_at() -> None:
    """`sh -c` with such a line has no file that names anything."""
    command = ("/bin/sh", "-c", "echo bad > /dev/stderr")
    assert sign_of_reopening(command) == "its command names /dev/stderr"


def test_a_binary_that_knows_the_name_is_no_sign(tmp_path: Path) -> None:
    """Every shell knows it: all groups would have a log process."""
    binary = tmp_path / "binary"
    binary.write_bytes(b"\x7fELF\0/dev/stderr\0")
    assert sign_of_reopening((str(binary),)) == ""
