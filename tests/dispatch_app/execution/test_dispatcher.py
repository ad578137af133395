"""The envelope: which attempts are made, in what order with the ledger, and what each of them costs."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import msgspec
import pytest

from dispatch_app.execution.canonical import Request, StreamPart
from dispatch_app.execution.dispatcher import Dispatch, StreamTail
from dispatch_app.execution.errors import (
    CredentialRefusedError,
    DeadlineExceededError,
    DispatchError,
    ErrorCode,
    FirstByteTimeoutError,
    IdleTimeoutError,
    InvalidReplyError,
    QuotaExhaustedError,
    RateLimitedError,
    RedirectedError,
    RequestRejectedError,
    ServerFailedError,
    StreamFailedError,
    TruncatedError,
    UnreachableError,
    UpstreamError,
)
from dispatch_app.execution.retry_budget import RetryBudget
from policies_app.routing.codes import AttemptRole, AttemptState, DispatchStatus, FaultClass, Strategy
from policies_app.routing.quirks import Quirks
from policies_app.routing.types import Candidate, RoutePlan, Usage
from tests.dispatch_app.execution.dispatches import make_dispatch, retries_left
from tests.dispatch_app.execution.health import ScriptedHealth
from tests.dispatch_app.execution.in_memory_ledger import InMemoryLedger
from tests.dispatch_app.execution.scripted_upstream import (
    USAGE,
    Act,
    CollectingSink,
    Scene,
    ScriptedUpstream,
    delta,
    finish,
    report,
)
from tests.dispatch_app.routing_values import make_candidate

SMALL = make_candidate("small", number=1)
MID = make_candidate("mid", number=2, nanos_a_token=6)
FRONTIER = make_candidate("frontier", number=3, nanos_a_token=36)
FLEET = (SMALL, MID, FRONTIER)
COST = 15
"""Of `USAGE` at `SMALL`."""


@dataclass(kw_only=True)
class Scenario:
    """A dispatcher between an upstream and a ledger of the test's."""

    ledger: InMemoryLedger
    upstream: ScriptedUpstream
    retries: RetryBudget
    health: ScriptedHealth = field(default_factory=ScriptedHealth)

    def dispatch(
        self,
        candidates: Sequence[Candidate] = FLEET,
        *,
        max_attempts: int = 3,
        deadline_s: float = 5.0,
        choices: int = 1,
        fields: dict[str, object] | None = None,
    ) -> Dispatch:
        plan = RoutePlan(
            rule="default",
            strategy=Strategy.FAILOVER,
            candidates=tuple(candidates),
            deadline_ms=int(deadline_s * 1000),
            max_attempts=max_attempts,
        )
        return make_dispatch(
            plan,
            request=Request(fields=fields or {}, stream=False, choices=choices),
            ledger=self.ledger,
            upstream=self.upstream,
            order={"baseline": FRONTIER.price},
            ports={"retries": self.retries, "health": self.health},
        )

    @property
    def asked(self) -> list[str]:
        return [call.candidate.model.name for call in self.upstream.calls]

    @property
    def roles(self) -> list[AttemptRole]:
        return [attempt.role for attempt in self.ledger.attempts]


def scenario(*acts: Act, scenes: Sequence[Scene] = (), retries: int = 0, **ledger: object) -> Scenario:
    return Scenario(
        ledger=InMemoryLedger(**ledger),
        upstream=ScriptedUpstream(acts=list(acts), scenes=list(scenes)),
        retries=retries_left(retries),
    )


FAILS_OVER = [
    UnreachableError(),
    RateLimitedError(wire_status=429),
    QuotaExhaustedError(wire_status=429),
    ServerFailedError(wire_status=500, is_billable=False),
    CredentialRefusedError(wire_status=401),
    FirstByteTimeoutError(),
    IdleTimeoutError(),
    TruncatedError(),
    StreamFailedError(),
    InvalidReplyError(),
    RedirectedError(wire_status=302),
]
FREE = {
    FaultClass.UNREACHABLE,
    FaultClass.RATE_LIMITED,
    FaultClass.QUOTA_EXHAUSTED,
    FaultClass.SERVER_ERROR,
    FaultClass.CREDENTIAL_REFUSED,
    FaultClass.REDIRECTED,
}


