"""A real systemd, booted as the first process of a machine of its own inside this one.

Theory of operation: namespaces give systemd process ids, mounts and control groups of its own; the root is an
overlay of this machine's whose changes stay in memory. There is no image and nothing to install, what is
installed here is installed there. The network is shared. The project and its interpreter are readable there
by every user, as a real installation is. `nsenter` runs commands inside; `root` is the machine's root directory
seen from outside, through which a test reads its files and its process table.

Limits: needs root. No journald, no udev, no D-Bus, and no controllers where this machine's cgroup v2 has
none: memory limits cannot be shown. Killing the outermost process ends everything inside.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.eventually import eventually
from tests.support.require import require

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

BOOT_WITHIN_S = 30.0
COMMAND_WITHIN_S = 60.0
PROJECT = Path(__file__).parents[2]
PROGRAMS = (PROJECT, Path(sys.prefix), Path(sys.base_prefix))
"""What a service needs to run this project with this interpreter."""

_TOOLS = ("unshare", "nsenter", "chroot", "systemctl", "systemd-sysusers")
_SYSTEMD = Path("/lib/systemd/systemd")

# $1 is a directory of the test's, $2 the cgroup, $3... the programs.
_OUTSIDE = """
echo $$ > "$2/cgroup.procs"
exec unshare --pid --mount --cgroup --uts --ipc --fork --kill-child --propagation private \
    sh -euc "$INSIDE" sh "$@"
"""
_INSIDE = """
base=$1; shift 2
mount -t tmpfs -o mode=755 tmpfs "$base"
r=$base/root
mkdir "$r"
overlay() {
    mkdir -p "$base/$2/up" "$base/$2/work" "$r$1"
    mount -t overlay overlay -o "lowerdir=$1,upperdir=$base/$2/up,workdir=$base/$2/work" "$r$1"
}
overlay / 0
n=0
for program in "$@"; do
    n=$((n + 1))
    overlay "$program" $n
    while chmod go+rx "$r$program"; [ "$program" != / ]; do program=$(dirname "$program"); done
done
rm -rf "$r/etc/systemd/system" "$r/var/lib/autohealer"
mkdir -p "$r/etc/systemd/system"
printf '[Unit]\\nDefaultDependencies=no\\n' > "$r/etc/systemd/system/default.target"
echo 0123456789abcdef0123456789abcdef > "$r/etc/machine-id"
: > "$r/etc/fstab"
mount -t proc proc "$r/proc"
mount -t sysfs sysfs "$r/sys"
mount -t cgroup2 cgroup2 "$r/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$r/run"
mount -t tmpfs -o mode=755 tmpfs "$r/dev"
for device in null zero full random urandom tty; do
    : > "$r/dev/$device"
    mount --bind "/dev/$device" "$r/dev/$device"
done
mkdir "$r/dev/pts" "$r/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts "$r/dev/pts"
ln -s pts/ptmx "$r/dev/ptmx"
ln -s /proc/self/fd "$r/dev/fd"
mount -t tmpfs tmpfs "$r/dev/shm"
mount --make-rshared "$r" # as at every boot: what systemd mounts for a service in a namespace of its own is seen here
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    chroot "$r" /lib/systemd/systemd --system --log-target=null --show-status=no
"""


class SystemdMachine:
    """One booted systemd; what the block started ends with it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        mount = cgroup_mount()
        assert mount is not None, "the machine needs a cgroup v2: see require_systemd_machine"
        self._cgroup = mount / f"autohealer-machine-{os.getpid()}"
        self._outermost: subprocess.Popen[bytes] | None = None
        self._first = 0

    def __enter__(self) -> SystemdMachine:
        self._cgroup.mkdir()
        self._outermost = subprocess.Popen(
            (
                "sh",
                "-euc",
                _OUTSIDE,
                "sh",
                str(self._folder),
                str(self._cgroup),
                *map(str, PROGRAMS),
            ),
            env=dict(os.environ) | {"INSIDE": _INSIDE},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            eventually(self._is_up, within_s=BOOT_WITHIN_S, view=lambda: self._outermost)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    @property
    def root(self) -> Path:
        """The machine's root directory."""
        return Path(f"/proc/{self._first}/root")

    def run(self, *command: str, check: bool = True) -> str:
        """What a command run as root in the machine printed."""
        done = self.attempt(*command)
        assert not check or done.returncode == 0, f"{command}: {done.returncode}: {done.stdout}"
        return done.stdout.strip()

    def attempt(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A command run as root in the machine, however it ends."""
        return subprocess.run(
            (*self._enter(), *command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_WITHIN_S,
            check=False,
        )

    @contextmanager
    def beside(self, *command: str) -> Iterator[None]:
        """Have a command run as root in the machine for a block."""
        process = subprocess.Popen((*self._enter(), *command), stdin=subprocess.DEVNULL)
        try:
            yield
        finally:
            process.kill()
            process.wait()

    def _enter(self) -> tuple[str, ...]:
        return ("nsenter", "-t", str(self._first), "-m", "-p", "-i", "-u", "-C", "-r", "-w")

    def show(self, unit: str, name: str) -> str:
        """One property of a unit."""
        return self.run("systemctl", "show", unit, "--value", "-p", name)

    def _is_up(self) -> bool:
        assert self._outermost is not None
        assert self._outermost.poll() is None, "the machine did not boot: see the captured stderr"
        pid = self._outermost.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if not children or Path(f"/proc/{children[0]}/comm").read_text() != "systemd\n":
            return False
        self._first = int(children[0])
        return (self.root / "run/systemd/private").is_socket() and self._answers()

    def _answers(self) -> bool:
        state = self.attempt("systemctl", "is-system-running").stdout.strip()
        return state in {"running", "degraded"}

    def _end(self) -> None:
        assert self._outermost is not None
        self._outermost.kill()
        self._outermost.wait()
        events = self._cgroup / "cgroup.events"
        eventually(lambda: "populated 0" in events.read_text(), within_s=BOOT_WITHIN_S)
        for folder, _, _ in sorted(os.walk(self._cgroup), reverse=True):
            with suppress(FileNotFoundError):
                Path(folder).rmdir()


def require_systemd_machine() -> None:
    """Skip the running test where no systemd can be booted."""
    require("root", os.geteuid() == 0)
    require("systemd", _SYSTEMD.exists() and all(shutil.which(tool) for tool in _TOOLS))
    cgroups = cgroup_mount()
    require("a writable cgroup v2", cgroups is not None and os.access(cgroups, os.W_OK))
    allowed = subprocess.run(("unshare", "--pid", "--mount", "--fork", "true"), check=False)
    require("namespaces", allowed.returncode == 0)


def cgroup_mount() -> Path | None:
    """Where this machine has cgroup v2; None where it has not."""
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(place)
    return None
