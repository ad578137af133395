"""The demo's fleet: the sandbox vendor, its three models that write and the one that embeds, priced as the sandbox bills."""

from dataclasses import dataclass
from datetime import timedelta

from django.utils import timezone

from policies_app.models import Credential, Model, Provider
from policies_app.routing.codes import CHAT_CAPABILITIES, Capability, Tier
from policies_app.services.audit import fields_of, record_change, record_creation
from policies_app.services.credentials import set_provider_secret
from policies_app.services.prices import set_price

AUTHOR = "demo"
PROVIDER = "sandbox"
# The sandbox takes any key; sending one shows where a vendor's would go.
SECRET = "sandbox-accepts-any-key"  # noqa: S105
# Prices hold from before the demo's first dispatch on.
PRICED_SINCE = timedelta(days=365)


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoModel:
    """A model of the sandbox. Prices are nano-dollars per million tokens."""

    name: str
    tier: Tier
    context_window_tokens: int
    max_output_tokens: int
    input_nanos: int
    cached_input_nanos: int
    output_nanos: int
    capabilities: tuple[Capability, ...] = CHAT_CAPABILITIES


FLEET = (
    DemoModel(
        name="sandbox-small",
        tier=Tier.SMALL,
        context_window_tokens=16_384,
        max_output_tokens=4_096,
        input_nanos=100_000_000,
        cached_input_nanos=25_000_000,
        output_nanos=400_000_000,
    ),
    DemoModel(
        name="sandbox-mid",
        tier=Tier.MID,
        context_window_tokens=128_000,
        max_output_tokens=16_384,
        input_nanos=600_000_000,
        cached_input_nanos=150_000_000,
        output_nanos=2_400_000_000,
    ),
    DemoModel(
        name="sandbox-frontier",
        tier=Tier.FRONTIER,
        context_window_tokens=200_000,
        max_output_tokens=32_768,
        input_nanos=5_000_000_000,
        cached_input_nanos=500_000_000,
        output_nanos=25_000_000_000,
    ),
    DemoModel(
        name="sandbox-embedding",
        tier=Tier.SMALL,
        context_window_tokens=8_192,
        max_output_tokens=1,
        input_nanos=20_000_000,
        cached_input_nanos=20_000_000,
        output_nanos=0,
        capabilities=(Capability.EMBEDDINGS,),
    ),
)


def seed_fleet(*, base_url: str) -> None:
    """Create what is missing, and let the provider point to where the sandbox listens now."""
    provider, is_new = Provider.objects.get_or_create(
        name=PROVIDER, defaults={"base_url": base_url, "allow_private_network": True}
    )
    if is_new:
        record_creation(subject=provider, author_name=AUTHOR)
        credential = Credential.objects.create(provider=provider, label="demo")
        set_provider_secret(credential=credential, secret=SECRET, author_name=AUTHOR)
    elif provider.base_url != base_url:
        before = fields_of(provider)
        provider.base_url = base_url
        provider.save(update_fields=["base_url"])
        record_change(subject=provider, before=before, author_name=AUTHOR)
    for model in FLEET:
        _seed_model(provider, model)


def _seed_model(provider: Provider, demo: DemoModel) -> None:
    model, is_new = Model.objects.get_or_create(
        name=demo.name,
        defaults={
            "provider": provider,
            "wire_name": demo.name,
            "tier": demo.tier,
            "capabilities": list(demo.capabilities),
            "context_window_tokens": demo.context_window_tokens,
            "max_output_tokens": demo.max_output_tokens,
            "image_tokens_bound": 85,
        },
    )
    if is_new:
        record_creation(subject=model, author_name=AUTHOR)
        set_price(
            model=model,
            input_nanos=demo.input_nanos,
            cached_input_nanos=demo.cached_input_nanos,
            output_nanos=demo.output_nanos,
            effective_from=timezone.now() - PRICED_SINCE,
            author_name=AUTHOR,
        )
