"""The thread that launches changes its user and umask, and nobody else does."""

from __future__ import annotations

import os
import pwd
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from autohealer.processes.guise import Account, UnknownUser, account_of, guise
from autohealer.processes.spawn import spawn_detached
from tests.support.otheruser import STRANGER
from tests.support.require import require

UMASK = 0o027
PYTHON = Path("/usr/bin/python3")
"""One that every user may run."""
SHOW = """
import os
print(os.getresuid(), os.getresgid(), sorted(os.getgroups()), oct(os.umask(0)))
try:
    os.setuid(0)
except PermissionError:
    print("no way back")
"""


def on_a_thread(work: Callable[[], None]) -> None:
    """Do something where launches are done; raises what it raises."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - handed on
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


def launched(account: Account | None, umask: int | None, output: Path) -> list[str]:
    """What a program says of itself that was launched in a guise."""

    def launch() -> None:
        descriptor = os.open(output, os.O_RDWR | os.O_CREAT, 0o600)
        with guise(account, umask):
            pid = spawn_detached([str(PYTHON), "-c", SHOW], {}, descriptor, "/")
        os.waitpid(pid, 0)

    on_a_thread(launch)
    return output.read_text().splitlines()


def test_a_worker_of_another_user_has_no_way_back_and_the_daemon_stays_itself(
    tmp_path: Path,
) -> None:
    """A worker could become root again, or the daemon lose what it needs to end it."""
    require("root with a Python for everybody", os.geteuid() == 0 and PYTHON.exists())
    before = (os.getresuid(), os.getresgid(), os.getgroups(), os.umask(0o022))
    os.umask(before[3])
    who, way_back = launched(Account(STRANGER, STRANGER, (STRANGER, 7)), UMASK, tmp_path / "out")
    three = (STRANGER, STRANGER, STRANGER)
    assert who == f"{three} {three} {sorted((STRANGER, 7))} {oct(UMASK)}"
    assert way_back == "no way back"
    umask = os.umask(0o022)
    os.umask(umask)
    assert (os.getresuid(), os.getresgid(), os.getgroups(), umask) == before


def test_the_launching_thread_is_itself_again_whatever_happens() -> None:
    """The next group's workers would run as the user of this one's."""
    require("root", os.geteuid() == 0)

    def fail() -> None:
        with guise(Account(STRANGER, STRANGER, (STRANGER,)), None):
            assert Path("/proc/thread-self/status").read_text().count(f"\t{STRANGER}") > 2
            spawn_detached(["/nothing"], {}, os.open(os.devnull, os.O_WRONLY))

    def see() -> None:
        with pytest.raises(FileNotFoundError):
            fail()
        lines = Path("/proc/thread-self/status").read_text().splitlines()
        (uids,) = [line for line in lines if line.startswith("Uid:")]
        assert uids.split()[1:] == ["0"] * 4

    on_a_thread(see)


def test_the_launching_thread_gets_its_own_umask_back() -> None:
    """What the daemon writes from that thread would have the permissions of a worker's files."""

    def see() -> None:
        with guise(None, UMASK):
            pass
        before = os.umask(UMASK)
        with guise(None, 0o777):
            assert os.umask(0o777) == 0o777
        assert os.umask(before) == UMASK
        assert before != UMASK

    on_a_thread(see)


def test_without_another_user_nothing_is_changed(tmp_path: Path) -> None:
    """A daemon that is not root could launch nothing."""
    require("a Python for everybody", PYTHON.exists())
    who = launched(None, None, tmp_path / "out")[0]
    assert who.startswith(f"{(os.getuid(),) * 3} {(os.getgid(),) * 3}")


def test_users_are_found_by_name_and_by_number() -> None:
    """A file would have to be written for one machine."""
    entry = pwd.getpwuid(STRANGER)
    by_name, by_number = account_of(entry.pw_name, ""), account_of(str(STRANGER), "")
    assert by_name is not None
    assert by_name == by_number
    assert (by_name.uid, by_name.gid) == (STRANGER, entry.pw_gid)
    assert entry.pw_gid in by_name.groups
    assert account_of("", "") is None


@pytest.mark.parametrize(("user", "group"), [("nobody-of-that-name", ""), ("", "no-such-group")])
def test_who_is_not_there_is_named(user: str, group: str) -> None:
    """Workers would run as somebody else."""
    with pytest.raises(UnknownUser, match=user or group):
        account_of(user, group)
