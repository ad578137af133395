"""What models' rows say, over the wire of every format: a new format needs its words in each of these fixtures."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from dispatch_app.execution.canonical import ClientFormat, Request
from dispatch_app.providers.adapter import adapter_of
from dispatch_app.providers.quirks import adapted, dropped, encoded
from policies_app.models import Model, Provider
from policies_app.routing.codes import RefusedParameter, WireFormat
from policies_app.routing.quirks import NO_QUIRKS, Quirks
from policies_app.routing.types import Candidate
from policies_app.services.quirks import read_quirks
from tests.dispatch_app.providers.golden import golden
from tests.dispatch_app.routing_values import ProviderRow, make_candidate

NOW = datetime(2026, 11, 24, tzinfo=UTC)
USER = {"role": "user", "content": "Hello"}


def candidate_with(
    quirks: Quirks, *, wire_format: WireFormat = WireFormat.OPENAI_CHAT, limit: int = 4_000
) -> Candidate:
    candidate = make_candidate(output_tokens_limit=limit)
    return msgspec.structs.replace(
        candidate, model=replace(candidate.model, wire_format=wire_format, quirks=quirks)
    )


def quirks_of_row(**fields: Any) -> Quirks:
    return read_quirks(Model(provider=Provider(base_url="http://127.0.0.1:9/v1"), **fields))


def told(
    wire_format: WireFormat, row: Mapping[str, Any], canonical: Mapping[str, Any]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What a vendor is sent for a model with such a row, and what the caller is told that it was not sent."""
    candidate = candidate_with(quirks_of_row(**row), wire_format=wire_format)
    request = Request(fields=canonical, stream=False, choices=1)
    adapter = adapter_of(wire_format)
    built = adapter.build(
        request=adapted(request, candidate),
        candidate=candidate,
        prepared=adapter.prepare(ProviderRow(wire_format=wire_format)),
        now=NOW,
    )
    body: dict[str, Any] = json.loads(built.body)
    return body, dropped(request, candidate)


@pytest.mark.parametrize("wire_format", WireFormat)
@pytest.mark.parametrize("fixture", golden("quirks"))
def test_a_model_is_told_what_its_row_says(fixture: dict[str, Any], wire_format: WireFormat) -> None:
    body, names = told(wire_format, fixture["quirks"], fixture["canonical"])

    assert body == fixture["wire"][wire_format]
    assert list(names) == fixture["dropped"][wire_format]


def test_a_model_without_quirks_is_sent_the_very_request() -> None:
    request = Request(fields={"messages": [USER], "temperature": 0.5}, stream=False, choices=1)

    assert quirks_of_row() == NO_QUIRKS
    assert adapted(request, candidate_with(NO_QUIRKS)) is request


def test_what_the_caller_sent_stays_as_it_was() -> None:
    messages = [{"role": "system", "content": "Answer in French."}, USER]
    request = Request(fields={"messages": messages, "temperature": 0.5}, stream=False, choices=1)
    quirks = Quirks(system_prefix="Be brief.", refused_parameters=frozenset(RefusedParameter))

    adapted(request, candidate_with(quirks))

    assert request.fields == {"messages": messages, "temperature": 0.5}
    assert messages[0]["content"] == "Answer in French."


@pytest.mark.parametrize(
    ("provider", "stated", "sent"),
    [
        # OpenAI and Azure refuse the old name for some models and know the new one for all.
        ({"base_url": "https://api.openai.com/v1"}, "automatic", "max_completion_tokens"),
        ({"base_url": "https://eu.api.openai.com/v1"}, "automatic", "max_completion_tokens"),
        ({"base_url": "https://x.openai.azure.com/openai/v1"}, "automatic", "max_completion_tokens"),
        ({"base_url": "https://proxy.example/openai", "wire_format": "azure_openai"}, "automatic", "max_completion_tokens"),
        # A host that merely ends like theirs is somebody else's.
        ({"base_url": "https://notopenai.com/v1"}, "automatic", "automatic"),
        ({"base_url": "http://127.0.0.1:8000/v1"}, "automatic", "automatic"),
        # What the row says counts in any case.
        ({"base_url": "https://api.openai.com/v1"}, "max_tokens", "max_tokens"),
        ({"base_url": "http://127.0.0.1:8000/v1"}, "max_completion_tokens", "max_completion_tokens"),
    ],
)  # fmt: skip
def test_the_name_of_the_limit_goes_by_the_row_and_else_by_the_vendor(
    provider: dict[str, str], stated: str, sent: str
) -> None:
    row = Model(provider=Provider(**provider), output_limit_parameter=stated)

    assert read_quirks(row).output_limit_parameter == sent


def test_a_name_on_the_row_stands_before_the_callers() -> None:
    quirks = quirks_of_row(output_limit_parameter="max_completion_tokens")
    adapter = adapter_of(WireFormat.OPENAI_CHAT)
    request = Request(fields={"messages": [USER]}, stream=False, choices=1, limit_field="max_tokens")
    built = adapter.build(
        request=request,
        candidate=candidate_with(quirks, limit=9),
        prepared=adapter.prepare(ProviderRow()),
        now=NOW,
    )

    assert json.loads(built.body) == {
        "model": "sandbox-small",
        "messages": [USER],
        "max_completion_tokens": 9,
    }