async def test_a_good_first_reply_is_the_only_attempt() -> None:
    case = scenario(USAGE)
    dispatch = case.dispatch()

    reply = await dispatch.complete()

    assert reply.choices[0].message["content"] == "Hi"
    assert case.asked == ["small"]
    (settlement,) = case.ledger.settlements
    assert (settlement.cost_nanos, settlement.usage, settlement.estimated) == (COST, USAGE, False)
    assert case.ledger.outcome.status is DispatchStatus.SUCCEEDED
    assert case.ledger.outcome.error_code == ""
    assert case.ledger.outcome.baseline_cost_nanos == 36 * COST
    assert dispatch.progress.cost_nanos == COST


async def test_nothing_is_sent_before_the_ledger_has_admitted_it() -> None:
    case = scenario(RateLimitedError(wire_status=429), USAGE)
    seen: list[tuple[str, int]] = []
    case.ledger.on_begin = lambda: seen.append(("begin", len(case.upstream.calls)))
    case.ledger.on_settle = lambda: seen.append(("settle", len(case.upstream.calls)))

    await case.dispatch().complete()

    assert seen == [("begin", 0), ("settle", 1), ("begin", 1), ("settle", 2)]


@pytest.mark.parametrize("error", FAILS_OVER, ids=lambda error: error.fault)
async def test_the_next_target_answers_when_one_fails(error: UpstreamError) -> None:
    case = scenario(error, USAGE)

    await case.dispatch().complete()

    assert case.asked == ["small", "mid"]
    assert case.roles == [AttemptRole.PRIMARY, AttemptRole.FALLBACK]
    first, second = case.ledger.settlements
    assert first.fault is error.fault
    assert first.outcome is None
    assert second.outcome is not None
    assert case.ledger.outcome.model_id == MID.model.id


@pytest.mark.parametrize("error", FAILS_OVER, ids=lambda error: error.fault)
async def test_a_failed_attempt_costs_what_the_vendor_could_bill(error: UpstreamError) -> None:
    case = scenario(error)

    with pytest.raises(DispatchError):
        await case.dispatch([SMALL]).complete()

    (settlement,) = case.ledger.settlements
    is_free = error.fault in FREE
    assert settlement.cost_nanos == (0 if is_free else SMALL.bound_nanos)
    assert settlement.estimated is not is_free
    is_void = error.fault is FaultClass.UNREACHABLE
    assert settlement.state is (AttemptState.VOIDED if is_void else AttemptState.SETTLED)


async def test_a_server_that_bills_its_failures_is_charged_the_bound() -> None:
    case = scenario(ServerFailedError(wire_status=500, is_billable=True))

    with pytest.raises(DispatchError):
        await case.dispatch([SMALL]).complete()

    assert case.ledger.settlements[0].cost_nanos == SMALL.bound_nanos


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (UnreachableError(), 502, ErrorCode.UPSTREAM_UNREACHABLE),
        (RateLimitedError(wire_status=429, retry_after_s=9), 429, ErrorCode.RATE_LIMIT_EXCEEDED),
        (QuotaExhaustedError(wire_status=429), 503, ErrorCode.NO_TARGET_AVAILABLE),
        (ServerFailedError(wire_status=500, is_billable=False), 502, ErrorCode.UPSTREAM_INVALID),
        (ServerFailedError(wire_status=503, is_billable=False), 503, ErrorCode.NO_TARGET_AVAILABLE),
        (RequestRejectedError(wire_status=422), 422, ErrorCode.REQUEST_REJECTED),
        (CredentialRefusedError(wire_status=401), 502, ErrorCode.UPSTREAM_UNREACHABLE),
        (FirstByteTimeoutError(), 504, ErrorCode.DEADLINE_EXCEEDED),
        (IdleTimeoutError(), 504, ErrorCode.DEADLINE_EXCEEDED),
        (DeadlineExceededError(), 504, ErrorCode.DEADLINE_EXCEEDED),
        (TruncatedError(), 502, ErrorCode.UPSTREAM_INVALID),
        (InvalidReplyError(), 502, ErrorCode.UPSTREAM_INVALID),
        (RedirectedError(wire_status=302), 502, ErrorCode.UPSTREAM_INVALID),
    ],
    ids=lambda value: getattr(value, "fault", None),
)
async def test_the_client_is_told_what_the_last_fault_means(
    error: UpstreamError, status: int, code: ErrorCode
) -> None:
    case = scenario(error)

    with pytest.raises(DispatchError) as raised:
        await case.dispatch([SMALL]).complete()

    assert (raised.value.status, raised.value.code) == (status, code)
    assert raised.value.retry_after_s == error.retry_after_s
    assert case.ledger.outcome.status is DispatchStatus.FAILED
    assert case.ledger.outcome.error_code == code


