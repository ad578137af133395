"""Builders of database rows for tests. Each returns saved rows; what a test does not name has a plausible default.

Amounts are nano-dollars; prices are nano-dollars per million tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any

from django.conf import settings

from policies_app.api_key_format import generate_key, secret_digest
from policies_app.models import (
    ApiKey,
    Budget,
    Judge,
    JudgeVersion,
    Model,
    Policy,
    Price,
    Provider,
    RateLimit,
    Rule,
    Step,
    Tenant,
)
from policies_app.routing.codes import (
    CHAT_CAPABILITIES,
    BudgetAction,
    BudgetPeriod,
    BudgetScope,
    RateLimitKind,
    Strategy,
    Tier,
)
from policies_app.sealing import secret_key_from_text
from policies_app.services.publishing import publish_policy
from policies_app.services.rate_limits import limit_rate

USD = 1_000_000_000
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)

_serial = count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedKey:
    """A key's row with the text that a client presents."""

    row: ApiKey
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """One provider with a model in each tier, all with prices."""

    provider: Provider
    small: Model
    mid: Model
    frontier: Model


def make_tenant(name: str | None = None, **fields: Any) -> Tenant:
    return Tenant.objects.create(name=name or f"tenant-{next(_serial)}", **fields)


def make_provider(
    name: str | None = None, *, base_url: str = "http://127.0.0.1:9/v1", **fields: Any
) -> Provider:
    return Provider.objects.create(
        name=name or f"provider-{next(_serial)}",
        base_url=base_url,
        **{"allow_private_network": True} | fields,
    )


def make_model(
    name: str | None = None,
    *,
    provider: Provider | None = None,
    input_nanos: int | None = 1 * USD,
    output_nanos: int = 2 * USD,
    **fields: Any,
) -> Model:
    """A model with a price from long ago on; `input_nanos=None` leaves it without one."""
    name = name or f"model-{next(_serial)}"
    model = Model.objects.create(
        name=name,
        provider=provider or make_provider(),
        **{
            "wire_name": name,
            "tier": Tier.MID,
            "capabilities": list(CHAT_CAPABILITIES),
            "context_window_tokens": 128_000,
            "max_output_tokens": 4_096,
        }
        | fields,
    )
    if input_nanos is not None:
        make_price(model, input_nanos=input_nanos, output_nanos=output_nanos)
    return model


def make_price(
    model: Model, *, input_nanos: int, output_nanos: int, effective_from: datetime = LONG_AGO, **fields: Any
) -> Price:
    return Price.objects.create(
        model=model,
        effective_from=effective_from,
        input_nanos=input_nanos,
        output_nanos=output_nanos,
        **{
            "cached_input_nanos": input_nanos // 4,
            "cache_write_nanos": input_nanos,
            "reasoning_nanos": output_nanos,
        }
        | fields,
    )


def make_fleet(*, base_url: str = "http://127.0.0.1:9/v1", provider_name: str | None = None) -> Fleet:
    """Models `small`, `mid` and `frontier` of one provider, each six times dearer than the one before."""
    provider = make_provider(provider_name, base_url=base_url)
    return Fleet(
        provider=provider,
        small=make_model(
            "small", provider=provider, tier=Tier.SMALL, input_nanos=USD // 10, output_nanos=USD // 5
        ),
        mid=make_model(
            "mid", provider=provider, tier=Tier.MID, input_nanos=USD * 6 // 10, output_nanos=USD * 6 // 5
        ),
        frontier=make_model(
            "frontier",
            provider=provider,
            tier=Tier.FRONTIER,
            input_nanos=USD * 36 // 10,
            output_nanos=USD * 36 // 5,
        ),
    )


def make_rule(policy: Policy, name: str, *, models: Sequence[Model], **fields: Any) -> Rule:
    """A rule at the end of a draft, whose steps are `models` in order. `tenants=[…]` sets that condition."""
    tenants = fields.pop("tenants", ())
    rule = Rule.objects.create(
        policy=policy,
        name=name,
        **{
            "position": policy.rules.count() + 1,
            "strategy": Strategy.SINGLE if len(models) == 1 else Strategy.FAILOVER,
            "allow_dearer_fallback": True,
        }
        | fields,
    )
    rule.tenants.set(tenants)
    for position, model in enumerate(models, start=1):
        Step.objects.create(rule=rule, position=position, model=model)
    return rule


def make_judge(name: str | None = None, *, model: Model, versions: int = 1, **fields: Any) -> Judge:
    """A judge that rates from 0 to 10, in so many versions."""
    judge = Judge.objects.create(name=name or f"judge-{next(_serial)}")
    for number in range(1, versions + 1):
        JudgeVersion.objects.create(
            judge=judge,
            number=number,
            model=model,
            **{"rubric": "Is it right?", "author_name": "factory"} | fields,
        )
    return judge


def make_policy(name: str | None = None, *, models: Sequence[Model] = (), **fields: Any) -> Policy:
    """A draft. With `models` it has a default rule over them, at a position behind any rule that is added later."""
    policy = Policy.objects.create(name=name or f"policy-{next(_serial)}", **fields)
    if models:
        make_rule(policy, "default", models=models, is_default=True, position=1_000)
    return policy


def make_key(tenant: Tenant | None = None, *, policies: Sequence[Policy] = (), **fields: Any) -> IssuedKey:
    generated = generate_key()
    row = ApiKey.objects.create(
        tenant=tenant or make_tenant(),
        public_id=generated.public_id,
        secret_hmac=secret_digest(
            secret=generated.secret, pepper=secret_key_from_text(settings.API_KEY_PEPPER)
        ),
        **{"label": f"key-{next(_serial)}"} | fields,
    )
    row.policies.set(policies)
    return IssuedKey(row=row, text=generated.text)


def make_budget(tenant: Tenant, *, limit_nanos: int = 100 * USD, **fields: Any) -> Budget:
    """A hard monthly budget of the whole tenant, unless `scope` and the like say otherwise."""
    return Budget.objects.create(
        tenant=tenant,
        limit_nanos=limit_nanos,
        **{
            "name": f"budget-{next(_serial)}",
            "scope": BudgetScope.TENANT,
            "period": BudgetPeriod.MONTH,
            "action": BudgetAction.REJECT,
        }
        | fields,
    )


def make_rate_limit(
    subject: Tenant | ApiKey | Model,
    limit: int,
    kind: RateLimitKind = RateLimitKind.REQUESTS_PER_MINUTE,
) -> RateLimit:
    """A limit on requests a minute, unless `kind` says otherwise."""
    return limit_rate(subject=subject, kind=kind, limit=limit, author_name="factory")


def make_published_policy(name: str | None = None, *, models: Sequence[Model], **fields: Any) -> Policy:
    """A policy whose one rule, the default, is live as version 1."""
    policy = make_policy(name, models=models, **fields)
    publish_policy(policy=policy, author_name="factory", note="first")
    return policy
