"""Files and folders of ours: nothing planted is followed, truncated or waited for, and the umask decides nothing."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from autohealer.statedir.files import make_private_folder, open_private, read_private
from tests.support.require import require

APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT
TRUNCATE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
SOMEBODY = 12345


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o777], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """Each umask somebody might have."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode_of(path: Path) -> int:
    """The permissions of a path itself."""
    return stat.S_IMODE(path.lstat().st_mode)


def test_files_and_folders_are_their_owners_alone(umask: int, tmp_path: Path) -> None:
    """With an unusual umask others could read workers' last words, or the daemon could not read its own files."""
    make_private_folder(tmp_path / "folder")
    os.close(open_private(tmp_path / "folder" / "file", APPEND))
    assert mode_of(tmp_path / "folder") == 0o700
    assert mode_of(tmp_path / "folder" / "file") == 0o600


def test_what_is_too_widely_open_is_tightened(tmp_path: Path) -> None:
    """What an earlier version left open would stay open for ever."""
    folder, file = tmp_path / "folder", tmp_path / "file"
    folder.mkdir()
    folder.chmod(0o777)
    file.write_text("kept")
    file.chmod(0o666)
    make_private_folder(folder)
    os.close(open_private(file, APPEND))
    assert (mode_of(folder), mode_of(file), file.read_text()) == (0o700, 0o600, "kept")


@pytest.mark.parametrize("flags", [APPEND, TRUNCATE, os.O_RDONLY, os.O_RDWR])
def test_a_link_is_not_followed(flags: int, tmp_path: Path) -> None:
    """A link somebody planted would have a file of the user's truncated or appended to."""
    precious = tmp_path / "precious"
    precious.write_text("precious")
    (tmp_path / "link").symlink_to(precious)
    with pytest.raises(OSError, match="is a symbolic link"):
        open_private(tmp_path / "link", flags)
    assert precious.read_text() == "precious"


def test_a_link_to_nothing_makes_nothing(tmp_path: Path) -> None:
    """A link somebody planted would have a file made wherever the user may write."""
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="is a symbolic link"):
        open_private(tmp_path / "link", APPEND)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("flags", [APPEND, TRUNCATE])
def test_a_second_name_of_a_file_is_not_written_to(flags: int, tmp_path: Path) -> None:
    """A hard link would do what a symbolic one may not."""
    precious = tmp_path / "precious"
    precious.write_text("precious")
    (tmp_path / "name").hardlink_to(precious)
    with pytest.raises(OSError, match="has a second name"):
        open_private(tmp_path / "name", flags)
    assert precious.read_text() == "precious"


@pytest.mark.parametrize("flags", [APPEND, os.O_RDONLY])
def test_a_pipe_is_not_waited_for(flags: int, tmp_path: Path) -> None:
    """A pipe nobody reads would stop the daemon's loop at the next launch."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match=r"No such device|is not a plain file"):
        open_private(tmp_path / "pipe", flags)


def test_somebody_elses_file_and_folder_are_refused(tmp_path: Path) -> None:
    """Their owner could read and change what is written there."""
    require("root", os.geteuid() == 0)
    file, folder = tmp_path / "file", tmp_path / "folder"
    file.write_text("theirs")
    folder.mkdir()
    os.chown(file, SOMEBODY, SOMEBODY)
    os.chown(folder, SOMEBODY, SOMEBODY)
    with pytest.raises(OSError, match=f"belongs to user {SOMEBODY}"):
        open_private(file, TRUNCATE)
    with pytest.raises(OSError, match=f"belongs to user {SOMEBODY}"):
        read_private(file)
    with pytest.raises(OSError, match=f"belongs to user {SOMEBODY}"):
        make_private_folder(folder)
    assert file.read_text() == "theirs"


def test_root_reads_what_a_services_own_folder_holds(tmp_path: Path) -> None:
    """Root could not ask why a system service's worker ended."""
    require("root", os.geteuid() == 0)
    file = tmp_path / "file"
    file.write_text("told")
    os.chown(file, SOMEBODY, SOMEBODY)
    os.chown(tmp_path, SOMEBODY, SOMEBODY)
    assert read_private(file) == b"told"


def test_a_worker_gets_a_descriptor_that_blocks_and_is_not_inherited_unasked(
    tmp_path: Path,
) -> None:
    """A worker's print would fail with EAGAIN, or every worker hold every file."""
    descriptor = open_private(tmp_path / "file", APPEND)
    try:
        assert os.get_blocking(descriptor)
        assert not os.get_inheritable(descriptor)
    finally:
        os.close(descriptor)
