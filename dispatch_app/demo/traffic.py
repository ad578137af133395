"""Some days of plausible traffic, so that the cost pages have something to show before the first real request.

Every dispatch is decided by the published policies and goes through the ledger like a real one; only the vendor's answer
is made up. So the log, the budgets and the rollups agree by construction.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from secrets import randbits
from uuid import UUID

from django.db import connection
from psycopg.conninfo import make_conninfo

from dispatch_app.execution.ports import (
    AttemptRecord,
    DispatchOutcome,
    DispatchRecord,
    LedgerUnavailableError,
    Settlement,
    Verdict,
)
from dispatch_app.ledger.ledger import PostgresLedger
from dispatch_app.snapshot.budget_usage import BudgetUsage
from dispatch_app.snapshot.loader import load_snapshot
from dispatch_app.snapshot.situation import budget_keys, situation_of
from dispatch_app.snapshot.types import ServedKey, ServedPolicy, Snapshot
from policies_app.models import ApiKey
from policies_app.routing.choose import choose
from policies_app.routing.codes import AttemptRole, AttemptState, DispatchStatus, FaultClass, Tier
from policies_app.routing.explain import explain
from policies_app.routing.money import cost_nanos
from policies_app.routing.types import Candidate, Decision, Facts, RoutePlan, Usage

DAYS = 9
SEED = 1
FAILED_ATTEMPTS = 0.04
PATIENCE_S = 30.0  # Nobody waits for these answers, and a first start keeps a small machine busy.
# Few enough that no reservation waits long for its commit, even on a busy machine.
IN_FLIGHT = 16
ATTEMPT_LASTS = timedelta(minutes=2)
REFUSED_AFTER_MS = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Habit:
    """What one service of a tenant sends. Tokens are ranges; `hourly` is its busiest hour's number of requests."""

    tenant: str
    key_label: str
    policy: str
    task: str
    tags: tuple[tuple[str, str], ...]
    users: tuple[str, ...]
    hourly: float
    input_tokens: tuple[int, int]
    output_tokens: tuple[int, int]
    works_at_night: bool = False


CUSTOMERS = tuple(f"customer-{number}" for number in range(101, 113))
DEVELOPERS = ("amelie", "ben", "carla", "deniz", "emil")
CLERKS = ("harper", "isla", "jordan")

HABITS = (
    Habit(
        tenant="acme",
        key_label="help-desk",
        policy="support-bot",
        task="support",
        tags=(("plan", "basic"),),
        users=CUSTOMERS,
        hourly=5,
        input_tokens=(300, 1_500),
        output_tokens=(60, 350),
        works_at_night=True,
    ),
    Habit(
        tenant="acme",
        key_label="help-desk",
        policy="support-bot",
        task="support",
        tags=(("plan", "gold"),),
        users=CUSTOMERS[:3],
        hourly=1.5,
        input_tokens=(300, 2_000),
        output_tokens=(100, 500),
        works_at_night=True,
    ),
    Habit(
        tenant="acme",
        key_label="code-assistant",
        policy="auto",
        task="code",
        tags=(("team", "platform"),),
        users=DEVELOPERS,
        hourly=4,
        input_tokens=(800, 7_000),
        output_tokens=(150, 1_200),
    ),
    Habit(
        tenant="acme",
        key_label="code-assistant",
        policy="auto",
        task="review",
        tags=(("team", "platform"),),
        users=DEVELOPERS,
        hourly=1.2,
        input_tokens=(6_000, 30_000),
        output_tokens=(300, 1_500),
    ),
    Habit(
        tenant="acme",
        key_label="help-desk",
        policy="auto",
        task="faq",
        tags=(("team", "help-desk"),),
        users=CUSTOMERS,
        hourly=2.5,
        input_tokens=(150, 900),
        output_tokens=(40, 250),
        works_at_night=True,
    ),
    Habit(
        tenant="globex",
        key_label="back-office",
        policy="auto",
        task="summary",
        tags=(("team", "contracts"),),
        users=CLERKS,
        hourly=2.5,
        input_tokens=(2_000, 18_000),
        output_tokens=(200, 900),
    ),
    Habit(
        tenant="globex",
        key_label="back-office",
        policy="auto",
        task="reasoning",
        tags=(("team", "pricing"),),
        users=CLERKS,
        hourly=0.8,
        input_tokens=(500, 3_000),
        output_tokens=(400, 1_800),
    ),
)

