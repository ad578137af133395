"""What the cells of a group are served from: providers, models, prices and a published policy for each, and one tenant."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from django.db import transaction

from policies_app.models import Credential, Model, Policy, PolicyVersion, Provider, Tenant
from policies_app.routing.codes import Strategy, Tier
from policies_app.routing.document import (
    SCHEMA_VERSION,
    PolicyDocument,
    RouteDocument,
    RuleDocument,
    StepDocument,
    content_hash,
    dump,
)
from policies_app.routing.validators import FinishReasonIs, LengthBetween
from policies_app.services.credentials import set_provider_secret
from sandbox.fleet import FLEET
from tests.factories import make_budget, make_key, make_model, make_price, make_provider, make_tenant
from tests.faults.cells import BAD, Cell
from tests.faults.table import DEADLINE_MS, FIRST_BYTE_MS, IDLE_MS, STEP_MS, Address

CONNECT_MS = 250
STEADY = "steady"
"""The policy whose one model never fails."""
_VALIDATORS = (FinishReasonIs(), LengthBetween(minimum=1))
_serial = count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """Who calls, and what a successful call is asked of."""

    tenant: Tenant
    key: str
    steady_policy: str


@transaction.atomic
def open_shop(
    cells: Sequence[Cell], *, vendors: Mapping[str, str], hopeless: Mapping[Address, str], steady: str
) -> Opened:
    """Create the rows. `vendors` are base URLs by nonce, `steady` is the one of a vendor that never fails."""
    for cell in cells:
        _create_policy(cell, vendor=vendors[cell.nonce], hopeless=hopeless)
    steady_policy = f"{STEADY}-{next(_serial)}"
    model = _create_model(Tier.MID, name=steady_policy, provider=_create_provider(steady))
    _publish(steady_policy, RouteDocument(strategy=Strategy.SINGLE, steps=(StepDocument(model=model.name),)))
    tenant = make_tenant(f"tenant-of-{steady_policy}")
    make_budget(tenant)
    return Opened(tenant=tenant, key=make_key(tenant).text, steady_policy=steady_policy)


def model_name(cell: Cell, model: str) -> str:
    """What the catalogue calls one of the sandbox's models in one cell."""
    return f"{model}-{cell.nonce}"


def _create_policy(cell: Cell, *, vendor: str, hopeless: Mapping[Address, str]) -> None:
    fault = cell.row.fault
    for model in cell.models:
        is_bad = model in cell.faulty_models
        base_url = hopeless[fault] if is_bad and isinstance(fault, Address) else vendor
        timeouts = {"first_byte_timeout_ms": FIRST_BYTE_MS, "idle_timeout_ms": IDLE_MS}
        provider = _create_provider(base_url, **timeouts | dict(cell.row.provider) if is_bad else {})
        _create_model(Tier(model), name=model_name(cell, model), provider=provider)
    strategy = cell.group.strategy
    route = RouteDocument(
        strategy=strategy,
        steps=tuple(
            StepDocument(
                model=model_name(cell, model),
                timeout_ms=STEP_MS if model == BAD and not cell.row.out_of_time else None,
                validators=_VALIDATORS if strategy is Strategy.CASCADE else (),
            )
            for model in cell.models
        ),
        **{"deadline_ms": DEADLINE_MS} | dict(cell.row.route),
    )
    _publish(cell.nonce, route)


def _create_provider(base_url: str, **fields: object) -> Provider:
    provider = make_provider(
        f"provider-of-fault-{next(_serial)}", base_url=base_url, connect_timeout_ms=CONNECT_MS, **fields
    )
    credential = Credential.objects.create(provider=provider, label="faults")
    set_provider_secret(credential=credential, secret="vendor-secret-1234", author_name="faults")
    return provider


def _create_model(tier: Tier, *, name: str, provider: Provider) -> Model:
    wire = FLEET[f"sandbox-{tier}"]
    model = make_model(
        name,
        provider=provider,
        input_nanos=None,
        wire_name=wire.name,
        tier=tier,
        context_window_tokens=wire.context_limit_tokens,
        max_output_tokens=wire.output_limit_tokens,
    )
    make_price(
        model,
        input_nanos=wire.price.input_nanos,
        output_nanos=wire.price.output_nanos,
        cached_input_nanos=wire.price.cached_input_nanos,
        cache_write_nanos=wire.price.cache_write_nanos,
    )
    return model


def _publish(name: str, route: RouteDocument) -> None:
    document = PolicyDocument(name=name, rules=(RuleDocument(name="default", is_default=True, route=route),))
    policy = Policy.objects.create(name=name)
    policy.live_version = PolicyVersion.objects.create(
        policy=policy,
        number=1,
        document=dump(document),
        content_hash=content_hash(document),
        schema_version=SCHEMA_VERSION,
        author_name="faults",
    )
    policy.save(update_fields=["live_version"])
