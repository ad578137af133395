"""Requests that are made to fit what is left of a budget: their output limit is lowered to what the rest covers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from policies_app.routing.money import affordable_output_tokens, bound_nanos
from policies_app.routing.types import Candidate, Facts


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What is known to be left of a budget that requests are shrunk to, and the lowest output limit that is still of use."""

    left_nanos: int
    least_output_tokens: int


Rooms = Callable[[], Sequence[Room]]
"""What is left at the moment. The ledger alone decides what fits."""


def no_rooms() -> Sequence[Room]:
    """Where no budget wants anything to be shrunk."""
    return ()


def shrunk(candidate: Candidate, *, facts: Facts, rooms: Sequence[Room]) -> Candidate | None:
    """The candidate with an output limit that every room covers, itself if it fits as it is; None if none would be of use."""
    for room in rooms:
        if candidate.bound_nanos <= max(0, room.left_nanos):
            continue
        limit = affordable_output_tokens(
            facts=facts, model=candidate.model, price=candidate.price, nanos=room.left_nanos
        )
        if limit is None or limit < max(1, room.least_output_tokens):
            return None
        candidate = _limited(candidate, facts=facts, output_tokens_limit=limit)
    return candidate


def _limited(candidate: Candidate, *, facts: Facts, output_tokens_limit: int) -> Candidate:
    bound = bound_nanos(
        facts=facts, model=candidate.model, price=candidate.price, output_tokens_limit=output_tokens_limit
    )
    return msgspec.structs.replace(
        candidate, output_tokens_limit=output_tokens_limit, bound_nanos=bound, is_shrunk=True
    )
