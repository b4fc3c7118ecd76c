"""The way to the state directory: refused where somebody else could swap what is on it, used where only we can."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from autohealer.statedir.folders import StateDirUnusable, prepare
from tests.support.require import require

SOMEBODY = 12345


def modes_below(base: Path) -> set[int]:
    """The permissions of a folder and every folder in it."""
    paths = [base, *(path for path in base.rglob("*") if path.is_dir())]
    return {stat.S_IMODE(path.lstat().st_mode) for path in paths}


def test_everything_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    """Others could read, or a wide umask let others write."""
    before = os.umask(0)
    try:
        prepare(tmp_path / "new" / "state", "web")
    finally:
        os.umask(before)
    assert modes_below(tmp_path / "new") == {0o700}
    assert (tmp_path / "new/state/groups/web/output").is_dir()


def test_a_directory_that_is_only_that_is_tightened(tmp_path: Path) -> None:
    """systemd's state directory, made with 0755, would stay open or be refused."""
    base = tmp_path / "state"
    prepare(base, "web")
    for path in (base, base / "groups", base / "groups/web"):
        path.chmod(0o777)
    prepare(base, "web")
    assert modes_below(base) == {0o700}


def test_a_folder_with_other_uses_keeps_its_permissions(tmp_path: Path) -> None:
    """`--state-dir .` would close a project, or a home with a web page in it, to everybody else."""
    tmp_path.chmod(0o755)
    (tmp_path / "something of the user's").touch()
    prepare(tmp_path, "web")
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "groups").stat().st_mode) == 0o700


def shared_with_others(base: Path) -> None:
    """Not ours alone, and used for something else too."""
    base.mkdir()
    (base / "something").touch()
    base.chmod(0o777)


def below_a_shared_folder(base: Path) -> None:
    """Everybody may rename it."""
    base.parent.chmod(0o777)


def below_a_folder_of_somebody(base: Path) -> None:
    """Its owner may rename it."""
    os.chown(base.parent, SOMEBODY, SOMEBODY)


def of_somebody(base: Path) -> None:
    """Made beforehand by somebody else in a place like /tmp."""
    base.parent.chmod(0o1777)
    base.mkdir()
    os.chown(base, SOMEBODY, SOMEBODY)


def behind_a_link_of_somebody(base: Path) -> None:
    """Its owner may turn the link anywhere."""
    base.parent.chmod(0o1777)
    (base.parent / "real").mkdir()
    base.symlink_to(base.parent / "real")
    os.chown(base, SOMEBODY, SOMEBODY, follow_symlinks=False)


def with_a_link_inside(base: Path) -> None:
    """Planted while it was open to others."""
    (base / "elsewhere").mkdir(parents=True)
    (base / "groups").symlink_to(base / "elsewhere")


def with_a_folder_of_somebody_inside(base: Path) -> None:
    """Planted while it was open to others."""
    (base / "groups/web/output").mkdir(parents=True)
    os.chown(base / "groups/web/output", SOMEBODY, SOMEBODY)


def with_a_server_of_somebody_inside(base: Path) -> None:
    """The embedded server would write its log where they say."""
    (base / "zkserver-2181").mkdir(parents=True)
    os.chown(base / "zkserver-2181", SOMEBODY, SOMEBODY)


def with_a_file_in_its_place(base: Path) -> None:
    """A typing error."""
    base.touch()


def with_links_in_a_circle(base: Path) -> None:
    """A typing error too."""
    base.symlink_to(base)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (shared_with_others, "can be written to by everybody"),
        (below_a_shared_folder, "can be written to by everybody"),
        (below_a_folder_of_somebody, "belongs to user 12345, who could swap it"),
        (of_somebody, "belongs to user 12345"),
        (behind_a_link_of_somebody, "belongs to user 12345, who could swap it"),
        (with_a_link_inside, "groups is a symbolic link"),
        (with_a_folder_of_somebody_inside, "output belongs to user 12345"),
        (with_a_server_of_somebody_inside, "zkserver-2181 belongs to user 12345"),
        (with_a_file_in_its_place, "state is not a folder"),
        (with_links_in_a_circle, "Too many levels of symbolic links"),
    ],
)
def test_what_somebody_else_could_swap_is_refused(
    spoil: Callable[[Path], None], why: str, tmp_path: Path
) -> None:
    """Whoever made the folder first would read the secret, and have files written through links."""
    require("root", os.geteuid() == 0)
    base = tmp_path / "state"
    spoil(base)
    with pytest.raises(StateDirUnusable, match=why) as refused:
        prepare(base, "web")
    assert str(refused.value).startswith(f"the state directory {base} cannot be used (")


def test_ones_own_link_and_a_place_like_tmp_will_do(tmp_path: Path) -> None:
    """A user who moved the state to a larger disk, or tries things in /tmp, would be refused."""
    tmp_path.chmod(0o1777)
    (tmp_path / "large disk").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to("large disk/not made yet")
    prepare(tmp_path / "link", "web")
    assert (tmp_path / "large disk/not made yet/groups/web/output").is_dir()


@pytest.mark.parametrize("name", ["d" * 256, "/".join(["d" * 250] * 17)])
def test_a_name_that_is_too_long_is_one_sentence(name: str, tmp_path: Path) -> None:
    """A path of 300 bytes would end in a traceback."""
    with pytest.raises(StateDirUnusable, match="File name too long"):
        prepare(tmp_path / name, "web")


def test_a_long_path_works(tmp_path: Path) -> None:
    """A deep state directory would be refused though the system takes it."""
    base = tmp_path.joinpath(*["d" * 100] * 3)
    assert prepare(base, "web").is_dir()
