"""Hypothesis strategies for policies, requests and situations over one small fleet and a few names.

The names are few so that rules match, switches hit and budgets cap often.
"""

from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

from hypothesis import strategies as st

from policies_app.routing.codes import (
    CHAT_CAPABILITIES,
    BudgetAction,
    BudgetScope,
    Capability,
    HealthState,
    LatencyMeasure,
    LogprobMeasure,
    Pick,
    StickyBy,
    Strategy,
    Tier,
    Weekday,
    WhenNonePasses,
)
from policies_app.routing.conditions import (
    ApiKeyIs,
    BudgetForecast,
    BudgetUsed,
    EndUserIs,
    HealthDegraded,
    InputTokensBetween,
    LatencyAbove,
    NeedsAll,
    OutputTokensBetween,
    QualityAtLeast,
    ShareOf,
    TagsMatch,
    TaskIs,
    TenantIs,
    WithinHours,
)
from policies_app.routing.document import PolicyDocument, RouteDocument, RuleDocument, StepDocument
from policies_app.routing.types import (
    BudgetPressure,
    CatalogueModel,
    DowngradeStep,
    Facts,
    FleetState,
    Judge,
    KilledTargets,
    LatencyQuery,
    LatencyReading,
    Situation,
    TargetHealth,
)
from policies_app.routing.validators import (
    CallableAccepts,
    DeclaredAtLeast,
    FinishReasonIs,
    JsonSchemaHolds,
    JudgedAtLeast,
    JudgeReference,
    LengthBetween,
    LogprobAtLeast,
    NotRefused,
    SamplesAgree,
)
from tests.policies_app.routing.builders import NOW, a_model, a_price

MODELS = ("small", "mid", "frontier", "spare", "gone")
TASKS = ("support", "code", "other")
TENANTS = ("acme", "globex")
KEYS = ("pk_1", "pk_2")
USERS = ("ann", "bob")
RULES = tuple(f"rule-{number}" for number in range(6))

T = TypeVar("T")


def mostly(usual: st.SearchStrategy[T], rare: st.SearchStrategy[T]) -> st.SearchStrategy[T]:
    """The usual three times in four."""
    return st.sampled_from((usual, usual, usual, rare)).flatmap(lambda chosen: chosen)


capabilities = mostly(
    st.frozensets(st.sampled_from(CHAT_CAPABILITIES), max_size=2), st.just(frozenset({Capability.EMBEDDINGS}))
)
optional_limit = st.none() | st.integers(1, 3_000)


def _some(values: tuple[str, ...]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=2).map(tuple)


_shares = st.integers(0, 100).map(lambda percent: percent / 100)
_times = st.tuples(st.integers(0, 23), st.sampled_from((0, 30))).map(lambda at: f"{at[0]:02}:{at[1]:02}")
_bounds = st.tuples(st.integers(0, 2_000), st.integers(0, 2_000)).map(sorted)
conditions = st.one_of(
    st.builds(TaskIs, tasks=_some(TASKS)),
    st.builds(TenantIs, tenants=_some(TENANTS)),
    st.builds(ApiKeyIs, api_keys=_some(KEYS)),
    st.builds(EndUserIs, end_users=_some(USERS)),
    st.dictionaries(st.sampled_from(("plan", "area")), _some(("a", "b")), min_size=1, max_size=2).map(
        lambda tags: TagsMatch(tags=tags)
    ),
    _bounds.map(lambda pair: InputTokensBetween(minimum=pair[0], maximum=pair[1])),
    _bounds.map(lambda pair: OutputTokensBetween(minimum=pair[0], maximum=pair[1])),
    st.integers(0, 2_000).map(lambda least: InputTokensBetween(minimum=least)),
    st.frozensets(st.sampled_from(Capability), min_size=1, max_size=2).map(
        lambda needs: NeedsAll(capabilities=tuple(needs))
    ),
    st.builds(BudgetUsed, scope=st.sampled_from(BudgetScope), used_pct_min=st.integers(1, 120)),
    st.builds(BudgetForecast, scope=st.sampled_from(BudgetScope), projected_pct_min=st.integers(1, 300)),
    st.builds(
        LatencyAbove,
        model=st.sampled_from(MODELS),
        measure=st.sampled_from(LatencyMeasure),
        percentile=st.sampled_from((50, 95, 99)),
        above_ms=st.integers(1, 2_000),
        window_s=st.just(300),
        least_samples=st.integers(1, 50),
        hysteresis_pct=st.integers(0, 99),
    ),
    st.builds(
        QualityAtLeast,
        model=st.sampled_from(MODELS),
        task=st.none() | st.sampled_from(TASKS),
        score_min=_shares,
    ),
    st.builds(HealthDegraded, models=_some(MODELS)),
    st.builds(HealthDegraded, providers=_some(("sandbox", "other"))),
    st.builds(
        WithinHours,
        weekdays=st.lists(st.sampled_from(Weekday), min_size=1, max_size=7).map(tuple),
        starts=_times,
        ends=_times,
        zone=st.sampled_from(("UTC", "Europe/Berlin", "Asia/Kolkata")),
    ),
    st.builds(
        ShareOf,
        name=st.sampled_from(("canary", "trial")),
        percent=st.integers(1, 1_000).map(lambda tenths: tenths / 10),
        sticky_by=st.sampled_from(StickyBy),
    ),
)

