"""One daemon per folder, also when the folder is removed under it; it notices, and makes everything anew."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from autohealer.statedir.hold import Hold
from autohealer.statedir.lock import AlreadyRunning, Holder, hold_name, holder_of, name_of
from tests.support.require import require

ME = Holder(os.getpid(), 123, "boot")
LOCK = "groups/web/lock"


@contextmanager
def held(base: Path) -> Iterator[Hold]:
    """A group held as a daemon holds it."""
    hold = Hold(base, "web", ME)
    try:
        yield hold
    finally:
        hold.close()


def test_the_lock_says_who_holds_it(tmp_path: Path) -> None:
    """Nobody could tell a dead daemon's lock from a living one's."""
    folder = tmp_path / "groups/web"
    folder.mkdir(parents=True)
    (folder / "lock").write_text("a line of an older version, longer than what is written now " * 3)
    with held(tmp_path):
        assert holder_of(folder) == ME
    (folder / "lock").write_text("4711\n")
    assert holder_of(folder) is None


def test_a_second_daemon_is_refused_and_the_first_named(tmp_path: Path) -> None:
    """Two daemons would each keep N workers of one group."""
    with (
        held(tmp_path),
        pytest.raises(AlreadyRunning, match=f"kept by the daemon with pid {os.getpid()}"),
    ):
        Hold(tmp_path, "web", ME)
    with held(tmp_path):
        pass


def test_a_second_daemon_is_refused_after_the_folder_was_removed(tmp_path: Path) -> None:
    """A script that cleans up before it starts would double every worker."""
    base = tmp_path / "state"
    with held(base):
        shutil.rmtree(base)
        with pytest.raises(AlreadyRunning, match=f"kept by the daemon with pid {os.getpid()}"):
            Hold(base, "web", ME)
        assert not base.exists()


def test_another_path_to_the_same_folder_is_the_same(tmp_path: Path) -> None:
    """A link to the state directory would be a way round the name."""
    (tmp_path / "link").symlink_to(tmp_path / "state")
    with held(tmp_path / "state"):
        shutil.rmtree(tmp_path / "state")
        with pytest.raises(AlreadyRunning):
            Hold(tmp_path / "link" / ".." / "link", "web", ME)


SQUAT = "import socket; s = socket.socket(socket.AF_UNIX); s.bind({}); s.listen(); print(flush=True); input()"


def test_a_name_that_somebody_else_took_keeps_nobody_out(tmp_path: Path) -> None:
    """Every user of the machine could keep another's daemon from starting."""
    require("root", os.geteuid() == 0)
    name = name_of(tmp_path / "groups/web")
    code = SQUAT.format(repr(name))
    squatter = subprocess.Popen(
        ("setpriv", "--reuid=12345", sys.executable, "-c", code),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert squatter.stdin is not None
    assert squatter.stdout is not None
    with squatter:
        squatter.stdout.readline()
        with held(tmp_path) as hold:
            assert "is held by user 12345, who does not own it" in str(hold.nameless)
        squatter.stdin.close()


def test_what_was_removed_is_made_again_with_the_same_secret(tmp_path: Path) -> None:
    """After somebody cleaned up, the next daemon could start beside this one, and adopt nobody."""
    base = tmp_path / "state"
    with held(base) as hold:
        assert hold.look().news is None
        secret = (base / "secret").read_bytes()
        shutil.rmtree(base)
        sight = hold.look()
        assert sight.is_ours
        assert "was removed, or something in it, while it was in use: made anew" in str(sight.news)
        assert (base / "secret").read_bytes() == secret
        assert (base / "groups/web/output").is_dir()
        assert holder_of(base / "groups/web") == ME
        assert hold.look().news is None


@pytest.mark.parametrize("lost", ["secret", LOCK, "groups/web/output"])
def test_a_single_thing_that_was_removed_is_made_again(lost: str, tmp_path: Path) -> None:
    """What a cleaner of old files took would be missing at the next start."""
    with held(tmp_path) as hold:
        path = tmp_path / lost
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        assert "made anew" in str(hold.look().news)
        assert path.exists()


def test_a_lock_that_another_daemon_holds_by_now_is_not_fought_for(tmp_path: Path) -> None:
    """Two daemons would take the folder from each other for ever."""
    with held(tmp_path) as hold:
        (tmp_path / LOCK).unlink()
        command = ("flock", str(tmp_path / LOCK), "sh", "-c", "echo; read _")
        other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert other.stdin is not None
        assert other.stdout is not None
        with other:
            other.stdout.readline()
            (tmp_path / LOCK).write_text("4711 5 boot\n")
            first, second = hold.look(), hold.look()
            assert not first.is_ours
            assert "kept by the daemon with pid 4711" in str(first.news)
            assert second.news is None, "it is said once"
            other.stdin.close()
        assert hold.look().is_ours


def test_another_secret_in_its_place_is_said(tmp_path: Path) -> None:
    """The workers would not be adopted by the next daemon, and nobody would know why."""
    with held(tmp_path) as hold:
        (tmp_path / "secret").write_bytes(b"x" * 32)
        (tmp_path / LOCK).unlink()
        assert "will not adopt these workers" in str(hold.look().news)


def test_a_directory_that_turned_unsafe_is_said_once(tmp_path: Path) -> None:
    """A daemon would follow a link that took the place of its folder."""
    base = tmp_path / "state"
    with held(base) as hold:
        shutil.rmtree(base / "groups")
        (base / "groups").symlink_to(tmp_path)
        first, second = hold.look(), hold.look()
        assert not first.is_ours
        assert "groups is a symbolic link" in str(first.news)
        assert second.news is None


def test_the_name_goes_with_its_holder(tmp_path: Path) -> None:
    """A daemon that crashed would keep its successor out."""
    listener, why = hold_name(tmp_path, "web")
    assert isinstance(listener, socket.socket)
    assert why is None
    listener.close()
    again, _ = hold_name(tmp_path, "web")
    assert again is not None
    again.close()
