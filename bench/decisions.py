"""What a decision costs, by the number of rules: `choose` alone, in one process, without I/O.

Two policies: one whose rules look at the request, each of them at something else; and one whose rules look at the fleet,
the clock, budgets and shares as well, so that facts of the request alone rule out few of them. Every hundredth request
or so matches some rule; the others are passed through all of them to the default with its three steps. Of forty
passes, the quietest counts: what disturbs a single thread that does no I/O is somebody else. Each pass begins with a new
state of the fleet. What the log keeps of every decision, the conditions that failed, is timed beside it.
"""

import random
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter_ns

from bench.report import Bar, Report
from policies_app.routing.choose import choose
from policies_app.routing.codes import (
    CHAT_CAPABILITIES,
    BudgetAction,
    BudgetScope,
    Capability,
    LatencyMeasure,
    StickyBy,
    Strategy,
    Tier,
    Weekday,
    WireFormat,
)
from policies_app.routing.compilation import CompiledPolicy, compile_policy
from policies_app.routing.conditions import (
    BudgetForecast,
    BudgetUsed,
    Condition,
    EndUserIs,
    HealthDegraded,
    InputTokensBetween,
    LatencyAbove,
    NeedsAll,
    QualityAtLeast,
    ShareOf,
    TagsMatch,
    TaskIs,
    TenantIs,
    WithinHours,
)
from policies_app.routing.document import PolicyDocument, RouteDocument, RuleDocument, StepDocument
from policies_app.routing.trace import failed_kinds
from policies_app.routing.types import (
    BudgetPressure,
    CatalogueModel,
    DowngradeStep,
    Facts,
    FleetState,
    LatencyQuery,
    LatencyReading,
    Price,
    Situation,
)

RESULTS = Path(__file__).resolve().parent.parent / "var" / "bench"
RULES = (1, 20, 200)
DECISIONS = 2_000
PASSES = 40
WARM_UP = 200
BAR_US = 50.0

_NOW = datetime(2026, 6, 3, 12, tzinfo=UTC)
_MODELS = [f"model-{number}" for number in range(10)]
_WINDOW_S = 300

_MakeCondition = Callable[[int], Condition]
_OF_REQUEST: Sequence[_MakeCondition] = (
    lambda number: TaskIs(tasks=(f"task-{number}", f"other-{number}")),
    lambda number: TenantIs(tenants=(f"tenant-{number}",)),
    lambda number: EndUserIs(end_users=(f"user-{number}",)),
    lambda number: TagsMatch(tags={"plan": (f"plan-{number}",)}),
    lambda number: InputTokensBetween(minimum=50_000 + number),
    lambda number: NeedsAll(capabilities=(Capability.VISION, Capability.TOOLS)),
)
_OF_MOMENT: Sequence[_MakeCondition] = (
    lambda number: LatencyAbove(
        model=_MODELS[number % 10],
        measure=LatencyMeasure.FIRST_BYTE,
        percentile=95,
        above_ms=1_000,
        window_s=_WINDOW_S,
    ),
    lambda number: QualityAtLeast(model=_MODELS[number % 10], task="support", score_min=0.9),
    lambda number: HealthDegraded(models=(_MODELS[number % 10],)),
    lambda number: BudgetUsed(scope=BudgetScope.TENANT, used_pct_min=90 + number % 5),
    lambda number: BudgetForecast(scope=BudgetScope.TENANT, projected_pct_min=150),
    lambda number: WithinHours(
        weekdays=(Weekday.SATURDAY,), starts="08:00", ends="18:00", zone="Europe/Berlin"
    ),
    lambda number: ShareOf(name=f"trial-{number % 4}", percent=0.1, sticky_by=StickyBy.END_USER),
)


def measure_decisions(report: Report) -> None:
    """Add the figures of both policies by number of rules, and the bar on the longest."""
    for about, makers in (("requests", _OF_REQUEST), ("all", (*_OF_REQUEST, *_OF_MOMENT, *_OF_MOMENT))):
        p99_us = {rules: _measure(report, rules, makers, about=about) for rules in RULES}
        name = f"p99 of choose over {RULES[-1]} rules, conditions on {about}"
        report.bars.append(Bar(name=name, figure=p99_us[RULES[-1]], at_most=BAR_US, unit="µs"))


