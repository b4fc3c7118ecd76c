"""A group whose programs register under names of their own, and the server where they do: for tests of the core."""

from __future__ import annotations

from dataclasses import dataclass, field

from autohealer.core.binding import child_of
from autohealer.core.children import Child, Sight
from autohealer.core.events import (
    ChildExamined,
    ReplicasSet,
    StoreChanged,
    WorkersListed,
)
from autohealer.core.model import Incarnation, Phase, Store, StoreRoom
from autohealer.core.policy import Policy, Registrar
from autohealer.core.strangers import Standing
from tests.unit.core.notation import BASE, Scene

POLICY = Policy(registrar=Registrar.ANONYMOUS, registration_timeout_s=20.0)
IT, NEXT = Incarnation(0, BASE), Incarnation(1, BASE)


@dataclass
class Server:
    """Children of `/workers`, made one after another; `look` says what a look at one shows."""

    zxid: int = 100
    children: dict[str, Child] = field(default_factory=dict)

    def make(self, owner: int, label: str = "") -> Child:
        """A session makes a child."""
        self.zxid += 1
        child = Child(label or f"worker_{self.zxid:010}", self.zxid, owner)
        self.children[child.label] = child
        return child

    def lose(self, child: Child) -> None:
        """It is gone."""
        self.zxid += 1
        del self.children[child.label]

    def listed(self, scene: Scene) -> WorkersListed:
        """What a list shows now."""
        return WorkersListed(
            frozenset(), frozenset(self.children), scene.view.now, newest=self.zxid
        )


def look(child: Child, maker: Incarnation | None = None, *, foreign: bool = False) -> ChildExamined:
    """What is found out about a child."""
    return ChildExamined(Sight(child, maker, foreign), Standing.UNKNOWN)


class Group(Scene):
    """A scene whose programs register under names of their own."""

    def __init__(
        self, replicas: int, server: Server, group: str = "", room: StoreRoom | None = None
    ) -> None:
        super().__init__(policy=POLICY, listed=False, group=group, room=room)
        self.server = server
        self.decide(StoreChanged(Store.CONNECTED, 1))
        self.after(0.01, server.listed(self))
        self.after(0.01, ReplicasSet(replicas))

    def runs(self, key: int) -> list[str]:
        """What was ordered for a slot is launched."""
        return self.after(0.1, self.spawned(key))

    def lists(self, *looks: ChildExamined) -> list[str]:  # type: ignore[override]
        """A list of what is there, and then what looks at it have shown."""
        said = self.after(0.1, self.server.listed(self))
        if looks:
            said += self.after(0.01, *looks)
            said += self.after(POLICY.rejoin_grace_s)
        return said

    def same_list(self) -> WorkersListed:
        """What is there, asked for now."""
        return self.server.listed(self)

    def grows(self, key: int, owner: int) -> Child:
        """A slot's program runs and makes a child, of whose maker nothing is proven."""
        self.runs(key)
        child = self.server.make(owner)
        self.lists(look(child))
        return child

    def phase(self, key: int) -> Phase:
        """Where a slot stands."""
        return self.view.slots[key].phase

    def child(self, key: int) -> Child | None:
        """What is bound to what fills a slot."""
        return child_of(self.view, self.name(key))