judge_references = st.builds(
    JudgeReference, name=st.sampled_from(("helpfulness", "accuracy")), version=st.integers(1, 2)
)
validators = st.one_of(
    st.builds(JsonSchemaHolds, schema=st.none() | st.just({"type": "object", "required": ["answer"]})),
    st.builds(LogprobAtLeast, measure=st.sampled_from(LogprobMeasure), at_least=_shares),
    st.builds(DeclaredAtLeast, field=st.sampled_from(("sure", "meta.sure")), at_least=_shares),
    st.builds(SamplesAgree, samples=st.integers(3, 5), at_least=st.integers(2, 3)),
    st.builds(FinishReasonIs, finish_reasons=_some(("stop", "tool_calls", "length"))),
    _bounds.map(lambda pair: LengthBetween(minimum=pair[0], maximum=pair[1])),
    st.integers(0, 2_000).map(lambda most: LengthBetween(maximum=most)),
    st.just(NotRefused()),
    st.builds(JudgedAtLeast, judge=judge_references, at_least=_shares),
    st.builds(CallableAccepts, name=st.just("house_style")),
)

steps = st.builds(
    StepDocument,
    model=st.sampled_from(MODELS),
    timeout_ms=optional_limit,
    max_output_tokens=optional_limit,
    weight=st.integers(0, 5),
    validators=st.lists(validators, max_size=2).map(tuple),
)
routes = st.builds(
    RouteDocument,
    strategy=st.sampled_from(Strategy),
    steps=st.lists(steps, min_size=1, max_size=5).map(tuple),
    deadline_ms=st.integers(1, 60_000),
    max_attempts=st.integers(1, 5),
    max_cost_nanos=mostly(st.none(), st.integers(0, 10**10)),
    allow_dearer_fallback=st.booleans(),
    fall_back_on_long_context=st.booleans(),
    continue_broken_streams=st.booleans(),
    drain_ms=st.none() | st.integers(1, 60_000),
    when_none_passes=st.sampled_from(WhenNonePasses),
    pick=st.sampled_from(Pick),
    judge=st.none() | judge_references,
    patience_ms=st.none() | st.integers(0, 5_000),
    hedge_delay_ms=st.none() | st.integers(1, 5_000),
)


@st.composite
def documents(draw: st.DrawFn) -> PolicyDocument:
    """Whole policies: distinct names, a default at the end."""
    names = draw(st.lists(st.sampled_from(RULES), unique=True, max_size=5))
    rules = [
        RuleDocument(name=name, conditions=tuple(draw(st.lists(conditions, max_size=3))), route=draw(routes))
        for name in names
    ]
    default = RuleDocument(name="default", is_default=True, route=draw(routes))
    baseline = draw(st.none() | st.sampled_from(MODELS))
    return PolicyDocument(name="auto", baseline_model=baseline, rules=(*rules, default))


inserted_rules = st.builds(
    RuleDocument,
    name=st.just("inserted"),
    conditions=st.lists(conditions, min_size=1, max_size=3).map(tuple),
    route=routes,
)


def _variants(name: str) -> tuple[CatalogueModel, ...]:
    """A model in every tier, and with each defect that can keep it out of a plan."""
    sound = [
        a_model(
            name,
            tier=tier,
            provider=provider,
            capabilities=frozenset(CHAT_CAPABILITIES),
            prices=(a_price(usd),),
        )
        for tier, provider, usd in zip(Tier, ("sandbox", "other", "other"), (0, 3, 7), strict=True)
    ]
    defective = (
        replace(sound[0], enabled=False),
        replace(sound[0], prices=()),
        replace(sound[1], context_window_tokens=600, max_output_tokens=600),
        replace(sound[1], capabilities=frozenset({Capability.TOOLS, Capability.STREAMING})),
        replace(sound[1], capabilities=frozenset({Capability.EMBEDDINGS}), max_output_tokens=1),
        replace(sound[2], prices=(a_price(2, output_nanos=1, reasoning_nanos=10**10),)),
    )
    return (*sound, *defective)


