"""What serves one group in ZooKeeper, as its settings have it: its claim, its agent, and who binds foreign names.

Nothing here is begun; that is for the keeper to do, which also ends it.
"""

from __future__ import annotations

from pathlib import Path

from autohealer.assembly.agency import Agency
from autohealer.assembly.binder import GroupBinder
from autohealer.assembly.provision import claim_record
from autohealer.assembly.shared import Shared
from autohealer.coordination.claim import GroupClaim
from autohealer.coordination.registry import GroupRegistry
from autohealer.core.policy import Registrar
from autohealer.processes.local import LocalProcesses
from autohealer.settings import GroupSettings
from autohealer.statedir.bonds_note import has_bonds_note


def claim_of(settings: GroupSettings, shared: Shared) -> GroupClaim:
    """What makes sure that no other daemon keeps the group."""
    return GroupClaim(
        shared.session,
        settings.name,
        claim_record(shared.secret, shared.settings.state_dir),
        lambda sentence: shared.logger.warning("group_claim", why=sentence),
    )


def agency_of(settings: GroupSettings, shared: Shared, folder: Path) -> Agency | None:
    """Where the programs do not register themselves, what does it for them."""
    if settings.launch.registrar is not Registrar.AGENT:
        return None
    return Agency(
        shared.agent_session,
        shared.connection,
        folder,
        settings.name,
        lambda sentence: shared.logger.warning("agent_trouble", why=sentence),
        shared.unforeseen.start,
    )


def binder_of(
    settings: GroupSettings,
    shared: Shared,
    folder: Path,
    registry: GroupRegistry,
    processes: LocalProcesses,
) -> GroupBinder | None:
    """Where they register under names of their own, or did, what finds out whose those are."""
    is_anonymous = settings.launch.registrar is Registrar.ANONYMOUS
    if not is_anonymous and not has_bonds_note(folder):
        return None
    return GroupBinder(
        shared.session,
        registry,
        shared.connections,
        processes,
        folder,
        shared.connection,
        lambda sentence: shared.logger.warning("bindings_lost", why=sentence),
        shared.unforeseen.start,
    )
