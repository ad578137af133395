"""Which of several valid answers is given. Pure: an answer in, a verdict out, the same for the same arguments."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from policies_app.routing.codes import Pick

PICK = "pick"
"""The name under which the log says why an answer was picked, or was not, among what validators found."""
PICK_IN_WORDS: Mapping[Pick, str] = {
    Pick.FIRST_VALID: "the first valid answer is picked",
    Pick.HIGHEST_CONFIDENCE: "the answer of the highest confidence is picked",
    Pick.LONGEST_AGREEING: "the longest of the answers that agree most is picked",
    Pick.WEIGHTED: "the valid answer of the greatest weight is picked",
    Pick.JUDGE: "the judge picks",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrant:
    """One valid answer. `place` is its step's place in the route, which breaks ties; `arrival` its place in time.

    `confidence` is None where the model gave no log-probabilities, which counts as none at all. Answers of one `essence`
    say the same.
    """

    place: int
    arrival: int
    weight: int
    confidence: float | None
    essence: str
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Awaited:
    """One answer that is still to come, if it comes."""

    place: int
    weight: int


def pick(by: Pick, entrants: Sequence[Entrant], *, awaited: Sequence[Awaited]) -> Entrant | None:
    """The entrant that wins whatever is still awaited; None as long as that is not certain, or there is no entrant.

    Picking by judge is certain only with all answers in, and then only if there is one.
    """
    if not entrants:
        return None
    match by:
        case Pick.FIRST_VALID:
            return min(entrants, key=lambda entrant: entrant.arrival)
        case Pick.HIGHEST_CONFIDENCE:
            return _most_confident(entrants, awaited)
        case Pick.WEIGHTED:
            return _weightiest(entrants, awaited)
        case Pick.LONGEST_AGREEING:
            return _longest_agreeing(entrants, awaited)
        case Pick.JUDGE:
            return entrants[0] if len(entrants) == 1 and not awaited else None


def _most_confident(entrants: Sequence[Entrant], awaited: Sequence[Awaited]) -> Entrant | None:
    best = max(entrants, key=lambda entrant: (entrant.confidence or 0.0, -entrant.place))
    is_unbeatable = (best.confidence or 0.0) >= 1.0 and all(best.place < other.place for other in awaited)
    return best if is_unbeatable or not awaited else None


def _weightiest(entrants: Sequence[Entrant], awaited: Sequence[Awaited]) -> Entrant | None:
    best = max(entrants, key=lambda entrant: (entrant.weight, -entrant.place))
    is_beatable = any((other.weight, -other.place) > (best.weight, -best.place) for other in awaited)
    return None if is_beatable else best


def _longest_agreeing(entrants: Sequence[Entrant], awaited: Sequence[Awaited]) -> Entrant | None:
    """Of the largest group that says the same, the longest answer; of groups of one size, the one with the earliest step."""
    sizes = Counter(entrant.essence for entrant in entrants)
    first_places = {essence: _first_place(entrants, essence) for essence in sizes}
    leading, runner_up = _two_largest(sizes, first_places)
    if awaited and sizes[leading] <= runner_up + len(awaited):
        return None
    group = [entrant for entrant in entrants if entrant.essence == leading]
    return max(group, key=lambda entrant: (entrant.length, -entrant.place))


def _two_largest(sizes: Counter[str], first_places: dict[str, int]) -> tuple[str, int]:
    """The essence of the largest group, and the size of the next."""
    ranked = sorted(sizes, key=lambda essence: (-sizes[essence], first_places[essence]))
    return ranked[0], sizes[ranked[1]] if len(ranked) > 1 else 0


def _first_place(entrants: Sequence[Entrant], essence: str) -> int:
    return min(entrant.place for entrant in entrants if entrant.essence == essence)