# First byte and milliseconds a token, as the sandbox takes them.
PACE_MS = {Tier.SMALL: (80, 3), Tier.MID: (200, 8), Tier.FRONTIER: (450, 18)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One request to come: who asks when for what, and how long the answer will be."""

    habit: Habit
    key: ServedKey
    policy: ServedPolicy
    at: datetime
    end_user: str
    input_tokens: int
    output_tokens: int
    first_fails: bool
    pace: float
    stream: bool
    id: UUID


def seed_traffic(*, now: datetime) -> None:
    """Write the traffic of the past days up to the last full hour, unless there is any traffic at all."""
    if _has_traffic():
        return
    until = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    since = until - timedelta(days=DAYS)
    _create_partitions(since)
    snapshot = load_snapshot()
    visits = list(_visits(snapshot, since, until))
    asyncio.run(_play(visits, snapshot))


def _has_traffic() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM dispatch)")
        return bool(cursor.fetchone()[0])


def _create_partitions(since: datetime) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT create_log_partitions(%s, %s)", (since.date(), DAYS + 1))


def _visits(snapshot: Snapshot, since: datetime, until: datetime) -> Iterator[Visit]:
    random = Random(SEED)  # noqa: S311 - for variety, not for secrets
    keys = _keys_by_label(snapshot)
    hours = int((until - since) / timedelta(hours=1))
    for hour in (since + timedelta(hours=number) for number in range(hours)):
        for habit in HABITS:
            key = keys.get((habit.tenant, habit.key_label))
            policy = snapshot.policies.get(habit.policy)
            if key is not None and policy is not None:
                yield from _visits_of_hour(random, habit, key, policy, hour)


def _keys_by_label(snapshot: Snapshot) -> dict[tuple[str, str], ServedKey]:
    rows = ApiKey.objects.values_list("public_id", "tenant__name", "label")
    return {
        (tenant, label): snapshot.keys[public_id]
        for public_id, tenant, label in rows
        if public_id in snapshot.keys
    }


def _visits_of_hour(
    random: Random, habit: Habit, key: ServedKey, policy: ServedPolicy, hour: datetime
) -> Iterator[Visit]:
    expected = habit.hourly * _busyness(hour.astimezone(key.tenant.zone), habit)
    count = int(expected * random.uniform(0.4, 1.6) + random.random())
    for _ in range(count):
        at = hour + timedelta(seconds=random.uniform(0, 3_590))
        yield Visit(
            habit=habit,
            key=key,
            policy=policy,
            at=at,
            end_user=random.choice(habit.users),
            input_tokens=random.randint(*habit.input_tokens),
            output_tokens=random.randint(*habit.output_tokens),
            first_fails=random.random() < FAILED_ATTEMPTS,
            pace=random.lognormvariate(0, 0.3),
            stream=random.random() < 0.6,
            id=_id_at(at),
        )


def _busyness(local: datetime, habit: Habit) -> float:
    """Between 0 and 1: office hours, a lunch break, and little at the week-end."""
    if local.weekday() >= 5:
        share = 0.15
    elif 9 <= local.hour < 18:
        share = 0.7 if local.hour == 12 else 1.0
    else:
        share = 0.2
    return max(share, 0.3) if habit.works_at_night else share


def _id_at(at: datetime) -> UUID:
    """A UUIDv7 of that instant."""
    milliseconds = int(at.timestamp() * 1000)
    return UUID(int=milliseconds << 80 | 7 << 76 | randbits(12) << 64 | 2 << 62 | randbits(62))


async def _play(visits: list[Visit], snapshot: Snapshot) -> None:
    parameters = connection.get_connection_params()
    conninfo = make_conninfo(
        **{name: str(value) for name, value in parameters.items() if isinstance(value, str | int)}
    )
    usage = BudgetUsage()
    ledger = PostgresLedger(conninfo=conninfo, budget_usage=usage, begin_patience_s=PATIENCE_S)
    await ledger.start()
    try:
        turn = asyncio.Semaphore(IN_FLIGHT)
        await asyncio.gather(*(_dispatch(visit, snapshot, usage, ledger, turn) for visit in visits))
    finally:
        await ledger.stop()


async def _dispatch(
    visit: Visit,
    snapshot: Snapshot,
    usage: BudgetUsage,
    ledger: PostgresLedger,
    turn: asyncio.Semaphore,
) -> None:
    async with turn:
        facts = _facts(visit)
        decision = choose(
            document=visit.policy.compiled,
            facts=facts,
            situation=situation_of(
                snapshot=snapshot,
                budget_usage=usage,
                key=visit.key,
                end_user=visit.end_user,
                tags=facts.tags,
                policy_id=visit.policy.id,
                now=visit.at,
            ),
            now=visit.at,
            seed=visit.id.int & (2**63 - 1),
        )
        if decision.plan is not None:
            try:
                await _carry_out(visit, decision, decision.plan, ledger)
            except LedgerUnavailableError:
                return  # A hiccup costs the demo one line, never the start.


async def _carry_out(visit: Visit, decision: Decision, plan: RoutePlan, ledger: PostgresLedger) -> None:
    record = _record(visit, decision, plan)
    budgets = budget_keys(
        key=visit.key, end_user=visit.end_user, tags=record.tags, policy_id=visit.policy.id, now=visit.at
    )
    candidates = plan.candidates
    if visit.first_fails and len(candidates) > 1:
        refused = _attempt(visit, candidates[0], position=1)
        if (
            await ledger.begin(dispatch=record, attempt=refused, budgets=budgets)
        ).verdict is not Verdict.ADMITTED:
            return
        await ledger.settle(settlement=_refusal(refused))
        candidates = candidates[1:]
    attempt = _attempt(visit, candidates[0], position=1 + len(plan.candidates) - len(candidates))
    if (await ledger.begin(dispatch=record, attempt=attempt, budgets=budgets)).verdict is Verdict.ADMITTED:
        await ledger.settle(settlement=_answer(visit, attempt, candidates[0]))


def _facts(visit: Visit) -> Facts:
    return Facts(
        tenant=visit.key.tenant.name,
        api_key=visit.key.public_id,
        end_user=visit.end_user,
        task=visit.habit.task,
        tags=dict(visit.habit.tags),
        input_tokens=visit.input_tokens,
        input_tokens_bound=visit.input_tokens * 4,
        images=0,
        output_tokens=visit.output_tokens * 2,
        choices=1,
        needs=frozenset(),
    )


def _record(visit: Visit, decision: Decision, plan: RoutePlan) -> DispatchRecord:
    return DispatchRecord(
        id=visit.id,
        created_at=visit.at,
        tenant_id=visit.key.tenant.id,
        api_key_id=visit.key.id,
        end_user=visit.end_user,
        task=visit.habit.task,
        tags=dict(visit.habit.tags),
        requested_model=visit.policy.name,
        policy_id=visit.policy.id,
        policy_version=decision.version,
        rule=decision.rule or "",
        strategy=plan.strategy,
        reason={
            "words": explain(decision=decision),
            "failed": [trace.failed for trace in decision.trace if not trace.matched],
            "dropped": [
                {"model": drop.model, "reason": drop.reason, "detail": drop.detail}
                for drop in decision.dropped
            ],
        },
        stream=visit.stream,
    )


def _attempt(visit: Visit, candidate: Candidate, *, position: int) -> AttemptRecord:
    offset_ms = 3 if position == 1 else 3 + REFUSED_AFTER_MS
    created_at = visit.at + timedelta(milliseconds=offset_ms)
    return AttemptRecord(
        id=_id_at(created_at),
        created_at=created_at,
        position=position,
        role=AttemptRole.PRIMARY if position == 1 else AttemptRole.FALLBACK,
        model_id=candidate.model.id,
        provider_id=candidate.model.provider_id,
        price_id=candidate.price.id,
        reserved_nanos=candidate.bound_nanos,
        expires_at=created_at + ATTEMPT_LASTS,
        start_offset_ms=offset_ms,
        is_first=position == 1,
    )


def _refusal(attempt: AttemptRecord) -> Settlement:
    """The vendor refused the first attempt; the dispatch goes on."""
    return Settlement(
        attempt_id=attempt.id,
        attempt_created_at=attempt.created_at,
        state=AttemptState.SETTLED,
        wire_status=429,
        fault=FaultClass.RATE_LIMITED,
        response_model="",
        usage=Usage(),
        cost_nanos=0,
        estimated=False,
        cold=False,
        latency_ms=REFUSED_AFTER_MS,
        first_byte_ms=None,
        settled_at=attempt.created_at + timedelta(milliseconds=REFUSED_AFTER_MS),
        outcome=None,
    )


def _answer(visit: Visit, attempt: AttemptRecord, candidate: Candidate) -> Settlement:
    usage = Usage(input_tokens=visit.input_tokens, output_tokens=visit.output_tokens)
    first_byte, per_token = PACE_MS[candidate.model.tier]
    first_byte_ms = round(first_byte * visit.pace)
    latency_ms = first_byte_ms + round(visit.output_tokens * per_token * visit.pace)
    settled_at = attempt.created_at + timedelta(milliseconds=latency_ms)
    baseline = visit.policy.compiled.baseline
    baseline_price = baseline.price_at(visit.at) if baseline else None
    return Settlement(
        attempt_id=attempt.id,
        attempt_created_at=attempt.created_at,
        state=AttemptState.SETTLED,
        wire_status=200,
        fault=None,
        response_model=candidate.model.wire_name,
        usage=usage,
        cost_nanos=cost_nanos(usage=usage, price=candidate.price),
        estimated=False,
        cold=False,
        latency_ms=latency_ms,
        first_byte_ms=first_byte_ms,
        settled_at=settled_at,
        outcome=DispatchOutcome(
            status=DispatchStatus.SUCCEEDED,
            error_code="",
            model_id=candidate.model.id,
            provider_id=candidate.model.provider_id,
            baseline_cost_nanos=cost_nanos(usage=usage, price=baseline_price) if baseline_price else None,
            total_ms=attempt.start_offset_ms + latency_ms,
            first_byte_ms=attempt.start_offset_ms + first_byte_ms,
            overhead_us=3_000,
            finished_at=settled_at,
        ),
    )
