"""Hard kill switches: what they stop is not only refused, but cut where it is in flight."""

import asyncio
import logging

from dispatch_app.gateway.owners import Owners
from dispatch_app.gateway.services import Snapshots, SystemClock
from dispatch_app.snapshot.situation import NOTHING_KILLED, cut_targets

logger = logging.getLogger(__name__)

LOOK_S = 0.2
"""An edit is in the snapshot within 250 ms, so that this cuts within half a second."""


async def keep_cutting(*, owners: Owners, snapshots: Snapshots, clock: SystemClock) -> None:
    """Look again and again, for as long as hard switches are on: an attempt may be admitted just before, and begin just after."""
    while True:
        await asyncio.sleep(LOOK_S)
        try:
            cut_in_flight(owners=owners, snapshots=snapshots, clock=clock)
        except Exception:
            logger.exception("Unable to cut what a hard kill switch stops.")


def cut_in_flight(*, owners: Owners, snapshots: Snapshots, clock: SystemClock) -> None:
    """Cut, once, what the hard switches of the moment stop."""
    if not snapshots.is_loaded or not snapshots.current.kill_switches:
        return
    killed = cut_targets(switches=snapshots.current.kill_switches, now=clock.now())
    if killed is not NOTHING_KILLED:
        for dispatch in owners.dispatches:
            dispatch.cut(killed)