async def test_a_rate_limit_always_says_when_to_come_back() -> None:
    case = scenario(RateLimitedError(wire_status=429))

    with pytest.raises(DispatchError) as raised:
        await case.dispatch([SMALL]).complete()

    assert raised.value.retry_after_s == 1


async def test_a_request_that_the_vendor_rejects_goes_nowhere_else() -> None:
    case = scenario(RequestRejectedError(wire_status=400))

    with pytest.raises(DispatchError):
        await case.dispatch().complete()

    assert case.asked == ["small"]


async def test_no_more_attempts_are_made_than_the_rule_allows() -> None:
    case = scenario(UnreachableError(), UnreachableError())

    with pytest.raises(DispatchError):
        await case.dispatch(max_attempts=2).complete()

    assert case.asked == ["small", "mid"]
    assert case.ledger.outcome.status is DispatchStatus.FAILED


async def test_no_target_is_asked_twice_without_a_retry_budget() -> None:
    case = scenario(*[ServerFailedError(wire_status=500, is_billable=False)] * 3)

    with pytest.raises(DispatchError):
        await case.dispatch(max_attempts=9).complete()

    assert case.asked == ["small", "mid", "frontier"]


async def test_the_last_target_is_retried_once_if_its_fault_may_pass() -> None:
    case = scenario(*[ServerFailedError(wire_status=500, is_billable=False)] * 3, retries=5)

    with pytest.raises(DispatchError):
        await case.dispatch([SMALL, MID], max_attempts=9).complete()

    assert case.asked == ["small", "mid", "mid"]
    assert case.roles == [AttemptRole.PRIMARY, AttemptRole.FALLBACK, AttemptRole.RETRY]


async def test_a_timeout_is_not_retried_on_the_same_target() -> None:
    case = scenario(FirstByteTimeoutError(), retries=5)

    with pytest.raises(DispatchError):
        await case.dispatch([SMALL]).complete()

    assert case.asked == ["small"]


async def test_nothing_is_begun_after_the_deadline() -> None:
    case = scenario(USAGE)

    with pytest.raises(DispatchError) as raised:
        await case.dispatch(deadline_s=-1).complete()

    assert raised.value.code is ErrorCode.DEADLINE_EXCEEDED
    assert not case.ledger.attempts
    assert case.ledger.outcome.status is DispatchStatus.REFUSED


async def test_what_is_admitted_after_the_deadline_is_not_sent_and_costs_nothing() -> None:
    case = scenario(USAGE)
    case.ledger.on_begin = lambda: time.sleep(0.03)

    with pytest.raises(DispatchError) as raised:
        await case.dispatch(deadline_s=0.02).complete()

    assert raised.value.code is ErrorCode.DEADLINE_EXCEEDED
    assert not case.asked
    (settlement,) = case.ledger.settlements
    assert (settlement.state, settlement.cost_nanos) == (AttemptState.VOIDED, 0)


async def test_nothing_is_begun_when_posting_took_what_time_there_was() -> None:
    case = scenario(UnreachableError(), USAGE)
    case.ledger.on_settle = lambda: time.sleep(0.06)

    with pytest.raises(DispatchError) as raised:
        await case.dispatch(deadline_s=0.05).complete()

    assert raised.value.code is ErrorCode.DEADLINE_EXCEEDED
    assert case.asked == ["small"]
    assert len(case.ledger.attempts) == 1


async def test_an_attempt_ends_by_its_own_limit_or_the_dispatchs_whichever_is_nearer() -> None:
    case = scenario(UnreachableError(), USAGE)
    dispatch = case.dispatch(
        [make_candidate("small", timeout_ms=100), make_candidate("mid", timeout_ms=60_000)]
    )

    await dispatch.complete()

    first, second = case.upstream.calls
    assert first.deadline_at < dispatch.order.received_at + 0.2
    assert second.deadline_at == dispatch.order.deadline_at


