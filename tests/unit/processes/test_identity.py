"""Which process is which, and who may say that it is ours."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from autohealer.core.model import Incarnation
from autohealer.processes.identity import (
    TICKS_PER_S,
    Claim,
    age_s,
    claim_of,
    environment_of,
    is_proven,
    start_ticks,
    token_of,
)
from tests.support.eventually import eventually

WITHIN_S = 10.0
NAME = Incarnation(3, 17)
SECRET = b"a secret"
NO_SUCH_PID = 2**22 - 1
CLAIM = {
    "AUTOHEALER_GROUP": "web",
    "AUTOHEALER_SLOT": "3",
    "AUTOHEALER_GENERATION": "17",
    "AUTOHEALER_TOKEN": token_of(SECRET, "web", NAME),
}


@contextmanager
def sleeping(environment: Mapping[str, str], program: str = "/bin/sleep") -> Iterator[int]:
    """Have a process with an environment for a block.

    For an instant after the exec the kernel shows an empty one.
    """
    with subprocess.Popen((program, "600"), env=environment) as process:
        try:
            eventually(
                lambda: bool(environment_of(process.pid)) == bool(environment), within_s=WITHIN_S
            )
            yield process.pid
        finally:
            process.kill()


def test_the_start_is_the_kernels() -> None:
    """A reused pid could not be told from the worker that had it before."""
    since_boot_s = psutil.Process().create_time() - psutil.boot_time()
    assert start_ticks(os.getpid()) == pytest.approx(since_boot_s * TICKS_PER_S, abs=TICKS_PER_S)
    assert start_ticks(NO_SUCH_PID) is None


def test_a_later_process_started_later() -> None:
    """An adopted worker's age would be wrong."""
    mine = start_ticks(os.getpid())
    with sleeping({}) as pid:
        started = start_ticks(pid)
        assert mine is not None
        assert started is not None
        assert started >= mine
        assert 0.0 <= age_s(pid) < 30.0
    assert age_s(NO_SUCH_PID) == 0.0


def test_a_program_with_an_odd_name_is_read_right(tmp_path: Path) -> None:
    """A program called `a) b (c` would crash the daemon, or pass for another process."""
    odd = tmp_path / "a) R 1 (b"
    shutil.copyfile("/bin/sleep", odd)
    odd.chmod(0o755)
    with sleeping({}) as plain, sleeping({}, str(odd)) as pid:
        begun, later = start_ticks(plain), start_ticks(pid)
        assert begun is not None
        assert later is not None
        assert 0 <= later - begun < 30 * TICKS_PER_S


def test_a_worker_is_known_by_its_environment() -> None:
    """No worker could be adopted."""
    with sleeping(CLAIM) as pid:
        claim = claim_of(pid)
        assert claim == Claim("web", NAME, CLAIM["AUTOHEALER_TOKEN"])
        assert is_proven(claim, SECRET)


@pytest.mark.parametrize(
    "forged",
    [
        {"token": "0" * 32},
        {"token": ""},
        {"name": Incarnation(3, 18)},
        {"name": Incarnation(4, 17)},
        {"group": "api"},
    ],
)
def test_a_claim_that_is_not_what_was_signed_is_not_proven(forged: dict[str, object]) -> None:
    """A process could have another one's slot by editing its environment."""
    claim = Claim("web", NAME, token_of(SECRET, "web", NAME))
    assert is_proven(claim, SECRET)
    assert not is_proven(replace(claim, **forged), SECRET)  # type: ignore[arg-type]


def test_another_daemons_secret_proves_nothing() -> None:
    """Two state directories' daemons would take each other's workers."""
    claim = Claim("web", NAME, token_of(b"another", "web", NAME))
    assert not is_proven(claim, SECRET)


def test_a_token_that_is_no_text_is_not_proven() -> None:
    """Any process of the user with an odd environment would end the daemon at its start."""
    with sleeping(CLAIM | {"AUTOHEALER_TOKEN": "schl\u00fcssel"}) as pid:
        claim = claim_of(pid)
        assert claim is not None
        assert not is_proven(claim, SECRET)


@pytest.mark.parametrize("missing", sorted(CLAIM))
def test_half_a_claim_is_none(missing: str) -> None:
    """A process with some of our variables would crash the search for workers."""
    with sleeping({key: value for key, value in CLAIM.items() if key != missing}) as pid:
        assert claim_of(pid) is None


def test_a_slot_that_is_no_number_is_no_claim() -> None:
    """A typing error in somebody's shell would crash the daemon."""
    with sleeping(CLAIM | {"AUTOHEALER_SLOT": "three"}) as pid:
        assert claim_of(pid) is None


def test_what_is_gone_or_a_zombie_claims_nothing() -> None:
    """A worker that has just died would be adopted."""
    assert environment_of(NO_SUCH_PID) == {}
    with sleeping(CLAIM) as pid:
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert claim_of(pid) is None
