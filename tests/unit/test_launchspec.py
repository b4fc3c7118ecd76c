"""The revision names what a launch depends on."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from autohealer.core.policy import Registrar
from autohealer.launchspec import LaunchSpec, ResourceLimits

PLAIN = LaunchSpec(("/bin/sleep", "1"))


def test_a_field_that_is_as_by_default_does_not_count() -> None:
    """An upgrade that brings a new field would make every worker outdated."""
    told = b'{"argv": ["/bin/sleep", "1"]}'
    assert PLAIN.revision == hashlib.sha256(told).hexdigest()[:12]


OTHERS = (
    replace(PLAIN, argv=("/bin/sleep", "2")),
    replace(PLAIN, argv=("/bin/\udcff",)),
    replace(PLAIN, registrar=Registrar.AGENT),
    replace(PLAIN, environment=(("A", "1"),)),
    replace(PLAIN, directory="/"),
    replace(PLAIN, user="nobody"),
    replace(PLAIN, group="nogroup"),
    replace(PLAIN, umask=0o027),
    replace(PLAIN, port=80),
    replace(PLAIN, nice=0),
    replace(PLAIN, oom_score_adj=0),
    *(
        replace(PLAIN, limits=ResourceLimits(**{name: most}))
        for name in ResourceLimits.__slots__
        for most in (8, 9)
    ),
)


def test_whatever_a_launch_depends_on_makes_another_revision() -> None:
    """Workers would run what nobody wants any more, and pass for current."""
    revisions = [spec.revision for spec in (PLAIN, *OTHERS)]
    assert len(set(revisions)) == len(revisions)