async def test_a_smaller_model_is_asked_when_the_budget_does_not_cover_the_first() -> None:
    case = scenario(USAGE, limit_nanos=SMALL.bound_nanos)

    await case.dispatch([FRONTIER, MID, SMALL]).complete()

    assert case.asked == ["small"]
    assert case.ledger.attempts[0].position == 1


async def test_a_budget_that_covers_none_refuses_and_nothing_is_sent() -> None:
    case = scenario(limit_nanos=SMALL.bound_nanos - 1)

    with pytest.raises(DispatchError) as raised:
        await case.dispatch().complete()

    assert (raised.value.status, raised.value.code) == (429, ErrorCode.INSUFFICIENT_QUOTA)
    assert not case.upstream.calls
    assert case.ledger.outcome.status is DispatchStatus.REFUSED
    assert case.ledger.reserved_nanos == 0


async def test_a_killed_model_is_passed_over() -> None:
    case = scenario(USAGE, killed_models={SMALL.model.id})

    await case.dispatch().complete()

    assert case.asked == ["mid"]


async def test_when_all_are_killed_the_dispatch_is_refused() -> None:
    case = scenario(killed_models={1, 2, 3})

    with pytest.raises(DispatchError) as raised:
        await case.dispatch().complete()

    assert (raised.value.status, raised.value.code) == (503, ErrorCode.KILLED)
    assert case.ledger.outcome.error_code == "killed"


async def test_a_fallback_that_the_budget_refuses_ends_the_dispatch_as_failed() -> None:
    case = scenario(TruncatedError(), limit_nanos=SMALL.bound_nanos)

    with pytest.raises(DispatchError) as raised:
        await case.dispatch([SMALL, MID]).complete()

    assert raised.value.code is ErrorCode.INSUFFICIENT_QUOTA
    assert case.ledger.outcome.status is DispatchStatus.FAILED
    assert case.ledger.settled_nanos == SMALL.bound_nanos


async def test_without_a_ledger_nothing_is_sent() -> None:
    case = scenario(is_away=True)

    with pytest.raises(DispatchError) as raised:
        await case.dispatch().complete()

    assert (raised.value.status, raised.value.code, raised.value.retry_after_s) == (
        503,
        ErrorCode.LEDGER_UNAVAILABLE,
        1,
    )
    assert not case.upstream.calls


async def test_a_ledger_that_is_lost_between_attempts_still_ends_the_dispatch() -> None:
    case = scenario(RateLimitedError(wire_status=429))
    case.ledger.on_settle = lambda: setattr(case.ledger, "is_away", True)

    with pytest.raises(DispatchError) as raised:
        await case.dispatch().complete()

    assert raised.value.code is ErrorCode.LEDGER_UNAVAILABLE
    assert case.ledger.outcome.error_code == "ledger_unavailable"


async def test_a_settlement_that_is_late_is_said_to_be_pending() -> None:
    case = scenario(USAGE, settles_late=True)
    dispatch = case.dispatch()

    await dispatch.complete()

    assert not dispatch.progress.is_settled


@pytest.mark.parametrize(
    "usage",
    [
        None,  # not reported
        Usage(input_tokens=-1, output_tokens=5),
        Usage(input_tokens=10, output_tokens=5_000_000),  # above the bound
        Usage(input_tokens=10**30),
    ],
)
async def test_usage_that_is_missing_or_absurd_is_charged_at_the_bound(usage: Usage | None) -> None:
    case = scenario(usage)

    await case.dispatch().complete()

    (settlement,) = case.ledger.settlements
    assert (settlement.cost_nanos, settlement.estimated) == (SMALL.bound_nanos, True)
    assert settlement.usage == Usage(input_tokens=100, output_tokens=50)
    assert case.ledger.outcome.baseline_cost_nanos == 36 * SMALL.bound_nanos


async def test_zero_usage_is_zero() -> None:
    case = scenario(Usage())

    await case.dispatch().complete()

    assert (case.ledger.settlements[0].cost_nanos, case.ledger.settlements[0].estimated) == (0, False)


async def stream(case: Scenario, sink: CollectingSink, **options: object) -> StreamTail:
    return await case.dispatch(**options).stream(sink)  # type: ignore[arg-type]


