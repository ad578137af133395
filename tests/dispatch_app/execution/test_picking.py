from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from dispatch_app.execution.picking import Awaited, Entrant, pick
from policies_app.routing.codes import Pick

HEURISTICS = [choice for choice in Pick if choice is not Pick.JUDGE]


@st.composite
def contests(draw: st.DrawFn) -> list[Entrant]:
    size = draw(st.integers(1, 4))
    arrivals = draw(st.permutations(range(size)))
    return [
        Entrant(
            place=place,
            arrival=arrivals[place],
            weight=draw(st.integers(0, 3)),
            confidence=draw(st.none() | st.sampled_from([0.2, 0.5, 1.0])),
            essence=draw(st.sampled_from("xyz")),
            length=draw(st.integers(0, 5)),
        )
        for place in range(size)
    ]


@given(by=st.sampled_from(HEURISTICS), entrants=contests(), data=st.data())
def test_an_early_verdict_is_the_one_that_all_answers_would_have_given(
    by: Pick, entrants: list[Entrant], data: st.DataObject
) -> None:
    in_time = sorted(entrants, key=lambda entrant: entrant.arrival)
    arrived = in_time[: data.draw(st.integers(0, len(in_time)))]
    awaited = [Awaited(place=other.place, weight=other.weight) for other in entrants if other not in arrived]

    early = pick(by, arrived, awaited=awaited)
    final = pick(by, entrants, awaited=())

    assert final is not None
    if early is None:
        return
    if by is Pick.LONGEST_AGREEING:
        # What the most say is certain; which of their wordings is the longest need not be.
        assert early.essence == final.essence
    else:
        assert early == final


@given(by=st.sampled_from(HEURISTICS), entrants=contests(), data=st.data())
def test_the_order_in_which_answers_are_listed_does_not_matter(
    by: Pick, entrants: list[Entrant], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(entrants))

    assert pick(by, shuffled, awaited=()) == pick(by, entrants, awaited=())


@given(entrants=contests())
def test_the_highest_confidence_wins_and_none_counts_as_nothing(entrants: list[Entrant]) -> None:
    winner = pick(Pick.HIGHEST_CONFIDENCE, entrants, awaited=())

    assert winner is not None
    assert (winner.confidence or 0) == max(entrant.confidence or 0 for entrant in entrants)


@given(entrants=contests())
def test_equals_go_by_the_order_of_the_steps(entrants: list[Entrant]) -> None:
    equal = [replace(entrant, weight=1, confidence=0.5, essence="x", length=3) for entrant in entrants]

    for by in (Pick.WEIGHTED, Pick.HIGHEST_CONFIDENCE, Pick.LONGEST_AGREEING):
        winner = pick(by, equal, awaited=())
        assert winner is not None
        assert winner.place == 0


@given(entrants=contests())
def test_a_judge_is_spared_only_where_there_is_nothing_to_choose(entrants: list[Entrant]) -> None:
    verdict = pick(Pick.JUDGE, entrants, awaited=())

    assert verdict == (entrants[0] if len(entrants) == 1 else None)
    assert pick(Pick.JUDGE, entrants[:1], awaited=[Awaited(place=9, weight=1)]) is None


def test_without_an_answer_nobody_wins() -> None:
    assert all(pick(by, [], awaited=()) is None for by in Pick)
