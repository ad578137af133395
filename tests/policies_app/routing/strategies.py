"""Hypothesis strategies for policies, requests and situations over one small fleet and a few names.

The names are few so that rules match, switches hit and budgets cap often.
"""

from dataclasses import replace
from typing import TypeVar

from hypothesis import strategies as st

from policies_app.routing.codes import BudgetAction, BudgetScope, Capability, Strategy, Tier
from policies_app.routing.conditions import (
    ApiKeyIs,
    BudgetUsed,
    EndUserIs,
    InputTokensBetween,
    NeedsAll,
    OutputTokensBetween,
    TagsMatch,
    TaskIs,
    TenantIs,
)
from policies_app.routing.document import PolicyDocument, RouteDocument, RuleDocument, StepDocument
from policies_app.routing.types import BudgetPressure, CatalogueModel, Facts, KilledTargets, Situation
from tests.policies_app.routing.builders import a_model, a_price

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


capabilities = st.frozensets(st.sampled_from(Capability), max_size=2)
optional_limit = st.none() | st.integers(1, 3_000)


def _some(values: tuple[str, ...]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=2).map(tuple)


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
)

steps = st.builds(
    StepDocument, model=st.sampled_from(MODELS), timeout_ms=optional_limit, max_output_tokens=optional_limit
)
routes = st.builds(
    RouteDocument,
    strategy=st.sampled_from(Strategy),
    steps=st.lists(steps, min_size=1, max_size=5).map(tuple),
    deadline_ms=st.integers(1, 60_000),
    max_attempts=st.integers(1, 5),
    allow_dearer_fallback=st.booleans(),
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
            name, tier=tier, provider=provider, capabilities=frozenset(Capability), prices=(a_price(usd),)
        )
        for tier, provider, usd in zip(Tier, ("sandbox", "other", "other"), (0, 3, 7), strict=True)
    ]
    defective = (
        replace(sound[0], enabled=False),
        replace(sound[0], prices=()),
        replace(sound[1], context_window_tokens=600, max_output_tokens=600),
        replace(sound[1], capabilities=frozenset({Capability.TOOLS, Capability.STREAMING})),
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
)

budgets = st.builds(
    BudgetPressure,
    budget_id=st.integers(1, 5),
    name=st.sampled_from(("month", "day")),
    scope=st.sampled_from(BudgetScope),
    action=st.sampled_from(BudgetAction),
    used_nanos=st.integers(0, 150),
    limit_nanos=st.integers(0, 100),
    downgrade_at_pct=st.integers(0, 100),
    downgrade_to_tier=st.sampled_from(Tier),
)

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
)