async def test_a_stream_is_forwarded_but_for_its_end() -> None:
    case = scenario(scenes=[[delta("Hel"), delta("lo"), finish(), report()]])
    sink = CollectingSink()
    case.ledger.on_settle = lambda: sink.parts.append(delta("|settled"))

    tail = await stream(case, sink)

    assert sink.text == "Hello|settled"
    assert [part.finished_choices for part in tail.parts] == [1]
    assert tail.usage == USAGE
    assert case.ledger.settlements[0].cost_nanos == COST


async def test_with_several_choices_only_the_end_of_the_last_is_held_back() -> None:
    scene: Scene = [delta("a"), finish(), delta("b", index=1), finish(index=1), report()]
    case = scenario(scenes=[scene])
    sink = CollectingSink()

    tail = await stream(case, sink, choices=2)

    assert len(sink.parts) == 3
    assert len(tail.parts) == 1


async def test_before_the_first_byte_a_stream_fails_over() -> None:
    case = scenario(scenes=[[TruncatedError()], [delta("Hi"), finish(), report()]])
    sink = CollectingSink()

    await stream(case, sink)

    assert case.asked == ["small", "mid"]
    assert sink.text == "Hi"


@pytest.mark.parametrize(
    "error", [TruncatedError(), StreamFailedError(), IdleTimeoutError(), InvalidReplyError()]
)
async def test_after_the_first_byte_nothing_is_tried_again(error: UpstreamError) -> None:
    case = scenario(scenes=[[delta("Hal"), error]], retries=5)
    sink = CollectingSink()

    with pytest.raises(DispatchError):
        await stream(case, sink)

    assert case.asked == ["small"]
    assert case.ledger.settlements[0].cost_nanos == SMALL.bound_nanos
    assert case.ledger.outcome.status is DispatchStatus.FAILED


async def test_usage_that_was_reported_before_a_stream_broke_off_is_what_it_costs() -> None:
    case = scenario(scenes=[[delta("Hi"), finish(), report(), TruncatedError()]])

    with pytest.raises(DispatchError):
        await stream(case, CollectingSink())

    assert case.ledger.settlements[0].cost_nanos == COST
    assert not case.ledger.settlements[0].estimated


async def test_a_client_that_hangs_up_stops_the_vendor_and_pays_for_what_it_got() -> None:
    sink = CollectingSink()
    case = scenario(scenes=[[delta("12345"), sink.abandon, delta("never"), finish(), report()]])

    with pytest.raises(DispatchError) as raised:
        await stream(case, sink)

    (settlement,) = case.ledger.settlements
    assert sink.text == "12345"
    assert case.upstream.closed_streams == 1
    assert raised.value.status == 499
    assert settlement.fault is FaultClass.CLIENT_DISCONNECTED
    assert (settlement.cost_nanos, settlement.estimated) == (100 + 5, True)
    assert case.ledger.outcome.status is DispatchStatus.CLIENT_DISCONNECTED


async def test_a_client_that_hangs_up_on_hidden_reasoning_pays_the_bound() -> None:
    sink = CollectingSink()
    case = scenario(scenes=[[delta("12345"), sink.abandon, finish()]])

    with pytest.raises(DispatchError):
        await stream(case, sink, fields={"reasoning_effort": "high"})

    assert case.ledger.settlements[0].cost_nanos == SMALL.bound_nanos


@pytest.mark.parametrize(
    "quirks",
    [
        Quirks(thinks_unasked=True),
        # What a vendor's own words set off is not known here.
        Quirks(fixed_parameters={"enable_thinking": True}),
    ],
    ids=["thinks unasked", "fixed parameters"],
)
async def test_a_client_that_hangs_up_on_a_model_that_may_think_by_itself_pays_the_bound(
    quirks: Quirks,
) -> None:
    sink = CollectingSink()
    case = scenario(scenes=[[delta("12345"), sink.abandon, finish()]])
    thinker = msgspec.structs.replace(SMALL, model=replace(SMALL.model, quirks=quirks))

    with pytest.raises(DispatchError):
        await stream(case, sink, candidates=[thinker])

    assert case.ledger.settlements[0].cost_nanos == thinker.bound_nanos


