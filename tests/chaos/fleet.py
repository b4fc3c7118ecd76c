"""What the mixed campaign is struck at: one daemon with a file of four kinds of programs, on one server.

Theory of operation. `sdk` registers itself by the SDK, through a door that can be cut; `web` is nginx and `loop` a
shell loop, which the daemon registers; `java` registers under names of its own. `loop` comes after `web`. What lives is
read from the kernel alone: by the environment that the daemon gave a process or, of nginx, which writes its titles over
that, by its title.

Must never know: what is going to strike, who judges. Limits: a process whose environment cannot be read yet is seen at
the next look.
"""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from autohealer.contract import ENV_GENERATION, ENV_GROUP, ENV_SLOT, ENV_TOKEN
from tests.integration.test_several_groups import Fleet
from tests.support.daemon import environment_of
from tests.support.nginx import nginx_conf
from tests.support.ports import free_port

JAVA_WORKER = Path(__file__).parents[2] / "examples" / "java_worker" / "FlakyWorker.java"
JARS = "/usr/share/java/zookeeper.jar:/usr/share/java/slf4j-nop.jar"
FOR_EVER_S = 10**9
REPLICAS = {"sdk": 3, "web": 2, "loop": 2, "java": 2}
AGENTS = ("web", "loop")
_YOUNG_S = 2.0

_FILE = """
[group.sdk]
command = "flaky_worker --mean-life inf"
replicas = 3
session_timeout = "4s"
env = {{ COLOUR = "sdk 0" }}

[group.web]
command = ["nginx", "-e", "stderr", "-p", ".", "-c", "nginx-{{slot}}.conf"]
directory = "{folder}"
replicas = 2
port = {port}
stop_signal = "QUIT"
env = {{ COLOUR = "web 0" }}
readiness = {{ http = "/", period = "500ms" }}
liveness = {{ http = "/", period = "1s" }}

[group.loop]
command = ["/bin/sh", "-c", "while :; do sleep 0.5; done"]
replicas = 2
after = ["web"]
env = {{ COLOUR = "loop 0" }}

[group.java]
command = ["java", "-Xmx48m", "-XX:TieredStopAtLevel=1", "-cp", "{classes}", "FlakyWorker", "{server}", "{for_ever}"]
replicas = 2
register = "anonymous"
session_timeout = "4s"
env = {{ COLOUR = "java 0" }}
"""


@dataclass(frozen=True, slots=True)
class Look:
    """Who leads the processes of each slot of each group; there is more than one where one is doubled."""

    leaders: dict[tuple[str, int], tuple[int, ...]] = field(default_factory=dict)

    def doubled(self) -> list[tuple[tuple[str, int], tuple[int, ...]]]:
        """The slots that more than one leads."""
        return [(place, pids) for place, pids in sorted(self.leaders.items()) if len(pids) > 1]

    def flaws(self) -> list[str]:
        """Where there is not exactly one for each slot that is wanted."""
        wanted = {(group, slot) for group, count in REPLICAS.items() for slot in range(count)}
        flaws = [f"{group} {slot} is empty" for group, slot in sorted(wanted - self.leaders.keys())]
        flaws += [
            f"{group} {slot} is not wanted" for group, slot in sorted(self.leaders.keys() - wanted)
        ]
        return flaws + [f"{place[0]} {place[1]} is led by {pids}" for place, pids in self.doubled()]


class MixedFleet(Fleet):
    """The daemon and its file."""

    def __init__(self, folder: Path, door: str, server: str) -> None:
        """Compiles the Java worker, and writes the files of nginx."""
        folder.mkdir(parents=True, exist_ok=True)
        javac = ("javac", "-cp", JARS, "-proc:none", "-d", str(folder), str(JAVA_WORKER))
        subprocess.run(javac, check=True, timeout=120)
        port = free_port(REPLICAS["web"])
        for slot in range(REPLICAS["web"]):
            name = f"nginx-{slot}"
            (folder / f"{name}.conf").write_text(nginx_conf(name, port + slot))
        text = _FILE.format(
            folder=folder,
            port=port,
            classes=f"{folder}:{JARS}",
            server=server,
            for_ever=FOR_EVER_S,
        )
        super().__init__(folder, door, text)
        self.folder = folder
        self._seen: dict[tuple[int, float], tuple[str, int] | None] = {}

    def look(self) -> Look:
        """Who leads what now."""
        found: dict[int, tuple[str, int]] = {}
        parents: dict[int, int] = {}
        for process in psutil.process_iter():
            try:
                if (place := self._place_of(process)) is not None:
                    parents[process.pid] = process.ppid()
                    found[process.pid] = place
            except psutil.Error:
                continue
        leaders: dict[tuple[str, int], tuple[int, ...]] = {}
        for pid, place in sorted(found.items()):
            if found.get(parents[pid]) != place:
                leaders[place] = (*leaders.get(place, ()), pid)
        return Look(leaders)

    def _place_of(self, process: psutil.Process) -> tuple[str, int] | None:
        key = (process.pid, process.create_time())
        if key not in self._seen:
            if process.status() == psutil.STATUS_ZOMBIE:
                return None
            place = self._read_place(process)
            if place is None and time.time() - key[1] < _YOUNG_S:
                return None  # it may not have been exec'd yet
            self._seen[key] = place
        elif self._seen[key] is not None and process.status() == psutil.STATUS_ZOMBIE:
            return None
        return self._seen[key]

    def _read_place(self, process: psutil.Process) -> tuple[str, int] | None:
        given = environment_of(process)
        if self._started(given) and ENV_TOKEN in given and ENV_GENERATION in given:
            return given[ENV_GROUP], int(given[ENV_SLOT])
        title = " ".join(process.cmdline())
        if title.startswith("nginx: master") and process.cwd() == str(self.folder):
            return "web", int(title.rpartition("nginx-")[2].partition(".conf")[0])
        return None
