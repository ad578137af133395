"""Values of the routing core with plausible defaults; a test names only what it is about."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from policies_app.routing.choose import choose
from policies_app.routing.codes import (
    CHAT_CAPABILITIES,
    BudgetAction,
    BudgetScope,
    Capability,
    Strategy,
    Tier,
    WireFormat,
)
from policies_app.routing.compilation import compile_policy
from policies_app.routing.conditions import Condition
from policies_app.routing.document import PolicyDocument, RouteDocument, RuleDocument, StepDocument
from policies_app.routing.types import (
    BudgetPressure,
    Catalogue,
    CatalogueModel,
    Decision,
    DowngradeStep,
    Facts,
    Judge,
    KilledTargets,
    Price,
    Situation,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
USD = 1_000_000_000
CALM = Situation()
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def a_price(usd: int = 1, **fields: Any) -> Price:
    """Input at `usd` dollars per million tokens, cached at a tenth of it, output at four times."""
    nanos = usd * USD
    amounts = {
        "input_nanos": nanos,
        "cached_input_nanos": nanos // 10,
        "cache_write_nanos": nanos * 5 // 4,
        "output_nanos": nanos * 4,
        "reasoning_nanos": nanos * 4,
    }
    return Price(**{"id": usd, "effective_from": LONG_AGO} | amounts | fields)


def a_model(name: str = "small", **fields: Any) -> CatalogueModel:
    defaults: dict[str, Any] = {
        "id": 1,
        "provider_id": 1,
        "provider": "sandbox",
        "wire_format": WireFormat.OPENAI_CHAT,
        "wire_name": f"vendor-{name}",
        "tier": Tier.SMALL,
        "capabilities": frozenset({Capability.STREAMING}),
        "context_window_tokens": 10_000,
        "max_output_tokens": 1_000,
        "image_tokens_bound": 500,
        "enabled": True,
        "prices": (a_price(1),),
    }
    return CatalogueModel(name=name, **defaults | fields)


SMALL = a_model("small")
MID = a_model(
    "mid",
    id=2,
    tier=Tier.MID,
    prices=(a_price(2),),
    provider="other",
    capabilities=frozenset({Capability.STREAMING, Capability.VISION}),
)
FRONTIER = a_model(
    "frontier", id=3, tier=Tier.FRONTIER, prices=(a_price(5),), capabilities=frozenset(CHAT_CAPABILITIES)
)
FLEET: Catalogue = {model.name: model for model in (SMALL, MID, FRONTIER)}


def fleet_with(model: CatalogueModel) -> Catalogue:
    return {**FLEET, model.name: model}


def some_facts(**fields: Any) -> Facts:
    defaults: dict[str, Any] = {
        "tenant": "acme",
        "api_key": "pk_acme",
        "end_user": "ann",
        "task": "support",
        "tags": {"plan": "pro"},
        "input_tokens": 100,
        "input_tokens_bound": 200,
        "images": 0,
        "output_tokens": None,
        "choices": 1,
        "needs": frozenset(),
    }
    return Facts(**defaults | fields)


def down_to(tier: Tier, *, from_pct: int = 80) -> tuple[DowngradeStep, ...]:
    return (DowngradeStep(from_pct=from_pct, highest_tier=tier),)


def a_budget(**fields: Any) -> BudgetPressure:
    defaults: dict[str, Any] = {
        "budget_id": 1,
        "name": "month",
        "scope": BudgetScope.TENANT,
        "action": BudgetAction.DOWNGRADE,
        "used_nanos": 90,
        "limit_nanos": 100,
        "steps": down_to(Tier.SMALL),
    }
    return BudgetPressure(**defaults | fields)


def a_judge(**fields: Any) -> Judge:
    defaults: dict[str, Any] = {
        "name": "helpfulness",
        "version": 2,
        "model": "frontier",
        "instructions": "Rate.",
        "rubric": "Is it right?",
        "lowest": 0,
        "highest": 10,
        "verdicts": {},
        "default": 0.0,
        "timeout_ms": 5_000,
        "max_output_tokens": 8,
    }
    return Judge(**defaults | fields)


def killing(**targets: Any) -> Situation:
    return Situation(killed=KilledTargets(**targets))


def a_step(model: str | StepDocument) -> StepDocument:
    return model if isinstance(model, StepDocument) else StepDocument(model=model)


def a_route(*models: str | StepDocument, **fields: Any) -> RouteDocument:
    steps = tuple(a_step(model) for model in models or ("small",))
    return RouteDocument(
        steps=steps, **{"strategy": Strategy.FAILOVER, "allow_dearer_fallback": True} | fields
    )


def a_rule(name: str, *conditions: Condition, route: RouteDocument | None = None) -> RuleDocument:
    return RuleDocument(name=name, conditions=conditions, route=route or a_route())


def a_default(route: RouteDocument | None = None) -> RuleDocument:
    return replace(a_rule("default", route=route), is_default=True)


def a_policy(*rules: RuleDocument, **fields: Any) -> PolicyDocument:
    """The rules, and a default after them unless the last one is it."""
    whole = rules if rules and rules[-1].is_default else (*rules, a_default())
    return PolicyDocument(**{"name": "auto", "rules": whole} | fields)


def decide(
    document: PolicyDocument,
    *,
    facts: Facts | None = None,
    situation: Situation = CALM,
    catalogue: Catalogue = FLEET,
    seed: int = 7,
) -> Decision:
    compiled = compile_policy(document=document, version=3, catalogue=catalogue)
    return choose(document=compiled, facts=facts or some_facts(), situation=situation, now=NOW, seed=seed)


def planned(decision: Decision) -> list[str]:
    """Names of the models in the plan, in order."""
    assert decision.plan is not None, decision.refusal
    return [candidate.model.name for candidate in decision.plan.candidates]
