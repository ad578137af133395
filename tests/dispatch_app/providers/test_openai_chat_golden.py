"""OpenAI's Chat Completions as their pages have them, and what servers that speak them make of them."""

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from dispatch_app.execution.canonical import ClientFormat, Reply, Request
from dispatch_app.execution.errors import UpstreamError
from dispatch_app.providers import openai_chat
from dispatch_app.providers.adapter import Adapter, adapter_of
from policies_app.routing.codes import WireFormat
from policies_app.routing.types import Usage
from tests.dispatch_app.providers.golden import golden, read_stream
from tests.dispatch_app.routing_values import ProviderRow, make_candidate

NOW = datetime(2026, 11, 24, tzinfo=UTC)
FORMAT = "openai_chat"
ADAPTERS = [adapter_of(WireFormat.OPENAI_CHAT), adapter_of(WireFormat.AZURE_OPENAI)]
ADAPTER: Adapter = ADAPTERS[0]


def encode(events: list[Any]) -> bytes:
    told = (event.encode() if isinstance(event, str) else msgspec.json.encode(event) for event in events)
    return b"".join(b"data: " + data + b"\n\n" for data in told)


STREAMS = {parameter.id: encode(parameter.values[0]["wire"]) for parameter in golden(FORMAT, "streams")}  # type: ignore[index, call-overload]


def told(reply: Reply) -> dict[str, Any]:
    choices = [msgspec.to_builtins(choice) for choice in reply.choices]
    assert [choice.pop("index", 0) for choice in choices] == list(range(len(choices)))
    return {"choices": choices, "usage": None if reply.usage is None else _without_zeros(reply.usage)}


@pytest.mark.parametrize("adapter", ADAPTERS, ids=[FORMAT, "azure_openai"])
@pytest.mark.parametrize("fixture", golden(FORMAT, "requests"))
def test_a_request_is_said_as_the_vendors_page_says(fixture: dict[str, Any], adapter: Adapter) -> None:
    request = Request(
        fields=fixture["canonical"],
        stream=fixture.get("stream", False),
        choices=fixture["canonical"].get("n", 1),
        origin=ClientFormat(fixture.get("origin", FORMAT)),
    )

    built = adapter.build(
        request=request, candidate=make_candidate(), prepared=adapter.prepare(ProviderRow()), now=NOW
    )

    assert json.loads(built.body) == fixture["wire"]
    assert list(adapter.dropped(request, model=make_candidate().model)) == fixture.get("dropped", [])


@pytest.mark.parametrize("fixture", golden(FORMAT, "replies"))
def test_a_reply_is_read_as_the_vendors_page_says(fixture: dict[str, Any]) -> None:
    body = msgspec.json.encode(fixture["wire"])

    reply = openai_chat.parse_reply(body, wire_status=200, first_byte_at=1.0)

    assert told(reply) == fixture["canonical"]
    assert reply.model == "gpt-4.1-2025-04-14"


@pytest.mark.parametrize("fixture", golden(FORMAT, "streams"))
def test_a_stream_comes_to_what_the_vendors_page_says(fixture: dict[str, Any]) -> None:
    reply = read_stream(ADAPTER, [encode(fixture["wire"])])

    assert told(reply) == fixture["canonical"]
    assert reply.model == "gpt-4o-mini"


@pytest.mark.parametrize("fixture", [*golden(FORMAT, "replies"), *golden(FORMAT, "streams")])
def test_the_fixtures_are_what_the_vendors_own_client_expects(fixture: dict[str, Any]) -> None:
    """Its models forbid nothing, but know the type of each field that they have."""
    wire = fixture["wire"]
    if isinstance(wire, dict):
        ChatCompletion.model_validate(wire, strict=True)
        return
    for event in wire:
        # Azure's first event has the results of its filter, and nothing that a chunk has.
        if event != "[DONE]" and event["object"]:
            ChatCompletionChunk.model_validate(event, strict=True)


@pytest.mark.parametrize("line", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
@given(name=st.sampled_from(sorted(STREAMS)), data=st.data())
def test_how_a_streams_bytes_are_split_makes_no_difference(
    line: bytes, name: str, data: st.DataObject
) -> None:
    stream = STREAMS[name].replace(b"\n", line)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)))))
    pieces = [stream[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]

    assert read_stream(ADAPTER, pieces) == read_stream(ADAPTER, [STREAMS[name]])


@pytest.mark.parametrize("fixture", golden(FORMAT, "errors"))
@pytest.mark.parametrize("bills_server_errors", [True, False])
def test_an_error_is_the_fault_that_its_page_says(fixture: dict[str, Any], bills_server_errors: bool) -> None:
    error = openai_chat.read_error(
        msgspec.json.encode(fixture["wire"]),
        wire_status=fixture["status"],
        retry_after_s=2,
        bills_server_errors=bills_server_errors,
    )

    assert error.fault == fixture["fault"]
    assert error.is_billable is (fixture["fault"] == "server_error" and bills_server_errors)


@pytest.mark.parametrize("fixture", golden(FORMAT, "stream_errors"))
def test_an_error_within_a_stream_is_the_fault_that_its_page_says(fixture: dict[str, Any]) -> None:
    with pytest.raises(UpstreamError) as raised:
        list(openai_chat.stream_decoder().feed(encode(fixture["wire"])))

    assert raised.value.fault == fixture["fault"]


def _without_zeros(usage: Usage) -> dict[str, int]:
    return {name: count for name in Usage.__struct_fields__ if (count := getattr(usage, name))}