def _measure(report: Report, rules: int, makers: Sequence[_MakeCondition], *, about: str) -> float:
    policy = _policy(rules, makers)
    p99_us, p50_us, logged_us = min(_time_decisions(policy) for _ in range(PASSES))
    report.add_figures(
        rules=rules,
        conditions=about,
        choose_p50_us=p50_us,
        choose_p99_us=p99_us,
        failed_kinds_p50_us=logged_us,
    )
    return p99_us


def _time_decisions(policy: CompiledPolicy) -> tuple[float, float, float]:
    """p99 and p50 in microseconds, over requests that differ, and the p50 of what the log keeps of them."""
    requests, situation = [_facts(number) for number in range(1_000)], _situation()
    chose_ns, logged_ns = [], []
    for number in range(WARM_UP + DECISIONS):
        facts = requests[number % len(requests)]
        started = perf_counter_ns()
        decision = choose(document=policy, facts=facts, situation=situation, now=_NOW, seed=number)
        decided = perf_counter_ns()
        failed_kinds(decision.trace)
        logged_ns.append(perf_counter_ns() - decided)
        chose_ns.append(decided - started)
    chose_ns, logged_ns = sorted(chose_ns[WARM_UP:]), sorted(logged_ns[WARM_UP:])
    middle = DECISIONS // 2
    return chose_ns[DECISIONS * 99 // 100] / 1_000, chose_ns[middle] / 1_000, logged_ns[middle] / 1_000


def _policy(rules: int, makers: Sequence[_MakeCondition]) -> CompiledPolicy:
    """So many rules of one to three conditions, the default included."""
    chance = random.Random(rules)
    route = RouteDocument(
        strategy=Strategy.FAILOVER, steps=tuple(StepDocument(model=name) for name in _MODELS[:3])
    )
    stated = [
        RuleDocument(
            name=f"rule-{number}",
            conditions=tuple(make(number) for make in chance.sample(makers, chance.randint(1, 3))),
            route=route,
        )
        for number in range(rules - 1)
    ]
    default = RuleDocument(name="default", is_default=True, route=route)
    document = PolicyDocument(name="bench", rules=(*stated, default))
    return compile_policy(
        document=document, version=1, catalogue={name: _model(place) for place, name in enumerate(_MODELS)}
    )


def _model(place: int) -> CatalogueModel:
    price = Price(
        id=place,
        effective_from=_NOW - timedelta(days=30),
        input_nanos=10**9,
        cached_input_nanos=10**8,
        cache_write_nanos=10**9,
        output_nanos=4 * 10**9,
        reasoning_nanos=4 * 10**9,
    )
    return CatalogueModel(
        id=place,
        name=_MODELS[place],
        provider_id=1,
        provider="bench",
        wire_format=WireFormat.OPENAI_CHAT,
        wire_name=_MODELS[place],
        tier=Tier.MID,
        capabilities=frozenset(CHAT_CAPABILITIES),
        context_window_tokens=128_000,
        max_output_tokens=8_000,
        image_tokens_bound=1_000,
        enabled=True,
        prices=(price,),
    )


def _facts(number: int) -> Facts:
    return Facts(
        tenant="acme",
        api_key="pk_acme",
        end_user=f"somebody-{number}",
        task=f"task-{number}",
        tags={"plan": "free"},
        input_tokens=200 + number,
        input_tokens_bound=400 + number,
        images=0,
        output_tokens=200,
        choices=1,
        needs=frozenset({Capability.STREAMING}),
        draw=number,
    )


def _situation() -> Situation:
    budget = BudgetPressure(
        budget_id=1,
        name="month",
        scope=BudgetScope.TENANT,
        action=BudgetAction.REJECT,
        used_nanos=40,
        limit_nanos=100,
        steps=(DowngradeStep(from_pct=80, highest_tier=Tier.SMALL),),
        period_start=_NOW - timedelta(days=10),
        period_end=_NOW + timedelta(days=20),
    )
    reading = LatencyReading(value_ms=400, samples=1_000)
    queries = [
        LatencyQuery(model=name, measure=LatencyMeasure.FIRST_BYTE, percentile=95, window_s=_WINDOW_S)
        for name in _MODELS
    ]
    fleet = FleetState(
        latency=dict.fromkeys(queries, reading), quality={(name, "support"): 0.8 for name in _MODELS}
    )
    return Situation(budgets=(budget,), fleet=fleet)


def main() -> int:
    """Measure decisions alone: `python -m bench.decisions`."""
    report = Report(name="decisions")
    measure_decisions(report)
    return report.finish(RESULTS)


if __name__ == "__main__":
    sys.exit(main())
