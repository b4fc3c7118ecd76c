"""What the shipped units promise, under a real systemd: start, stop, restart, reload, crash, hang."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from itertools import takewhile
from typing import TYPE_CHECKING

import pytest

from autohealer.contract import WORKERS_PATH
from tests.support.clients import connected, with_chroot
from tests.support.eventually import eventually
from tests.support.ports import free_port
from tests.support.systemd_machine import PROJECT, SystemdMachine, require_systemd_machine
from tests.systemd.service import REPLICAS, STATE_DIR, WITHIN_S, Service, install

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.apache import SecuredApacheZooKeeper
    from tests.support.certificates import Authority

pytestmark = [pytest.mark.thorough, pytest.mark.xdist_group("one machine at a time")]

GROUP = "flaky_worker"
IMMORTAL = "--mean-life inf"
ESCAPER = """
import os, subprocess, sys
from autohealer.worker import run
ESCAPE = (
    "import os, time; os.fork() and os._exit(0); os.setsid(); os.fork() and os._exit(0); "
    "open('escaped-%d' % os.getpid(), 'x'); time.sleep(600)"
)
def main(worker):
    subprocess.run((sys.executable, "-c", ESCAPE), env={}, check=True)
    worker.stopping.wait()
run(main)
"""
"""A worker whose child leaves its session, its parents and its environment behind."""
CONFIGURATION = """[daemon]
zookeeper = "embedded:{port}"

[group.flaky_worker]
command = "flaky_worker --mean-life inf"
replicas = {replicas}
"""
WITNESS = f"""[Unit]
DefaultDependencies=no
Requires=autohealer.service
After=autohealer.service
[Service]
Type=oneshot
ExecStart=/usr/local/bin/autohealer status --json --state-dir {STATE_DIR}
StandardOutput=truncate:/var/log/witness
"""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SystemdMachine]:
    """One booted systemd with the units installed."""
    require_systemd_machine()
    with SystemdMachine(tmp_path_factory.mktemp("machine")) as machine:
        install(machine)
        yield machine


def serve(machine: SystemdMachine, unit: str, group: str) -> Iterator[Service]:
    """A configured unit, not started; stopped and empty afterwards."""
    service = Service(machine, unit, group)
    service.configure(
        AUTOHEALER_REPLICAS=str(REPLICAS),
        AUTOHEALER_ARGUMENTS=IMMORTAL,
        AUTOHEALER_OPTIONS=f"--zookeeper embedded:{free_port()} --log-format json",
    )
    yield service
    service.systemctl("stop")
    eventually(lambda: not service.alive(), within_s=WITHIN_S, view=service.alive)


@pytest.fixture
def service(machine: SystemdMachine) -> Iterator[Service]:
    """The unit of one group, not started."""
    yield from serve(machine, "autohealer.service", GROUP)


@pytest.fixture
def running(service: Service) -> Service:
    """The unit of one group, whole."""
    service.systemctl("start")
    service.becomes_whole()
    return service


def restarts_of(service: Service) -> list[int]:
    """How often each slot was launched again, as far as this daemon knows."""
    status = service.status()
    assert status is not None
    return [slot.restarts for slot in status.slots]


# --- start and stop ---------------------------------------------------------------------------


def test_what_is_ordered_after_the_unit_finds_launches_under_way(service: Service) -> None:
    """A web server ordered after its workers would start before the daemon had even read its settings."""
    machine = service.machine
    (machine.root / "etc/systemd/system/witness.service").write_text(WITNESS)
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", "witness.service")
    assert service.shows("ActiveState") == "active"
    seen = json.loads((machine.root / "var/log/witness").read_text())
    assert [slot["pid"] for slot in seen["slots"] if slot["pid"]] != []
    assert len(service.becomes_whole()) == REPLICAS


def test_a_stop_leaves_nothing(running: Service) -> None:
    """Workers or the embedded server would run on after `systemctl stop`."""
    assert len(running.alive()) > REPLICAS + 1
    running.systemctl("stop")
    assert running.alive() == set()
    assert (running.shows("ActiveState"), running.shows("Result")) == ("inactive", "success")


def test_a_restart_launches_every_worker_anew(running: Service) -> None:
    """`systemctl restart` after a change of the workers' program would leave old workers in place."""
    before = running.becomes_whole()
    running.systemctl("restart")
    after = running.becomes_whole()
    assert not set(before.values()) & set(after.values())
    assert not set(before.values()) & running.alive()