catalogues = st.tuples(*(st.sampled_from(_variants(name)) for name in MODELS if name != "gone")).map(
    lambda models: {model.name: model for model in models}
)
"""Any fleet of the known names; “gone” is never in it."""

facts = st.builds(
    Facts,
    tenant=st.sampled_from(TENANTS),
    api_key=st.sampled_from(KEYS),
    end_user=st.none() | st.sampled_from(USERS),
    task=st.none() | st.sampled_from(TASKS),
    tags=st.dictionaries(
        st.sampled_from(("plan", "area", "more")), st.sampled_from(("a", "b", "c")), max_size=3
    ),
    input_tokens=mostly(st.integers(0, 2_000), st.integers(0, 10**12)),
    input_tokens_bound=st.integers(0, 10**6),
    images=st.integers(0, 3),
    output_tokens=mostly(st.none() | st.integers(1, 500), st.integers(-1, 10**12)),
    choices=st.integers(1, 4),
    needs=capabilities,
    inputs=mostly(st.just(1), st.integers(1, 3_000)),
    longest_input_tokens=st.integers(0, 2_000),
    draw=st.integers(0, 2**63 - 1),
)

budgets = st.builds(
    BudgetPressure,
    budget_id=st.integers(1, 5),
    name=st.sampled_from(("month", "day")),
    scope=st.sampled_from(BudgetScope),
    action=st.sampled_from(BudgetAction),
    used_nanos=st.integers(0, 150),
    limit_nanos=st.integers(0, 100),
    steps=st.lists(
        st.builds(DowngradeStep, from_pct=st.integers(0, 100), highest_tier=st.sampled_from(Tier)), max_size=2
    ).map(tuple),
    period_start=st.just(NOW - timedelta(days=10)),
    period_end=st.just(NOW + timedelta(days=20)),
)

_queries = st.builds(
    LatencyQuery,
    model=st.sampled_from(MODELS),
    measure=st.sampled_from(LatencyMeasure),
    percentile=st.sampled_from((50, 95, 99)),
    window_s=st.sampled_from((300, 900)),
)
_readings = st.builds(LatencyReading, value_ms=st.integers(0, 3_000), samples=st.integers(0, 60))
_health = st.builds(
    TargetHealth,
    state=st.sampled_from((HealthState.HALF_OPEN, HealthState.COOLING, HealthState.OPEN)),
    until=st.none() | st.just(NOW),
    badness=st.floats(0, 10),
)
fleets = st.builds(
    FleetState,
    targets=mostly(st.just({}), st.dictionaries(st.sampled_from(MODELS), _health, max_size=4)),
    degraded_providers=st.frozensets(st.sampled_from(("sandbox", "other")), max_size=2),
    latency=st.dictionaries(_queries, _readings, max_size=4),
    cold_penalty_ms=st.dictionaries(st.sampled_from(MODELS), st.integers(1, 5_000), max_size=2),
    quality=st.dictionaries(
        st.tuples(st.sampled_from(MODELS), st.sampled_from(TASKS)), st.floats(0, 1), max_size=4
    ),
)

judges = st.fixed_dictionaries(
    {},
    optional={
        (name, version): st.just(
            Judge(
                name=name,
                version=version,
                model="mid",
                instructions="Rate.",
                rubric="Right?",
                lowest=0,
                highest=10,
                verdicts={},
                default=0.0,
                timeout_ms=5_000,
                max_output_tokens=8,
            )
        )
        for name in ("helpfulness", "accuracy")
        for version in (1, 2)
    },
)
"""Some of the judges that policies name, rated by “mid”."""

killed = st.builds(
    KilledTargets,
    everything=mostly(st.just(False), st.just(True)),
    providers=st.frozensets(mostly(st.just("elsewhere"), st.just("sandbox")), max_size=1),
    models=st.frozensets(st.sampled_from(MODELS), max_size=2),
    policies=st.frozensets(mostly(st.just("another"), st.just("auto")), max_size=1),
    rules=st.frozensets(st.tuples(st.just("auto"), st.sampled_from((*RULES, "default"))), max_size=2),
    tenants=st.frozensets(mostly(st.just("another"), st.sampled_from(TENANTS)), max_size=1),
    api_keys=st.frozensets(mostly(st.just("another"), st.sampled_from(KEYS)), max_size=1),
    end_users=st.frozensets(st.tuples(st.sampled_from(TENANTS), st.sampled_from(USERS)), max_size=1),
)

situations = st.builds(
    Situation,
    killed=mostly(st.just(KilledTargets()), killed),
    budgets=st.lists(budgets, max_size=3).map(tuple),
    fleet=fleets,
)
