"""Exec a program into a session of its own, so that it survives the daemon.

It starts with every signal at its default and none blocked, whatever the daemon ignores or was started with: how
a worker takes a signal must not depend on `nohup`, on a shell's `&`, or on Python.

Theory of operation. The C library's `posix_spawn` returns once the child has exec'd, which takes tens of milliseconds
on a busy machine. Python's own keeps its global lock until then; called through ctypes the C library's does not, so
other threads run on meanwhile.

Limits: what the C library makes of a spawn is opaque to us; glibc's and musl's take less than `_OPAQUE_BYTES` each.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Iterable, Mapping, Sequence

_ALL_SIGNALS = tuple(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
_OPAQUE_BYTES = 512
"""glibc's attributes take 336 bytes, its file actions 80, a set of signals 128."""
_SETSIGDEF, _SETSIGMASK, _SETSID = 0x04, 0x08, 0x80

_libc = ctypes.CDLL(None)


def spawn_detached(
    argv: Sequence[str],
    environment: Mapping[str, str],
    output: int,
    directory: str = "",
    also: Iterable[bytes] = (),
) -> int:
    """Launch `argv` in a directory with its output going to the descriptor `output`, which is closed here; its pid.

    Holds up the calling thread alone. `also` are more variables, as `in_bytes` has them. `directory` is an absolute
    path; "" is where the daemon is.

    Raises:
        OSError: it could not be exec'd, or the system is out of something.
    """
    pid = ctypes.c_int()
    actions = ctypes.create_string_buffer(_OPAQUE_BYTES)
    _check(_libc.posix_spawn_file_actions_init(actions))
    try:
        _check(
            _libc.posix_spawn_file_actions_addopen(
                actions, 0, os.devnull.encode(), os.O_RDONLY, ctypes.c_uint(0)
            )
        )
        if directory:
            add_chdir = _libc.posix_spawn_file_actions_addchdir_np
            _check(add_chdir(actions, os.fsencode(directory)))
        for target in (1, 2):
            _check(_libc.posix_spawn_file_actions_adddup2(actions, output, target))
        error = _libc.posix_spawn(
            ctypes.byref(pid),
            os.fsencode(argv[0]),
            actions,
            _ATTRIBUTES,
            _strings(map(os.fsencode, argv)),
            _strings((*also, *in_bytes(environment))),
        )
        if error:
            raise OSError(error, os.strerror(error), _missing(argv[0], directory))
    finally:
        _libc.posix_spawn_file_actions_destroy(actions)
        os.close(output)
    return pid.value


def _missing(program: str, directory: str) -> str:
    """What an exec that failed is about: it does not say whether it was the folder or the program."""
    return directory if directory and not os.access(directory, os.X_OK) else program


def in_bytes(environment: Mapping[str, str]) -> list[bytes]:
    """Variables as an exec takes them, for who does not want to make them each time."""
    return [os.fsencode(f"{name}={value}") for name, value in environment.items()]


def _strings(words: Iterable[bytes]) -> ctypes.Array[ctypes.c_char_p]:
    """A C array of strings, ended by NULL."""
    ended = (*words, None)
    return (ctypes.c_char_p * len(ended))(*ended)


def _check(error: int) -> None:
    if error:
        raise OSError(error, os.strerror(error))


def _attributes() -> ctypes.Array[ctypes.c_char]:
    """A session of its own, all signals at their default, none blocked."""
    attributes = ctypes.create_string_buffer(_OPAQUE_BYTES)
    signals = ctypes.create_string_buffer(_OPAQUE_BYTES)
    _check(_libc.posix_spawnattr_init(attributes))
    flags = ctypes.c_short(_SETSIGDEF | _SETSIGMASK | _SETSID)
    _check(_libc.posix_spawnattr_setflags(attributes, flags))
    _libc.sigemptyset(signals)
    _check(_libc.posix_spawnattr_setsigmask(attributes, signals))
    for number in _ALL_SIGNALS:
        _libc.sigaddset(signals, int(number))
    _check(_libc.posix_spawnattr_setsigdefault(attributes, signals))
    return attributes


_ATTRIBUTES = _attributes()