@pytest.mark.parametrize(
    ("fields", "limit", "thinking", "names"),
    [
        # An effort leaves a fifth of the limit to the answer; a budget that the caller states is its own affair.
        ({"reasoning_effort": "high"}, 4_000, 3_200, ()),
        ({"thinking": {"type": "enabled", "budget_tokens": 9_000}}, 4_000, 3_999, ()),
        # All that has a budget of its own.
        ({"reasoning_effort": "max"}, 40_000, 24_576, ("reasoning_effort",)),
        # The least that vendors take.
        ({"reasoning_effort": "minimal"}, 4_000, 1_024, ()),
        ({"reasoning_effort": "high"}, 1_025, 1_024, ()),
        # No room for any.
        ({"reasoning_effort": "high"}, 1_024, None, ("reasoning_effort",)),
        ({"thinking": {"type": "adaptive"}}, 1_000, None, ("thinking",)),
        # Nothing is asked for.
        ({"thinking": {"type": "disabled"}}, 1_000, None, ()),
        ({"reasoning_effort": "none"}, 1_000, None, ()),
        ({}, 1_000, None, ()),
    ],
)
def test_a_budget_of_thinking_leaves_room_for_the_answer(
    fields: dict[str, Any], limit: int, thinking: int | None, names: tuple[str, ...]
) -> None:
    candidate = candidate_with(
        quirks_of_row(reasoning_control="budget"), wire_format=WireFormat.ANTHROPIC_MESSAGES, limit=limit
    )
    request = Request(fields={"messages": [USER], **fields}, stream=False, choices=1)

    asked = adapted(request, candidate).fields.get("thinking") or {}

    assert asked.get("budget_tokens") == thinking
    assert dropped(request, candidate) == names


def test_fields_of_one_format_alone_are_unknown_too() -> None:
    candidate = candidate_with(
        quirks_of_row(refused_parameters=["unknown_fields"]), wire_format=WireFormat.ANTHROPIC_MESSAGES
    )
    request = Request(
        fields={"messages": [USER]},
        stream=False,
        choices=1,
        origin=ClientFormat.ANTHROPIC_MESSAGES,
        extras={"container": "c"},
    )

    assert adapted(request, candidate).extras == {}
    assert dropped(request, candidate) == ("container",)


@pytest.mark.parametrize(
    ("told", "fixed", "sent"),
    [
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": 1}, {"a": 2}, {"a": 2}),
        # Objects are merged, lists are not.
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}, {"a": {"b": 3, "c": 2}}),
        ({"a": [1]}, {"a": [2]}, {"a": [2]}),
        ({"a": 1}, {"a": {"b": {"c": None, "d": 1}}}, {"a": {"b": {"d": 1}}}),
        # Null takes away.
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": None}, "d": None}, {"a": {"c": 2}}),
        ({"a": 1}, {}, {"a": 1}),
    ],
)
def test_fixed_parameters_are_merged_as_a_merge_patch(
    told: dict[str, Any], fixed: dict[str, Any], sent: dict[str, Any]
) -> None:
    """Shape: RFC 7396, JSON Merge Patch."""
    assert json.loads(encoded(told, Quirks(fixed_parameters=fixed))) == sent


@pytest.mark.parametrize(
    ("fixed", "names"),
    [
        ({"temperature": 1}, ("temperature",)),
        ({"reasoning_effort": "low", "min_p": 0.1}, ("reasoning_effort",)),
        # As Gemini has them.
        ({"generationConfig": {"topP": 0.9, "temperature": None}}, ("temperature", "top_p")),
        ({"chat_template_kwargs": {"enable_thinking": False}}, ()),
    ],
)
def test_a_caller_is_told_what_is_fixed_to_something_else(
    fixed: dict[str, Any], names: tuple[str, ...]
) -> None:
    fields = {"messages": [USER], "temperature": 0.5, "top_p": 0.5, "reasoning_effort": "high", "stop": None}
    request = Request(fields=fields, stream=False, choices=1)

    assert dropped(request, candidate_with(quirks_of_row(fixed_parameters=fixed))) == names


def test_a_field_that_says_nothing_is_left_out_too_and_not_told_of() -> None:
    candidate = candidate_with(quirks_of_row(refused_parameters=["temperature"]))
    request = Request(fields={"messages": [USER], "temperature": None}, stream=False, choices=1)

    assert adapted(request, candidate).fields == {"messages": [USER]}
    assert dropped(request, candidate) == ()


def test_nothing_is_named_twice() -> None:
    candidate = candidate_with(
        quirks_of_row(refused_parameters=["seed"], fixed_parameters={"seed": 7, "verbosity": "low"}),
        wire_format=WireFormat.BEDROCK_CONVERSE,
    )
    request = Request(fields={"messages": [USER], "seed": 1, "verbosity": "high"}, stream=False, choices=1)

    assert dropped(request, candidate) == ("seed", "verbosity")