def test_every_instance_of_the_template_is_a_group(machine: SystemdMachine) -> None:
    """Of several groups on one host only one could be a service."""
    for service in serve(machine, "autohealer@web.service", "web"):
        service.systemctl("start")
        before = service.becomes_whole()
        daemon = service.main_pid
        service.systemctl("reload")
        assert service.gets_another_daemon(daemon) == before


# --- the daemon goes, its workers stay --------------------------------------------------------


def test_a_reload_takes_new_settings_and_leaves_the_workers_alone(running: Service) -> None:
    """An upgrade of the daemon would be an outage of its workers."""
    before = running.becomes_whole()
    daemon = running.main_pid
    running.configure(AUTOHEALER_REPLICAS=str(REPLICAS + 1))
    running.systemctl("reload")
    after = running.gets_another_daemon(daemon)
    assert len(after) == REPLICAS + 1
    assert after.items() > before.items()
    assert running.shows("ActiveState") == "active"


@pytest.fixture
def configured(machine: SystemdMachine) -> Iterator[Service]:
    """The unit with a configuration file, by the drop-in that its comments give; whole."""
    comments = (PROJECT / "systemd/autohealer.service").read_text()
    drop_in = machine.root / "etc/systemd/system/autohealer.service.d/up.conf"
    drop_in.write_text(_drop_in_of(comments))
    service = Service(machine, "autohealer.service", GROUP)
    service.configure_file(CONFIGURATION.format(port=free_port(), replicas=REPLICAS))
    machine.run("systemctl", "daemon-reload")
    service.systemctl("start")
    service.becomes_whole()
    yield service
    service.systemctl("stop")
    eventually(lambda: not service.alive(), within_s=WITHIN_S, view=service.alive)
    drop_in.unlink()
    machine.run("systemctl", "daemon-reload")


def _drop_in_of(comments: str) -> str:
    """What the unit's comments say has to stand in the drop-in."""
    lines = comments.partition("#   [Service]\n")[2].splitlines()
    told = takewhile(lambda line: line.startswith("#   "), lines)
    return "\n".join(("[Service]", *(line.removeprefix("#   ") for line in told))) + "\n"


def test_a_reload_of_a_configuration_changes_what_changed(configured: Service) -> None:
    """Everything on the machine would be restarted for one line of the file, or a mistake end it."""
    before, daemon = configured.becomes_whole(), configured.main_pid
    good = configured.file.read_text()
    configured.configure_file(good.replace(f"replicas = {REPLICAS}", f"replicas = {REPLICAS + 1}"))
    configured.systemctl("reload")
    now = eventually(
        lambda: it if len(it := configured.becomes_whole()) > REPLICAS else None, within_s=WITHIN_S
    )
    assert before.items() < now.items()
    assert configured.main_pid == daemon
    configured.configure_file("replicsa = 1\n" + good)
    assert configured.machine.attempt("systemctl", "reload", configured.unit).returncode != 0
    assert configured.becomes_whole() == now
    told = configured.machine.run("autohealer", "status")
    assert f"{GROUP}: {REPLICAS + 1}/{REPLICAS + 1} ready" in told, (
        "it looks where the service keeps its state"
    )


def test_the_next_daemon_adopts_the_workers_of_one_that_was_killed(running: Service) -> None:
    """A crash of the daemon would be an outage of its workers."""
    before = running.becomes_whole()
    daemon = running.main_pid
    running.systemctl("kill", "--kill-whom=main", "--signal=KILL")
    assert running.gets_another_daemon(daemon) == before
    assert restarts_of(running) == [0] * REPLICAS


def test_a_frozen_daemon_is_replaced(running: Service) -> None:
    """A daemon that stands still would heal nothing for ever."""
    before = running.becomes_whole()
    daemon = running.main_pid
    running.systemctl("kill", "--kill-whom=main", "--signal=STOP")
    assert running.gets_another_daemon(daemon) == before


def test_a_daemon_whose_decision_loop_hangs_is_replaced(running: Service) -> None:
    """A daemon whose other threads still run would look alive while it heals nothing."""
    before = running.becomes_whole()
    daemon = running.main_pid
    with running.machine.beside(sys.executable, "-c", HOLDS_THE_FIRST_THREAD, str(daemon)):
        eventually(lambda: running.main_pid != daemon, within_s=WITHIN_S, view=running.view)
    assert running.gets_another_daemon(daemon) == before


