"""Wait for a group's claim: until it is ours, cannot be had, or nobody needs it any more."""

from __future__ import annotations

import asyncio

from autohealer.coordination.claim import ClaimUnavailable, GroupClaim, GroupTaken
from autohealer.statedir.lock import AlreadyRunning


async def claimed(claim: GroupClaim, stop_asked: asyncio.Event, *, has_workers: bool) -> None:
    """Return when the group is ours alone, cannot be claimed, or is to be stopped.

    Raises:
        AlreadyRunning: another daemon keeps the group, and no worker of ours lives.
    """
    taking = asyncio.ensure_future(claim.take())
    stopping = asyncio.ensure_future(stop_asked.wait())
    await asyncio.wait({taking, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not taking.done():
        taking.cancel()
        return
    try:
        taking.result()
    except GroupTaken as taken:
        if not has_workers:
            raise AlreadyRunning(str(taken)) from taken
    except ClaimUnavailable:
        return  # said by the claim, which goes on trying