async def test_what_was_cut_is_charged_with_what_the_models_row_added_to_the_prompt() -> None:
    sink = CollectingSink()
    case = scenario(scenes=[[delta("12345"), sink.abandon, finish()]])
    told = replace(SMALL.model, quirks=Quirks(system_prefix="x" * 30))
    wordy = msgspec.structs.replace(SMALL, model=told, bound_nanos=SMALL.bound_nanos + 50)

    with pytest.raises(DispatchError):
        await stream(case, sink, candidates=[wordy])

    (settlement,) = case.ledger.settlements
    assert (settlement.cost_nanos, settlement.usage.input_tokens) == (100 + 50 + 5, 150)


@pytest.mark.parametrize(
    ("usage", "cost_nanos"), [(USAGE, COST), (Usage(), 0)], ids=["what it used", "an explicit zero"]
)
async def test_what_was_reported_at_the_end_is_the_cost_also_for_a_client_that_hung_up_just_then(
    usage: Usage, cost_nanos: int
) -> None:
    sink = CollectingSink()
    case = scenario(scenes=[[delta("12345"), finish(), report(usage), sink.abandon, delta("")]])

    with pytest.raises(DispatchError):
        await stream(case, sink, candidates=[make_candidate(bills_after_cut=True)])

    (settlement,) = case.ledger.settlements
    assert (settlement.cost_nanos, settlement.estimated) == (cost_nanos, False)


async def test_a_client_that_hangs_up_pays_the_bound_where_the_vendor_may_go_on() -> None:
    sink = CollectingSink()
    goes_on = make_candidate(bills_after_cut=True)
    case = scenario(scenes=[[delta("12345"), sink.abandon, delta("never"), finish(), report()]])

    with pytest.raises(DispatchError):
        await stream(case, sink, candidates=[goes_on])

    (settlement,) = case.ledger.settlements
    assert (settlement.cost_nanos, settlement.estimated) == (goes_on.bound_nanos, True)


@pytest.mark.parametrize("bills_after_cut", [False, True])
async def test_a_report_from_the_middle_of_a_cut_answer_is_not_what_it_cost(bills_after_cut: bool) -> None:
    sink = CollectingSink()
    so_far = StreamPart(
        model="small", choices=delta("12345").choices, usage=Usage(input_tokens=3, output_tokens=1)
    )
    case = scenario(scenes=[[so_far, delta("678"), sink.abandon, delta("never"), finish(), report()]])
    candidate = make_candidate(bills_after_cut=bills_after_cut)

    with pytest.raises(DispatchError):
        await stream(case, sink, candidates=[candidate])

    (settlement,) = case.ledger.settlements
    assert settlement.cost_nanos == (candidate.bound_nanos if bills_after_cut else 100 + len("12345678"))
    assert settlement.estimated


async def test_a_client_that_hung_up_before_the_first_byte_is_asked_for_nobody() -> None:
    sink = CollectingSink(is_abandoned=True)
    case = scenario(scenes=[[delta("never"), finish()]])

    with pytest.raises(DispatchError):
        await stream(case, sink)

    assert case.asked == []
    assert not case.ledger.attempts
    assert case.ledger.outcome.status is DispatchStatus.CLIENT_DISCONNECTED


async def test_a_client_that_hangs_up_while_it_is_behind_is_noticed() -> None:
    sink = CollectingSink(room=1)
    case = scenario(scenes=[[delta("a"), delta("b"), finish()]])
    asyncio.get_running_loop().call_later(0.02, sink.abandon)

    with pytest.raises(DispatchError):
        await stream(case, sink)

    assert case.ledger.outcome.status is DispatchStatus.CLIENT_DISCONNECTED


async def test_a_client_that_stays_behind_is_waited_for_until_the_deadline() -> None:
    case = scenario(scenes=[[delta("a"), delta("b"), finish()]])

    async with asyncio.timeout(4):
        with pytest.raises(DispatchError) as caught:
            await stream(case, CollectingSink(room=1), deadline_s=0.05)

    assert caught.value.code is ErrorCode.DEADLINE_EXCEEDED
    assert case.upstream.closed_streams == 1


async def test_a_slow_client_holds_the_vendor_back_and_gets_everything() -> None:
    sink = CollectingSink(room=1)
    case = scenario(scenes=[[delta("a"), delta("b"), finish(), report()]])
    asyncio.get_running_loop().call_later(0.02, lambda: setattr(sink, "room", 10))

    await stream(case, sink)

    assert sink.text == "ab"
