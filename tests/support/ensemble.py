"""Three Apache ZooKeeper servers on the loopback interface that keep one store together.

Theory of operation: the members are launched together and answer `ruok` as soon as they run; the
ensemble serves once `srvr` names one leader and two followers, so that is what a start waits for.

Limits: the ports of the servers' own talk are free when they are chosen, not reserved.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.apache import ApacheZooKeeper
from tests.support.eventually import eventually
from tests.support.ports import HOST, free_port
from tests.support.servers import four_letter_word

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from types import TracebackType

SIZE = 3
_WHOLE = ["follower", "follower", "leader"]
_SERVES_WITHIN_S = 40.0


class Member(ApacheZooKeeper):
    """One server of an ensemble; `peers` are all members' addresses for each other, in order."""

    def __init__(self, data_dir: Path, number: int, peers: tuple[str, ...]) -> None:
        super().__init__(data_dir)
        self._number = number
        self._peers = peers

    def launch(self) -> None:
        """Start it without waiting, knowing which of the members it is."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        (self.data_dir / "myid").write_text(str(self._number))
        super().launch()

    @property
    def role(self) -> str:
        """`leader`, `follower`, or empty while it serves nobody."""
        lines = four_letter_word(self.address, "srvr").splitlines()
        return next((line.split()[1] for line in lines if line.startswith("Mode:")), "")

    def _settings(self) -> dict[str, object]:
        peers = {f"server.{number}": peer for number, peer in enumerate(self._peers, 1)}
        return super()._settings() | {"initLimit": 20, "syncLimit": 4} | peers


class Ensemble:
    """Three members; use it as a context manager."""

    def __init__(self, data_dir: Path) -> None:
        peers = tuple(f"{HOST}:{free_port()}:{free_port()}" for _ in range(SIZE))
        self.members = [Member(data_dir / str(n), n, peers) for n in range(1, SIZE + 1)]

    def __enter__(self) -> Ensemble:
        self.start(self.members)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for member in self.members:
            member.stop()

    @property
    def address(self) -> str:
        """The connection string that names all members."""
        return ",".join(member.address for member in self.members)

    @property
    def leader(self) -> Member:
        """The member that leads now."""
        return next(member for member in self.members if member.role == "leader")

    @property
    def followers(self) -> list[Member]:
        """The members that follow it."""
        return [member for member in self.members if member.role == "follower"]

    def start(self, members: Iterable[Member]) -> None:
        """Launch members together and wait until all three serve."""
        for member in members:
            member.launch()
        self.await_service()

    def await_service(self) -> None:
        """Wait until there is one leader and everybody follows it."""
        eventually(
            lambda: sorted(member.role for member in self.members) == _WHOLE,
            within_s=_SERVES_WITHIN_S,
            view=lambda: [member.role for member in self.members],
        )
