"""A shipped unit on a booted machine, installed as its comments say, and what an administrator sees of it.

Theory of operation: the unit files are those of the repository; a drop-in changes only what belongs to the test:
shorter patience, output to a file (there is no journal), and the interpreter, which may lie below /tmp.
Processes are looked at through the machine's own process table, so pids are those inside.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from autohealer.contract import ENV_TOKEN
from autohealer.control.client import NoAnswer, fetch_status, parse_status
from autohealer.settings import group_dir
from tests.support.eventually import eventually
from tests.support.systemd_machine import PROGRAMS, PROJECT, SystemdMachine

if TYPE_CHECKING:
    from autohealer.control.records import StatusRecord

WITHIN_S = 60.0
STATE_DIR = "/var/lib/autohealer"
REPLICAS = 4
_FOLDER = PROJECT / "systemd"
_PATIENCE = "[Service]\nRestartSec=0.1\nWatchdogSec=2\nTimeoutStartSec=60\nTimeoutStopSec=60\n"


def install(machine: SystemdMachine) -> None:
    """Follow the units' own words: package, unit files, account."""
    _put(machine, "usr/local/bin/autohealer").symlink_to(PROGRAMS[1] / "bin/autohealer")
    for unit in sorted(_FOLDER.glob("*.service")):
        _put(machine, f"etc/systemd/system/{unit.name}").write_text(unit.read_text())
        log = "StandardOutput=append:/var/log/%n.log\nStandardError=append:/var/log/%n.log\n"
        visible = f"BindReadOnlyPaths={' '.join(map(str, PROGRAMS))}\n"
        _put(machine, f"etc/systemd/system/{unit.name}.d/test.conf").write_text(
            _PATIENCE + log + visible
        )
    account = (_FOLDER / "autohealer.sysusers").read_text()
    _put(machine, "etc/sysusers.d/autohealer.conf").write_text(account)
    machine.run("systemd-sysusers")
    machine.run("systemctl", "daemon-reload")


def _put(machine: SystemdMachine, path: str) -> Path:
    place = machine.root / path
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


@dataclass
class Service:
    """One unit of one group; `environment` is its settings file."""

    machine: SystemdMachine
    unit: str
    group: str
    environment: dict[str, str] = field(default_factory=dict)

    def configure(self, **changes: str) -> None:
        """Write the settings file anew: the shipped example, with some values changed."""
        self.environment |= changes
        lines = (_FOLDER / "example.env").read_text().splitlines()
        kept = [line for line in lines if line.partition("=")[0] not in self.environment]
        added = [f"{name}={value}" for name, value in self.environment.items()]
        instance = self.unit.removesuffix(".service").partition("@")[2] or "autohealer"
        _put(self.machine, f"etc/autohealer/{instance}.env").write_text("\n".join(kept + added))

    @property
    def file(self) -> Path:
        """The configuration file, where the unit has one."""
        return _put(self.machine, "etc/autohealer/autohealer.toml")

    def configure_file(self, text: str) -> None:
        """Write the configuration file anew."""
        self.file.write_text(text)

    def systemctl(self, verb: str, *options: str) -> None:
        """Do something with the unit and wait for it."""
        done = self.machine.attempt("systemctl", verb, *options, self.unit)
        assert done.returncode == 0, f"{done.stdout}\n{self.view()}"

    def shows(self, name: str) -> str:
        """One property of the unit, as systemd sees it now."""
        return self.machine.show(self.unit, name)

    @property
    def main_pid(self) -> int:
        """The daemon; 0 while there is none."""
        return int(self.shows("MainPID"))

    def status(self) -> StatusRecord | None:
        """What `autohealer status` shows; None while nobody answers."""
        folder = group_dir(self.machine.root / STATE_DIR.lstrip("/"), self.group)
        try:
            return parse_status(fetch_status(folder))
        except (NoAnswer, FileNotFoundError):
            return None

    def whole(self) -> StatusRecord | None:
        """The status, if it comes from the daemon systemd knows and exactly the wanted slots are ready."""
        status = self.status()
        if status is None or status.daemon_pid != self.main_pid:
            return None
        return status if status.ready == status.desired == len(status.slots) else None

    def becomes_whole(self) -> dict[int, int]:
        """Wait until every slot is ready; slot to pid."""
        status = eventually(self.whole, within_s=WITHIN_S, view=self.view)
        assert status is not None
        return {slot.slot: slot.pid for slot in status.slots if slot.pid is not None}

    def gets_another_daemon(self, old: int) -> dict[int, int]:
        """Wait until systemd has replaced a daemon and the new one keeps the group whole; slot to pid."""
        eventually(lambda: self.main_pid not in {0, old}, within_s=WITHIN_S, view=self.view)
        return self.becomes_whole()

    def alive(self) -> set[int]:
        """Every live process of the machine that carries a token or sits in the unit's control group."""
        marked = {pid for pid in self._pids() if f"{ENV_TOKEN}=" in self._environ(pid)}
        return marked | self.in_cgroup()

    def in_cgroup(self, below: str = "") -> set[int]:
        """The live processes in the unit's control group and all below it, or below a part of it."""
        top = (
            Path("/", *self.cgroup.parts[4:]) / below
        )  # asked inside: outside they have other pids
        found = self.machine.attempt(
            "find", str(top), "-name", "cgroup.procs", "-exec", "cat", "{}", "+"
        )
        return {int(word) for word in found.stdout.split() if word.isdecimal()}

    @property
    def cgroup(self) -> Path:
        """The unit's control group."""
        path = self.shows("ControlGroup") or f"/system.slice/{self.unit}"
        return self.machine.root / "sys/fs/cgroup" / path.lstrip("/")

    def view(self) -> str:
        """Everything there is to see, for a failing test."""
        text = self._log_file.read_text()[-4000:] if self._log_file.exists() else ""
        return f"{self.machine.attempt('systemctl', 'status', self.unit).stdout}\n{text}"

    @property
    def _log_file(self) -> Path:
        return self.machine.root / f"var/log/{self.unit}.log"

    def _pids(self) -> list[int]:
        return [int(p.name) for p in (self.machine.root / "proc").iterdir() if p.name.isdecimal()]

    def _environ(self, pid: int) -> str:
        try:
            return (self.machine.root / f"proc/{pid}/environ").read_text(errors="replace")
        except OSError:
            return ""