HOLDS_THE_FIRST_THREAD = """
import ctypes, os, sys
thread = int(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(1, 9)
assert libc.ptrace(16, thread, None, None) == 0, os.strerror(ctypes.get_errno())
os.waitpid(thread, 0x40000000)
os.waitpid(thread, 0x40000000)
"""
"""Attaches to one thread (PTRACE_ATTACH, __WALL), which stops that thread alone, until it is killed or who started this
has ended (PR_SET_PDEATHSIG)."""


def test_a_worker_that_is_killed_stops_neither_unit_nor_daemon(running: Service) -> None:
    """The kernel's ending of one worker for memory would end the whole group."""
    before = running.becomes_whole()
    daemon = running.main_pid
    assert running.shows("OOMPolicy") == "continue"
    running.machine.run("kill", "-KILL", str(before[1]))
    eventually(lambda: restarts_of(running)[1] == 1, within_s=WITHIN_S, view=running.view)
    assert running.becomes_whole().items() >= {s: p for s, p in before.items() if s != 1}.items()
    assert (running.main_pid, running.shows("NRestarts")) == (daemon, "0")


# --- what systemd hands to it -------------------------------------------------------------------


LOGIN = "digest:healer:between us"


@pytest.mark.parametrize("line", ["LoadCredential={}:/etc/zookeeper.secret", "SetCredential={}:{}"])
def test_who_we_are_to_zookeeper_comes_from_systemds_own_store(service: Service, line: str) -> None:
    """The next daemon, or a worker that is launched later, could not prove who it is any more."""
    _put_secret(service, "etc/zookeeper.secret", LOGIN)
    name = "zookeeper-auth"
    told = f"{line.format(name, LOGIN)}\nEnvironment=AUTOHEALER_ZOOKEEPER_AUTH=%d/{name}\n"
    with _handed(service, told):
        before = service.becomes_whole()
        assert _permissions(service) == {("digest", "healer")}
        daemon = service.main_pid
        service.systemctl("kill", "--kill-whom=main", "--signal=KILL")
        assert service.gets_another_daemon(daemon) == before
        service.machine.run("kill", "-KILL", str(before[1]))
        eventually(lambda: restarts_of(service)[1] == 1, within_s=WITHIN_S, view=service.view)
        now = service.becomes_whole()
        assert now.items() >= {s: p for s, p in before.items() if s != 1}.items()
        assert _permissions(service) == {("digest", "healer")}


def test_our_key_to_an_ensemble_with_tls_comes_from_systemds_own_store(
    service: Service, secured_apache: SecuredApacheZooKeeper, authority: Authority
) -> None:
    """A key that only root can read would be of no use to the service."""
    _put_secret(service, "etc/client.pem", authority.issue("client").read_text())
    (service.machine.root / "etc/ca.pem").write_text(authority.ca.read_text())
    chroot = with_chroot(secured_apache).connection.removeprefix(secured_apache.address)
    ensemble = f"localhost:{secured_apache.secure_port}{chroot}"
    service.configure(AUTOHEALER_OPTIONS=f"--zookeeper {ensemble} --log-format json")
    told = (
        "LoadCredential=client:/etc/client.pem\nEnvironment=AUTOHEALER_ZOOKEEPER_TLS_CERT=%d/client "
        "AUTOHEALER_ZOOKEEPER_TLS_CA=/etc/ca.pem\n"
    )
    with _handed(service, told):
        before = service.becomes_whole()
        daemon = service.main_pid
        service.systemctl("reload")
        assert service.gets_another_daemon(daemon) == before


def _put_secret(service: Service, path: str, text: str) -> None:
    secret = service.machine.root / path
    secret.write_text(text)
    secret.chmod(0o600)


@contextmanager
def _handed(service: Service, told: str) -> Iterator[None]:
    """Have the unit run with some more lines for a block."""
    drop_in = service.machine.root / "etc/systemd/system/autohealer.service.d/credential.conf"
    drop_in.write_text(f"[Service]\n{told}")
    service.machine.run("systemctl", "daemon-reload")
    try:
        service.systemctl("start")
        yield
        service.systemctl("stop")
    finally:
        drop_in.unlink()
        service.machine.run("systemctl", "daemon-reload")


