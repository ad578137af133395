"""Values of the routing core for tests that need no policy."""

from dataclasses import dataclass
from datetime import UTC, datetime

from policies_app.routing.codes import CHAT_CAPABILITIES, Tier, WireFormat
from policies_app.routing.money import bound_nanos
from policies_app.routing.types import Candidate, CatalogueModel, Facts, Price

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
NANOS_A_TOKEN = 1_000_000
"""With prices of this many nano-dollars per million tokens, a token costs one nano-dollar."""


@dataclass(frozen=True, kw_only=True)
class ProviderRow:
    """What `dispatch_app.providers` needs of a provider."""

    id: int = 1
    wire_format: WireFormat = WireFormat.OPENAI_CHAT
    base_url: str = "http://127.0.0.1:9/v1"
    allow_private_network: bool = True
    connect_timeout_ms: int = 1_000
    first_byte_timeout_ms: int = 2_000
    idle_timeout_ms: int = 2_000
    bills_server_errors: bool = False
    secret: str | None = "vendor-secret"
    region: str = ""
    api_version: str = ""
    lacks_secret: bool = False


def make_facts(*, input_tokens: int = 100, output_tokens: int | None = 50, choices: int = 1) -> Facts:
    return Facts(
        tenant="acme",
        api_key="key",
        end_user=None,
        task=None,
        tags={},
        input_tokens=input_tokens,
        input_tokens_bound=input_tokens,
        images=0,
        output_tokens=output_tokens,
        choices=choices,
        needs=frozenset(),
    )


def make_candidate(
    name: str = "small",
    *,
    number: int = 1,
    provider_id: int = 1,
    nanos_a_token: int = 1,
    output_tokens_limit: int = 50,
    timeout_ms: int | None = None,
    facts: Facts | None = None,
    bills_after_cut: bool = False,
) -> Candidate:
    """One token of any kind costs `nanos_a_token`. Its vendor stops when the connection closes, unless it is said otherwise."""
    nanos = nanos_a_token * NANOS_A_TOKEN
    price = Price(
        id=number,
        effective_from=NOW,
        input_nanos=nanos,
        cached_input_nanos=nanos,
        cache_write_nanos=nanos,
        output_nanos=nanos,
        reasoning_nanos=nanos,
    )
    model = CatalogueModel(
        id=number,
        name=name,
        provider_id=provider_id,
        provider="vendor",
        wire_format=WireFormat.OPENAI_CHAT,
        wire_name=f"sandbox-{name}",
        tier=Tier.SMALL,
        capabilities=frozenset(CHAT_CAPABILITIES),
        context_window_tokens=8_000,
        max_output_tokens=4_000,
        image_tokens_bound=1_000,
        enabled=True,
        prices=(price,),
        bills_after_cut=bills_after_cut,
    )
    bound = bound_nanos(
        facts=facts or make_facts(), model=model, price=price, output_tokens_limit=output_tokens_limit
    )
    return Candidate(
        model=model,
        price=price,
        output_tokens_limit=output_tokens_limit,
        bound_nanos=bound,
        timeout_ms=timeout_ms,
    )
