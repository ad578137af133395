"""What a model's row adds to a prompt, however it is folded into it, is never more than what is reserved for it."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatch_app.execution.canonical import Request
from dispatch_app.providers.adapter import adapter_of
from dispatch_app.providers.quirks import adapted
from policies_app.routing.codes import SystemRole, WireFormat
from policies_app.routing.money import bound_tokens
from policies_app.routing.quirks import Quirks
from tests.dispatch_app.routing_values import ProviderRow, make_candidate, make_facts

NOW = datetime(2026, 11, 24, tzinfo=UTC)
TOKENS_AROUND_A_MESSAGE = 16
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
contents = texts | st.lists(
    st.fixed_dictionaries({"type": st.just("text"), "text": texts}), min_size=1, max_size=3
)
messages = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "developer", "user", "assistant"]), "content": contents}
    ),
    min_size=1,
    max_size=6,
)
quirks = st.builds(Quirks, system_prefix=texts, system_suffix=texts, system_role=st.sampled_from(SystemRole))


@given(messages=messages, quirks=quirks)
def test_no_conversation_becomes_longer_by_more_than_is_reserved(
    messages: list[dict[str, Any]], quirks: Quirks
) -> None:
    """The vendor's tokenizer is as bad as can be: every byte of text is a token."""
    candidate = make_candidate()
    model = replace(candidate.model, quirks=quirks)
    request = Request(fields={"messages": messages}, stream=False, choices=1)

    sent = adapted(request, msgspec.structs.replace(candidate, model=model)).fields["messages"]

    facts = make_facts()
    most, _ = bound_tokens(facts=facts, model=model, output_tokens_limit=1)
    assert _tokens(sent) - _tokens(messages) <= most - facts.input_tokens_bound


@pytest.mark.parametrize("wire_format", WireFormat)
def test_parameters_that_are_fixed_never_lift_the_limit(wire_format: WireFormat) -> None:
    candidate = make_candidate(output_tokens_limit=50)
    model = replace(
        candidate.model,
        wire_format=wire_format,
        quirks=Quirks(fixed_parameters={"min_p": 0.1, "top_k": None}),
    )
    adapter = adapter_of(wire_format)
    built = adapter.build(
        request=Request(fields={"messages": [{"role": "user", "content": "Hi"}]}, stream=False, choices=1),
        candidate=msgspec.structs.replace(candidate, model=model),
        prepared=adapter.prepare(ProviderRow(wire_format=wire_format)),
        now=NOW,
    )

    assert built.body.count(b"50") == 1


def _tokens(messages: list[dict[str, Any]]) -> int:
    return sum(TOKENS_AROUND_A_MESSAGE + _bytes_of_text(message["content"]) for message in messages)


def _bytes_of_text(content: Any) -> int:
    if isinstance(content, str):
        return len(content.encode())
    return sum(len(part["text"].encode()) for part in content or ())