def _permissions(service: Service) -> set[tuple[str, str]]:
    """Whose the workers' registrations are: scheme and user."""
    address = service.environment["AUTOHEALER_OPTIONS"].partition("embedded:")[2].split()[0]
    user = LOGIN.partition(":")[2]
    with connected(f"127.0.0.1:{address}", digest=user) as client:
        names = client.get_children(WORKERS_PATH)
        assert len(names) == REPLICAS
        lists = [client.get_acls(f"{WORKERS_PATH}/{name}")[0] for name in names]
    return {(entry.id.scheme, entry.id.id.partition(":")[0]) for acl in lists for entry in acl}


# --- who it is, where it writes, what it holds together -----------------------------------------


def test_daemon_and_workers_are_nobody_special(running: Service) -> None:
    """A worker that is broken into would have the run of the machine, or could not write its state."""
    account = int(running.machine.run("id", "--user", "autohealer"))
    assert account != 0
    for pid in running.alive():
        status = (running.machine.root / f"proc/{pid}/status").read_text()
        facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert set(facts["Uid"].split()) == {str(account)}
        assert int(facts["CapBnd"], 16) == 0
        assert (facts["NoNewPrivs"], facts["Seccomp"]) == ("1", "2")
    state = (running.machine.root / STATE_DIR.lstrip("/")).stat()
    assert (state.st_uid, state.st_mode & 0o777) == (account, 0o700)


def test_every_worker_has_a_control_group_of_its_own(running: Service) -> None:
    """What a worker starts could slip away from it."""
    for slot, pid in running.becomes_whole().items():
        (leaf,) = running.cgroup.glob(f"worker-*-{slot}-*")
        assert running.in_cgroup(leaf.name) == {pid}
    daemon = running.main_pid
    running.systemctl("kill", "--kill-whom=main", "--signal=KILL")
    after = running.gets_another_daemon(daemon)
    running.machine.run("kill", "-KILL", str(after[0]))
    eventually(lambda: restarts_of(running)[0] == 1, within_s=WITHIN_S, view=running.view)
    running.becomes_whole()
    eventually(lambda: len(list(running.cgroup.glob("worker-*"))) == REPLICAS, within_s=WITHIN_S)


def test_what_hides_from_its_worker_ends_with_it(service: Service) -> None:
    """A daemonised child without a trace of its worker would run on beside the replacement."""
    _run_escapers(service)
    first = service.becomes_whole()[0]
    (escaped,) = eventually(lambda: _escaped(service), within_s=WITHIN_S, view=service.view)
    assert escaped in service.alive()
    service.machine.run("kill", "-KILL", str(first))
    eventually(lambda: len(_escaped(service)) == 2, within_s=WITHIN_S, view=service.view)
    assert escaped not in service.alive()


def test_what_hides_from_a_worker_that_died_unwatched_ends_before_the_next(
    service: Service,
) -> None:
    """What a daemon left behind with a dead worker would run on for ever beside the worker of the next."""
    _run_escapers(service)
    first = service.becomes_whole()[0]
    (escaped,) = eventually(lambda: _escaped(service), within_s=WITHIN_S, view=service.view)
    daemon = service.main_pid
    service.machine.run("kill", "-KILL", str(daemon), str(first))
    service.gets_another_daemon(daemon)
    assert escaped not in service.alive()


def _run_escapers(service: Service) -> None:
    """Start the unit with a worker that hides what it starts."""
    program = service.machine.root / "usr/local/lib/escaper.py"
    program.write_text(ESCAPER)
    for file in (service.machine.root / STATE_DIR.lstrip("/")).glob("escaped-*"):
        file.unlink()
    service.configure(
        AUTOHEALER_PROGRAM="/usr/local/lib/escaper.py",
        AUTOHEALER_REPLICAS="1",
        AUTOHEALER_ARGUMENTS="",
    )
    service.group = "escaper"
    service.systemctl("start")


def _escaped(service: Service) -> list[int]:
    """Every process that ever escaped from a worker."""
    folder = service.machine.root / STATE_DIR.lstrip("/")
    return [int(file.name.partition("-")[2]) for file in folder.glob("escaped-*")]
