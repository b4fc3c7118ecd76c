"""Tests that need a component of the machine say so here.

Theory of operation: on a developer's laptop a missing component skips the test; where everything is
meant to be installed, `AUTOHEALER_REQUIRE_ALL=1` turns every such skip into a failure, so that a
test cannot go missing in silence.
"""

from __future__ import annotations

import os

import pytest

REQUIRE_ALL = "AUTOHEALER_REQUIRE_ALL"


def require(component: str, present: bool) -> None:
    """Skip the running test when `component` is absent; under AUTOHEALER_REQUIRE_ALL=1 fail it."""
    __tracebackhide__ = True
    if present:
        return
    if os.environ.get(REQUIRE_ALL) == "1":
        pytest.fail(f"{component} is absent and {REQUIRE_ALL}=1 asks for everything")
    pytest.skip(f"{component} is absent")
