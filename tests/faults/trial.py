"""Puts a group of cells to the test, and does not blame the software for a machine that is too busy."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tests.faults.cells import Cell, Group, new_nonce
from tests.faults.check import GRACE_S, deviations, lateness_s, wrong_books
from tests.faults.play import MOST_AT_ONCE, Played, play
from tests.running_servers import RunningGateway

TRIALS = 3
AGAIN_AT_ONCE = 4
HELD_UP_S = 0.05
"""A process that is kept from running for so long cannot tell who was late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a group came to.

    `repeated` is how many cells were played again, `unjudged` how many of them were late even then, on a machine that was
    still too busy to tell. `latest_s` is the worst lateness of all others.
    """

    found: Sequence[str]
    cells: int
    repeated: int
    unjudged: int
    latest_s: float


def put_to_the_test(gateway: RunningGateway, group: Group, *, folder: Path) -> Verdict:
    """Play a group. What deviates or is late while more wants to run than can is played again."""
    cells = list(group.cells())
    count, repeated, latest_s = len(cells), 0, float("-inf")
    found: list[str] = []
    for trial in range(1, TRIALS + 1):
        at_once = MOST_AT_ONCE if trial == 1 else AGAIN_AT_ONCE
        played = play(gateway, cells, folder=folder, at_once=at_once)
        found += wrong_books(played.book)
        deviating = deviations(played)
        late = [evidence for evidence in played.evidence if lateness_s(evidence) > GRACE_S]
        latest_s = max([latest_s, *(lateness_s(each) for each in played.evidence if each not in late)])
        is_too_busy = _is_too_busy(played)
        if trial == TRIALS or not is_too_busy or not (deviating or late):
            break
        cells = [_again(cell) for cell in {*deviating, *(evidence.cell for evidence in late)}]
        repeated += len(cells)
    found += [f"{cell}: {what}" for cell, whats in deviating.items() for what in whats]
    if not is_too_busy:
        latest_s = max([latest_s, *map(lateness_s, late)])
        found += [f"{evidence.cell}: {lateness_s(evidence) * 1000:.0f} ms late" for evidence in late]
    return Verdict(
        found=found,
        cells=count,
        repeated=repeated,
        unjudged=len(late) if is_too_busy else 0,
        latest_s=latest_s,
    )


def _again(cell: Cell) -> Cell:
    return replace(cell, nonce=new_nonce())


def _is_too_busy(played: Played) -> bool:
    return played.held_up_s > HELD_UP_S or os.getloadavg()[0] > (os.cpu_count() or 1)
