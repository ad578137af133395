"""What the bench dispatches through: a policy of 20 rules, hard budgets at tenant and end user, a real key."""

from collections.abc import Iterable
from dataclasses import dataclass

from policies_app.models import Budget, Model, Policy, Price, Provider, Rule, Step, Tenant
from policies_app.routing.codes import (
    CHAT_CAPABILITIES,
    BudgetPeriod,
    BudgetScope,
    Strategy,
    Tier,
)

RULES = 20
USD = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchTenant:
    """Who calls, and what with."""

    tenant: Tenant
    api_key: str
    policy: str


def create_bench_tenant(*, upstream_url: str) -> BenchTenant:
    """Fill an empty database; the rule that matches the bench's requests is the last but one of 20."""
    from policies_app.services.api_keys import create_api_key
    from policies_app.services.publishing import publish_policy

    models = list(_create_models(upstream_url))
    tenant = Tenant.objects.create(name="bench")
    policy = Policy.objects.create(name="bench", baseline_model=models[-1])
    for position in range(1, RULES):
        tasks = ["bench"] if position == RULES - 1 else [f"other-{position}"]
        _create_rule(policy, models, position=position, name=f"rule-{position}", tasks=tasks)
    _create_rule(policy, models, position=RULES, name="default", is_default=True)
    publish_policy(policy=policy, author_name="bench", note="bench")
    for name, scope in (("tenant cap", BudgetScope.TENANT), ("cap of each user", BudgetScope.END_USER)):
        Budget.objects.create(
            tenant=tenant, name=name, scope=scope, period=BudgetPeriod.MONTH, limit_nanos=1_000_000 * USD
        )
    key = create_api_key(tenant=tenant, label="bench", author_name="bench")
    return BenchTenant(tenant=tenant, api_key=key.text, policy=policy.name)


def _create_models(upstream_url: str) -> Iterable[Model]:
    provider = Provider.objects.create(name="upstream", base_url=upstream_url, allow_private_network=True)
    for number, (name, tier) in enumerate((("small", Tier.SMALL), ("frontier", Tier.FRONTIER)), start=1):
        model = Model.objects.create(
            name=name, provider=provider, wire_name=f"sandbox-{name}", tier=tier, capabilities=list(CHAT_CAPABILITIES),
            context_window_tokens=128_000, max_output_tokens=4_096,
        )  # fmt: skip
        nanos = number * USD
        Price.objects.create(
            model=model, input_nanos=nanos, cached_input_nanos=nanos, cache_write_nanos=nanos, output_nanos=nanos,
            reasoning_nanos=nanos,
        )  # fmt: skip
        yield model


def _create_rule(policy: Policy, models: list[Model], **fields: object) -> None:
    rule = Rule.objects.create(
        policy=policy, strategy=Strategy.FAILOVER, allow_dearer_fallback=True, **fields
    )
    for position, model in enumerate(models, start=1):
        Step.objects.create(rule=rule, position=position, model=model)
