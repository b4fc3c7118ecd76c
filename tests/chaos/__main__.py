"""`python -m tests.chaos --faults 1000 --server embedded|apache --seed S`: a long campaign, with its figures."""

from __future__ import annotations

import argparse
import logging
import random
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.chaos.arena import SESSION_TIMEOUT_S, arena
from tests.chaos.campaign import Campaign
from tests.chaos.mixed import mixed_campaign
from tests.chaos.schedule import schedule_of
from tests.support.apache import ApacheZooKeeper
from tests.support.embedded import EmbeddedZooKeeper
from tests.support.servers import ServerProcess, running

_SERVERS: dict[str, Callable[[Path], ServerProcess]] = {
    "embedded": EmbeddedZooKeeper,
    "apache": ApacheZooKeeper,
}


def main() -> None:
    """Run one campaign; the exit code is 1 if anything was violated, and its files are kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--faults", type=int, default=100, help="how many (default 100)")
    parser.add_argument("--server", choices=_SERVERS, default="embedded")
    parser.add_argument("--mixed", action="store_true", help="a file of several kinds of programs")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    options = parser.parse_args()
    logging.disable()  # what kazoo says of cut connections is no news here
    folder = Path(tempfile.mkdtemp(prefix="autohealer-chaos-"))
    print(f"{options.server}, --seed {options.seed}, files in {folder}", flush=True)
    server = _SERVERS[options.server](folder / "zookeeper")
    if options.mixed:
        sys.exit(_mixed(server, folder, options.faults, options.seed))
    schedule = schedule_of(options.seed, options.faults, SESSION_TIMEOUT_S)
    with running(server), arena(server, folder / "state") as scene:
        report = Campaign(scene, say=lambda line: print(line, flush=True)).run(schedule)
    print(report)
    sys.exit(bool(report.violations))


def _mixed(server: ServerProcess, folder: Path, faults: int, seed: int) -> bool:
    """Whether anything was violated."""
    say = partial(print, flush=True)
    with running(server), mixed_campaign(server, folder, random.Random(seed), say) as campaign:
        campaign.run(faults)
    for kind, count in campaign.struck.most_common():
        print(f"{count:5}  {kind}")
    print(f"{campaign.struck.total()} faults, {len(campaign.violations)} violations")
    print("\n".join(campaign.violations))
    return bool(campaign.violations)


if __name__ == "__main__":
    main()
