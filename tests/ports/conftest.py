"""Coroutine tests run on a real asyncio loop of their own."""

from __future__ import annotations

import asyncio
import inspect
from pathlib import Path

import pytest

from tests.ports.process_stages import Opens, fake_stage, real_stage


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine test to its end."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    wanted = inspect.signature(pyfuncitem.obj).parameters
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in wanted}))
    return True


@pytest.fixture(params=["fake", "real"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opens:
    """Open a stage on either kind of process."""
    if request.param == "fake":
        return fake_stage
    return lambda manner: real_stage(manner, tmp_path)
