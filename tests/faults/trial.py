"""Puts a group of cells to the test. What goes wrong among many is played again among few before it counts."""

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

    `found` is what is wrong, each time that it was played. `once` is what was wrong or late and was not when it was played
    again with fewer at once: on a machine with nothing else to do there is none. `unjudged` is how many cells were late every
    time, on a machine that was too busy to tell. `latest_s` is the worst lateness of all others.
    """

    found: Sequence[str]
    once: Sequence[str]
    cells: int
    unjudged: int
    latest_s: float


def put_to_the_test(gateway: RunningGateway, group: Group, *, folder: Path) -> Verdict:
    """Play a group, and what deviates or is late up to twice more."""
    cells = list(group.cells())
    count, latest_s = len(cells), float("-inf")
    books: list[str] = []
    wrong: dict[Cell, list[str]] = {}
    once: list[str] = []
    for trial in range(1, TRIALS + 1):
        played = play(gateway, cells, folder=folder, at_once=MOST_AT_ONCE if trial == 1 else AGAIN_AT_ONCE)
        books += wrong_books(played.book)
        late = {evidence.cell: lateness_s(evidence) for evidence in played.evidence}
        late = {cell: by_s for cell, by_s in late.items() if by_s > GRACE_S}
        latest_s = max([latest_s, *(lateness_s(each) for each in played.evidence if each.cell not in late)])
        wrong = deviations(played)
        if trial == TRIALS or not (wrong or late):
            break
        once += [f"{cell}: {what}" for cell, whats in wrong.items() for what in whats]
        once += [_told(cell, by_s) for cell, by_s in late.items()]
        cells = [_again(cell) for cell in {**wrong, **late}]
    found = books + [f"{cell}: {what}" for cell, whats in wrong.items() for what in whats]
    is_too_busy = _is_too_busy(played)
    if late and not is_too_busy:
        latest_s = max(late.values())
        found += [_told(cell, by_s) for cell, by_s in late.items()]
    return Verdict(
        found=found, once=once, cells=count, unjudged=len(late) if is_too_busy else 0, latest_s=latest_s
    )


def _told(cell: Cell, late_s: float) -> str:
    return f"{cell}: {late_s * 1000:.0f} ms late"


def _again(cell: Cell) -> Cell:
    return replace(cell, nonce=new_nonce())


def _is_too_busy(played: Played) -> bool:
    return played.held_up_s > HELD_UP_S or os.getloadavg()[0] > (os.cpu_count() or 1)
