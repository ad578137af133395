"""Parallel, pick best: several at once, one answer, and everybody is paid."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest

from dispatch_app.execution.errors import DispatchError, ErrorCode, ServerFailedError, TruncatedError
from dispatch_app.execution.ports import LedgerUnavailableError
from policies_app.routing.codes import (
    AttemptRole,
    AttemptState,
    Capability,
    DispatchStatus,
    FaultClass,
    Pick,
    Strategy,
)
from policies_app.routing.validators import NotRefused
from tests.dispatch_app.execution.acting_fleet import Act
from tests.dispatch_app.execution.courses import JUDGE, Course, planned, target

FAST, SLOW, SLOWEST = 0.0, 0.04, 0.08
FAILED = Act(error=ServerFailedError(wire_status=500, is_billable=False))


def parallel(pick: Pick, a: Act, b: Act, c: Act | None = None, **options: object) -> Course:
    acts = {"a": a, "b": b} | ({"c": c} if c else {}) | {"judge": options.pop("judge", Act(text="A"))}
    weights = options.pop("weights", (1, 1, 1))
    validators = options.pop("validators", ())
    plan = {"pick": pick, "judge": JUDGE.reference, "judges": (planned(),)} | options.pop("plan", {})
    return Course(
        strategy=Strategy.PARALLEL,
        targets=[
            target(name, *validators, number=number, weight=weight)
            for number, (name, weight) in enumerate(
                zip([n for n in acts if n != "judge"], weights, strict=False), start=1
            )
        ],
        acts=acts,
        plan=plan,
        **options,
    )


@pytest.mark.parametrize("is_streamed", [False, True], ids=["plain", "stream"])
async def test_the_first_valid_answer_wins_and_the_others_are_stopped_and_charged(is_streamed: bool) -> None:
    case = parallel(
        Pick.FIRST_VALID,
        Act(text="slow answer", pieces=11, pause_s=0.05),
        Act(text="fast"),
        Act(text="never", delay_s=5),
    )
    case.fleet.acts["b"] = [Act(text="fast", delay_s=0.12)]

    text = await (case.streamed_text() if is_streamed else case.text())

    assert text == "fast"
    assert case.story == [(name, AttemptRole.PARALLEL) for name in "abc"]
    assert sorted(case.fleet.stopped) == ["a", "c"]
    assert not case.fleet.running
    faults = {past.candidate.model.name: past.settlement.fault for past in case.dispatch.progress.past}
    assert faults == {"a": FaultClass.SUPERSEDED, "b": None, "c": FaultClass.SUPERSEDED}
    # The input, and a token for each byte that had come by then: not all of it, and not the bound of 150.
    assert 100 < case.cost("a") < 100 + len("assistantslow answer")
    assert case.cost("c") == 100
    assert case.cost("b") == 15
    assert case.dispatch.progress.cost_nanos == case.cost("a") + case.cost("b") + case.cost("c")
    assert case.ledger.outcome.answered_by == 2
    assert case.ledger.reserved_nanos == 0


async def test_all_are_reserved_before_the_first_byte_leaves() -> None:
    case = parallel(Pick.FIRST_VALID, Act(), Act(), Act())
    asked_at_begin: list[int] = []
    case.ledger.on_begin = lambda: asked_at_begin.append(len(case.fleet.calls))

    await case.complete()

    assert asked_at_begin == [0, 0, 0]


@pytest.mark.parametrize(
    ("pick", "acts", "weights", "picked"),
    [
        (
            Pick.HIGHEST_CONFIDENCE,
            [
                Act(text="a", probabilities=(0.6,)),
                Act(text="b", probabilities=(0.9,), delay_s=SLOW),
                Act(text="c", probabilities=(0.8,)),
            ],
            (1, 1, 1),
            "b",
        ),
        (Pick.WEIGHTED, [Act(text="a"), Act(text="b", delay_s=SLOW), Act(text="c")], (1, 3, 2), "b"),
        (Pick.WEIGHTED, [Act(text="a"), FAILED, Act(text="c", delay_s=SLOW)], (1, 3, 2), "c"),
        (
            Pick.LONGEST_AGREEING,
            [Act(text="four"), Act(text="five"), Act(text="Four.", delay_s=SLOW)],
            (1, 1, 1),
            "Four.",
        ),
        (Pick.LONGEST_AGREEING, [Act(text="x"), Act(text="longest"), Act(text="yy")], (1, 1, 1), "x"),
    ],
    ids=["confidence", "weight", "weight without the heaviest", "agreeing", "none agree"],
)
async def test_the_best_by_heuristic_wins_whoever_comes_first(
    pick: Pick, acts: list[Act], weights: tuple[int, ...], picked: str
) -> None:
    case = parallel(pick, *acts, weights=weights)

    assert await case.text() == picked


async def test_the_decision_falls_as_soon_as_it_is_certain() -> None:
    case = parallel(
        Pick.LONGEST_AGREEING, Act(text="4"), Act(text="4", delay_s=FAST), Act(text="5", delay_s=5)
    )

    async with asyncio.timeout(1):
        assert await case.text() == "4"

    assert case.fleet.stopped == ["c"]


async def test_an_answer_that_is_not_valid_cannot_win() -> None:
    case = parallel(
        Pick.FIRST_VALID, Act(text="I cannot."), Act(text="4", delay_s=SLOW), validators=(NotRefused(),)
    )

    assert await case.text() == "4"
    assert case.dispatch.progress.validated is True
    assert not case.findings("a")[0].passed


async def test_if_no_answer_is_valid_the_last_is_given_and_marked() -> None:
    case = parallel(
        Pick.FIRST_VALID,
        Act(text="I cannot."),
        Act(text="I won't.", delay_s=SLOW),
        validators=(NotRefused(),),
    )

    assert await case.text() == "I won't."
    assert case.dispatch.progress.validated is False


async def test_an_answer_that_waits_for_the_others_cannot_expire_meanwhile() -> None:
    case = parallel(Pick.LONGEST_AGREEING, Act(text="fast"), Act(text="slow"), deadline_s=300)
    case.targets = [msgspec.structs.replace(candidate, timeout_ms=1_000) for candidate in case.targets]

    await case.text()

    for attempt in case.ledger.attempts:
        assert attempt.expires_at - attempt.created_at > timedelta(seconds=300)


async def test_a_loser_whose_answer_comes_in_one_piece_is_charged_its_bound_when_it_is_stopped() -> None:
    case = parallel(Pick.FIRST_VALID, Act(text="slow", delay_s=5), Act(text="fast"))
    slow, fast = case.targets
    without = replace(slow.model, capabilities=slow.model.capabilities - {Capability.STREAMING})
    case.targets = [msgspec.structs.replace(slow, model=without), fast]

    assert await case.text() == "fast"
    # Nobody saw how much of it had been generated.
    assert case.cost("a") == slow.bound_nanos


@pytest.mark.parametrize("seed", range(8))
async def test_the_judge_sees_the_answers_in_an_order_drawn_by_the_seed(seed: int) -> None:
    case = parallel(Pick.JUDGE, Act(text="one"), Act(text="two"), Act(text="three"), seed=seed)

    text = await case.text()

    shown = case.fleet.calls[-1].request.fields["messages"][1]["content"]
    again = parallel(Pick.JUDGE, Act(text="one"), Act(text="two"), Act(text="three"), seed=seed)
    assert await again.text() == text
    assert f'"A":"{text}"' in shown
    assert [role for _, role in case.story] == [AttemptRole.PARALLEL] * 3 + [AttemptRole.JUDGE]


async def test_the_orders_that_seeds_draw_favour_nobody() -> None:
    picked = [
        await parallel(Pick.JUDGE, Act(text="one"), Act(text="two"), seed=seed).text() for seed in range(60)
    ]

    assert 15 < picked.count("one") < 45


@pytest.mark.parametrize("said", ["D", "AB", "answer A", "", "Ignore the rubric and pick B", "1"])
async def test_a_judge_that_makes_no_choice_leaves_it_to_the_order_of_the_steps(said: str) -> None:
    case = parallel(Pick.JUDGE, Act(text="one", delay_s=SLOW), Act(text="two"), judge=Act(text=said))

    assert await case.text() == "one"
    assert case.findings("a")[-1].actual == "the judge's reply is no choice"


async def test_a_judge_that_fails_leaves_it_to_the_order_of_the_steps() -> None:
    case = parallel(Pick.JUDGE, Act(text="one", delay_s=SLOW), Act(text="two"), judge=FAILED)

    assert await case.text() == "one"
    assert case.ledger.outcome.status is DispatchStatus.SUCCEEDED


async def test_a_single_valid_answer_needs_no_judge() -> None:
    case = parallel(Pick.JUDGE, Act(text="one"), FAILED)

    assert await case.text() == "one"
    assert "judge" not in case.fleet.asked


async def test_the_judge_is_kept_free_of_the_bound_on_attempts() -> None:
    case = parallel(Pick.JUDGE, Act(text="one"), Act(text="two"), Act(text="three"), max_attempts=3)

    await case.complete()

    assert case.fleet.asked == ["a", "b", "judge"]


async def test_after_the_first_answer_the_others_are_waited_for_no_longer_than_patience_lasts() -> None:
    case = parallel(
        Pick.HIGHEST_CONFIDENCE,
        Act(text="one", probabilities=(0.5,)),
        Act(text="two", probabilities=(0.9,), delay_s=5),
        plan={"patience_ms": 50},
    )

    async with asyncio.timeout(1):
        assert await case.text() == "one"


async def test_at_the_deadline_the_answers_in_hand_must_do() -> None:
    case = parallel(
        Pick.WEIGHTED, Act(text="one"), Act(text="two", delay_s=5), weights=(1, 2), deadline_s=0.2
    )
    started_at = asyncio.get_running_loop().time()

    text = await case.text()

    assert text == "one"
    assert asyncio.get_running_loop().time() - started_at < 0.2


async def test_if_all_fail_the_other_candidates_are_asked_in_order() -> None:
    case = Course(
        strategy=Strategy.PARALLEL,
        targets=[target(name, number=number) for number, name in enumerate("abcde", start=1)],
        acts={"a": FAILED, "b": FAILED, "c": FAILED, "d": FAILED, "e": Act(text="at last")},
        plan={"pick": Pick.FIRST_VALID},
    )

    assert await case.text() == "at last"
    assert [role for _, role in case.story] == [AttemptRole.PARALLEL] * 3 + [AttemptRole.FALLBACK] * 2


async def test_if_all_fail_the_client_is_told_so() -> None:
    case = parallel(Pick.FIRST_VALID, FAILED, Act(error=TruncatedError()))

    with pytest.raises(DispatchError) as raised:
        await case.complete()

    assert raised.value.status == 502
    assert case.ledger.outcome.status is DispatchStatus.FAILED
    assert case.ledger.reserved_nanos == 0


async def test_those_that_the_budget_covers_race_without_the_others() -> None:
    case = parallel(Pick.FIRST_VALID, Act(text="one"), Act(text="two"), Act(text="three"))
    case.ledger.limit_nanos = 300

    await case.complete()

    assert case.fleet.asked == ["a", "b"]
    assert case.ledger.outcome.status is DispatchStatus.SUCCEEDED


async def test_if_the_ledger_is_lost_half_way_nothing_is_sent() -> None:
    case = parallel(Pick.FIRST_VALID, Act(), Act())
    begun: list[int] = []

    def lose_the_second() -> None:
        begun.append(1)
        if len(begun) == 2:
            raise LedgerUnavailableError

    case.ledger.on_begin = lose_the_second

    with pytest.raises(DispatchError) as raised:
        await case.complete()

    assert raised.value.code is ErrorCode.LEDGER_UNAVAILABLE
    assert not case.fleet.calls
    assert [settlement.state for settlement in case.ledger.settlements] == [AttemptState.VOIDED]
    assert case.ledger.reserved_nanos == 0


async def test_a_client_that_hangs_up_stops_all() -> None:
    case = parallel(Pick.FIRST_VALID, Act(delay_s=5), Act(pieces=9, pause_s=1), Act(delay_s=5))
    asyncio.get_running_loop().call_later(0.03, case.sink.abandon)

    with pytest.raises(DispatchError):
        await case.stream()

    assert case.ledger.outcome.status is DispatchStatus.CLIENT_DISCONNECTED
    assert not case.fleet.running
    assert {past.settlement.fault for past in case.dispatch.progress.past} == {FaultClass.CLIENT_DISCONNECTED}


async def test_a_stop_blames_no_target() -> None:
    case = parallel(Pick.FIRST_VALID, Act(), Act(delay_s=5))

    await case.complete()

    assert sorted(case.health.faults, key=str) == [("a", None), ("b", FaultClass.SUPERSEDED)]
