"""Which of the catalogue's models a row of the fleet is, by the addresses and names that the vendors document.

https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-use.html
https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonbedrock.html
https://learn.microsoft.com/azure/ai-foundry/openai/reference
https://ai.google.dev/api/models
"""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from genai_prices.data import providers
from genai_prices.types import ClauseEquals, ModelInfo, ModelPrice, Provider

from policies_app.price_catalogue.lookup import SOURCE, find_published, known_vendors
from policies_app.price_catalogue.types import NotPublished, PublishedModel
from policies_app.routing.codes import WireFormat

NOW = datetime(2026, 11, 28, tzinfo=UTC)
OPENAI = ("https://api.openai.com/v1", WireFormat.OPENAI_CHAT)
ANTHROPIC = ("https://api.anthropic.com/v1", WireFormat.ANTHROPIC_MESSAGES)
GEMINI = ("https://generativelanguage.googleapis.com/v1beta", WireFormat.GEMINI)
AZURE = ("https://acme.openai.azure.com/openai", WireFormat.AZURE_OPENAI)
BEDROCK = ("https://bedrock-runtime.us-east-1.amazonaws.com", WireFormat.BEDROCK_CONVERSE)


def find(provider: tuple[str, WireFormat], wire_name: str, **options) -> PublishedModel | NotPublished:
    base_url, wire_format = provider
    return find_published(
        **{"base_url": base_url, "wire_format": wire_format, "wire_name": wire_name, "at": NOW} | options
    )


@pytest.mark.parametrize(
    ("provider", "wire_name", "expected"),
    [
        (OPENAI, "gpt-5-mini", "openai/gpt-5-mini"),
        (OPENAI, "gpt-5-mini-2025-08-07", "openai/gpt-5-mini"),
        (OPENAI, "ft:gpt-4o-mini-2024-07-18:acme::x1", "openai/ft:gpt-4o-mini"),
        (OPENAI, "text-embedding-3-small", "openai/text-embedding-3-small"),
        (ANTHROPIC, "claude-sonnet-4-5-20250929", "anthropic/claude-sonnet-4-5"),
        (GEMINI, "gemini-2.5-flash", "google/gemini-2.5-flash"),
        (GEMINI, "models/gemini-2.5-flash", "google/gemini-2.5-flash"),
        (AZURE, "gpt-5-mini", "azure/gpt-5-mini"),
        (BEDROCK, "amazon.nova-lite-v1:0", "aws/amazon.nova-lite-v1:0"),
        # A profile of one region costs more than the one of all regions.
        (
            BEDROCK,
            "us.anthropic.claude-opus-4-5-20251101-v1:0",
            "aws/regional.anthropic.claude-opus-4-5-v1:0",
        ),
        (
            BEDROCK,
            "global.anthropic.claude-opus-4-5-20251101-v1:0",
            "aws/global.anthropic.claude-opus-4-5-v1:0",
        ),
        (
            BEDROCK,
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "aws/regional.anthropic.claude-sonnet-4-5-20250929-v1:0",
        ),
        (
            BEDROCK,
            "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-pro-v1:0",
            "aws/amazon.nova-pro-v1:0",
        ),
        (
            ("https://openrouter.ai/api/v1", WireFormat.OPENAI_CHAT),
            "openai/gpt-5-mini",
            "openrouter/openai/gpt-5-mini",
        ),
    ],
)
def test_a_model_is_found_by_address_and_name(provider, wire_name, expected) -> None:
    assert str(find(provider, wire_name)) == expected


