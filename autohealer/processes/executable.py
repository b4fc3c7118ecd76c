"""Say why the kernel could not run a file, before it is asked to, in words that name the file and the mistake.

Theory of operation. The kernel looks at the first bytes: a binary it knows, or `#!` and an interpreter. It answers
"No such file or directory" also when the file is there and its interpreter is not, and "Exec format error" to a
script without `#!`: true of something, and misleading about what.

Must never know: what runs a program, or when. Limits: a binary is taken as good, since the kernel may have been taught
more formats than we know; what `env` does with options other than `-S` is left to it.
"""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

HEAD_BYTES = 256
"""As much as the kernel looks at."""

_ABOUT_THE_FILE = frozenset({errno.ENOENT, errno.EACCES, errno.ENOEXEC})
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def why_not_runnable(path: Path) -> str | None:
    """What keeps the kernel from running a file, as the end of a sentence about it; None when nothing is seen.

    Raises:
        OSError: it cannot be read.
    """
    if not os.access(path, os.X_OK, effective_ids=True):
        return _why_forbidden(path)
    head = _head_of(path)
    if not head:
        return "is empty: nothing could run it"
    if head.startswith(b"#!"):
        return _why_not_interpreted(path, head)
    if b"\0" in head:
        return None
    if head.startswith(_BYTE_ORDER_MARK + b"#!"):
        return (
            "begins with a byte order mark, which hides its #! line: save it as UTF-8 without one"
        )
    return (
        "has no #! line, so nothing says what is to run it: begin it with one, such as #!/bin/sh, "
        "or give the interpreter as the program"
    )


def why_launch_failed(program: str, error: OSError) -> str:
    """Why a program that was to be run was not, told of what is wrong with it as far as that can be seen."""
    if error.errno not in _ABOUT_THE_FILE or error.filename != program:
        return f"{program}: {error.strerror}"
    try:
        trouble = why_not_runnable(Path(program))
    except OSError as unreadable:
        return f"{program}: {unreadable.strerror}"
    if trouble is None and error.errno == errno.ENOENT:
        trouble = "is there, but not what is to load it: it was built for another system"
    return f"{program} {trouble}" if trouble else f"{program}: {error.strerror}"


def interpreter_of(path: Path) -> str | None:
    """The program that a script's `#!` line names, looked up on PATH where it asks `env`; None without one.

    Raises:
        OSError: it cannot be read.
    """
    interpreter, _, rest = _line_of(_head_of(path)).partition(" ")
    return shutil.which(_asked_of_env(rest)) if _is_env(interpreter) else interpreter or None


def interpreter_named_in(path: Path) -> str | None:
    """The program that a script's `#!` line names by its path; None where it asks `env`, and without one.

    Raises:
        OSError: it cannot be read.
    """
    interpreter, _, _ = _line_of(_head_of(path)).partition(" ")
    return None if _is_env(interpreter) else interpreter or None


def _why_forbidden(path: Path) -> str:
    if path.stat().st_mode & 0o111 == 0:
        return "is not executable: chmod +x it, or give the interpreter as the program"
    if os.statvfs(path).f_flag & os.ST_NOEXEC:
        return "lies on a file system mounted noexec: give the interpreter as the program"
    return "may not be executed by this user: check its permissions"


def _why_not_interpreted(path: Path, head: bytes) -> str | None:
    line = _line_of(head)
    if line.endswith("\r"):
        return (
            f"has Windows line endings, so its #! line asks for {line.rpartition('/')[2]!r} with a carriage return: "
            f"convert it (sed -i 's/\\r$//' {path})"
        )
    interpreter, _, rest = line.partition(" ")
    if not interpreter:
        return "names no interpreter in its #! line"
    if trouble := _why_no_interpreter(interpreter):
        return (
            f"names {interpreter} in its #! line, which {trouble}: correct that line, "
            "or give the interpreter as the program"
        )
    return _why_env_fails(rest) if _is_env(interpreter) else None


def _why_no_interpreter(interpreter: str) -> str | None:
    if not interpreter.startswith("/"):
        return "is not an absolute path"
    if not os.path.exists(interpreter):  # noqa: PTH110 - false, where pathlib would raise
        return "does not exist"
    if Path(interpreter).is_dir():
        return "is a folder"
    if not os.access(interpreter, os.X_OK, effective_ids=True):
        return "is not executable"
    return None


def _why_env_fails(rest: str) -> str | None:
    wanted = _asked_of_env(rest)
    if not wanted or shutil.which(wanted):
        return None
    if rest == wanted and " " in wanted:
        return f"asks env in its #! line for a program called {wanted!r}, blanks included: write env -S {wanted}"
    return f"asks env in its #! line for {wanted!r}, which is not on PATH"


def _asked_of_env(rest: str) -> str:
    """What `env` is to look for: all of its one argument, or the first word behind `-S`; "" where it is not clear."""
    if not rest.startswith("-"):
        return rest
    if not rest.startswith("-S"):
        return ""
    words = rest.removeprefix("-S").split()
    return words[0] if words and words[0][0] != "-" and "=" not in words[0] else ""


def _is_env(interpreter: str) -> bool:
    return interpreter.rpartition("/")[2] == "env"


def _head_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)


def _line_of(head: bytes) -> str:
    """What stands behind `#!`, blanks as the kernel takes them: one between the interpreter and its one argument."""
    if not head.startswith(b"#!"):
        return ""
    line = os.fsdecode(head[2:].partition(b"\n")[0]).replace("\t", " ").strip(" ")
    interpreter, _, rest = line.partition(" ")
    return f"{interpreter} {rest.strip(' ')}".strip(" ")