@pytest.mark.parametrize(
    ("provider", "wire_name", "reason"),
    [
        (OPENAI, "gpt-from-the-future", "The catalogue knows no gpt-from-the-future of OpenAI."),
        (AZURE, "my-deployment", "The catalogue knows no my-deployment of Microsoft Azure."),
        # A server of one's own may serve a model that vendors sell; what it costs here is nobody else's to say.
        (
            ("http://10.0.0.7:8000/v1", WireFormat.OPENAI_CHAT),
            "gpt-oss-20b",
            "The catalogue knows no vendor at 10.0.0.7.",
        ),
        (
            ("https://proxy.example.com/v1", WireFormat.ANTHROPIC_MESSAGES),
            "claude-sonnet-4-5",
            "The catalogue knows no vendor at proxy.example.com.",
        ),
        (
            BEDROCK,
            "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/ab12cd34",
            "This kind of ARN does not say which model is behind it.",
        ),
        (
            BEDROCK,
            "arn:aws:bedrock:us-east-1:123456789012:provisioned-model/anthropic.claude-3-haiku-20240307-v1:0",
            "This kind of ARN does not say which model is behind it.",
        ),
        (
            ("https://openrouter.ai/api/v1", WireFormat.OPENAI_CHAT),
            "openai/gpt-oss-20b:free",
            (
                "The catalogue lists openrouter/openai/gpt-oss-20b:free without a price by the token."
                " Free and unknown look alike there."
            ),
        ),
    ],
)
def test_what_cannot_be_told_apart_is_not_priced(provider, wire_name, reason) -> None:
    assert find(provider, wire_name) == NotPublished(reason=reason)


def test_the_amounts_are_the_package_s() -> None:
    (vendor,) = (vendor for vendor in providers if vendor.id == "openai")
    (info,) = (info for info in vendor.models if info.id == "gpt-5-mini")
    price = info.get_prices(NOW)

    found = find(OPENAI, "gpt-5-mini")

    assert isinstance(found, PublishedModel)
    nanos = Decimal(10) ** 9
    assert (found.amounts.input_nanos, found.amounts.cached_input_nanos, found.amounts.output_nanos) == (
        price.input_mtok * nanos,
        price.cache_read_mtok * nanos,
        price.output_mtok * nanos,
    )
    assert found.context_window_tokens == info.context_window
    assert found.source == SOURCE
    assert SOURCE.startswith("genai-prices ")


def test_a_vendor_may_be_named_where_the_address_does_not_tell() -> None:
    proxy = ("https://proxy.example.com/v1", WireFormat.OPENAI_CHAT)

    assert str(find(proxy, "gpt-5-mini", vendor_id="openai")) == "openai/gpt-5-mini"
    assert find(proxy, "gpt-5-mini", vendor_id="nobody") == NotPublished(
        reason="The catalogue knows no vendor called nobody."
    )
    assert {"openai", "anthropic", "google", "azure", "aws"} <= set(known_vendors())


@pytest.mark.parametrize(
    ("provider", "wire_name", "note"),
    [
        (
            ("https://vpce-1.bedrock.acme.internal", WireFormat.BEDROCK_CONVERSE),
            "amazon.nova-lite-v1:0",
            "The catalogue does not know vpce-1.bedrock.acme.internal: by its wire format taken for AWS Bedrock.",
        ),
        (
            ("https://bedrock-runtime.eu-central-1.amazonaws.com", WireFormat.BEDROCK_CONVERSE),
            "amazon.nova-lite-v1:0",
            "The catalogue has Bedrock's prices of us-east-1; those of eu-central-1 may differ.",
        ),
        (
            AZURE,
            "gpt-5-mini",
            "Azure calls a model by its deployment: it is taken to be the model that its name says.",
        ),
    ],
)
def test_what_was_supposed_is_told(provider, wire_name, note) -> None:
    found = find(provider, wire_name)

    assert isinstance(found, PublishedModel)
    assert note in found.notes


def test_a_maker_s_price_stands_in_where_the_seller_has_none() -> None:
    info = ModelInfo(
        id="m",
        match=ClauseEquals(equals="m"),
        prices=ModelPrice(input_mtok=Decimal(1), output_mtok=Decimal(2)),
    )
    maker = Provider(id="maker", name="Maker", api_pattern="https://maker", models=[info])
    seller = Provider(
        id="seller", name="Seller", api_pattern="https://seller", fallback_model_providers=["maker"]
    )

    found = find(("https://seller.example.com", WireFormat.OPENAI_CHAT), "m", book=[maker, seller])

    assert isinstance(found, PublishedModel)
    assert found.notes == ("Seller has no price of its own in the catalogue: the model's maker's is taken.",)
