"""Anthropic's format at the client's side. Held against the vendor's side of the same format: nothing may get lost between."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from dispatch_app.execution.assembly import disassemble
from dispatch_app.execution.canonical import Choice, ClientFormat, Reply, StreamPart
from dispatch_app.execution.errors import DispatchError, ErrorCode
from dispatch_app.gateway.anthropic_messages import ANTHROPIC_MESSAGES, MessageStream, render_reply
from dispatch_app.gateway.anthropic_request import parse_count, parse_message
from dispatch_app.gateway.errors import RequestError
from dispatch_app.providers import anthropic_messages as vendor_half
from dispatch_app.providers import openai_chat as openai_half
from policies_app.routing.codes import Capability, WireFeature
from policies_app.routing.types import Usage
from tests.dispatch_app.providers.golden import golden, read_stream, told
from tests.dispatch_app.routing_values import ProviderRow, make_candidate

NOW = datetime(2026, 11, 24, tzinfo=UTC)
ID = UUID("01a20b64-66b2-760a-ab6d-b96356e5e348")
FORMAT = "anthropic_messages"
HELLO: dict[str, Any] = {
    "model": "auto",
    "max_tokens": 50,
    "messages": [{"role": "user", "content": "Hello"}],
}


def parse(**fields: Any) -> Any:
    return parse_message(json.dumps(HELLO | fields).encode())


def sent_to(half: Any, body: dict[str, Any]) -> dict[str, Any]:
    """What a vendor is sent of a client's body."""
    request = parse_message(json.dumps(body).encode()).request
    built = half.build(
        request=request, candidate=make_candidate(), prepared=half.prepare(ProviderRow()), now=NOW
    )
    decoded: dict[str, Any] = json.loads(built.body)
    return decoded


def encode(events: list[tuple[str, Any]]) -> bytes:
    return b"".join(f"event: {name}\ndata: {json.dumps(data)}\n\n".encode() for name, data in events)


@pytest.mark.parametrize("fixture", golden(FORMAT, "requests"))
def test_a_request_reaches_a_vendor_of_the_same_format_as_it_came(fixture: dict[str, Any]) -> None:
    assert sent_to(vendor_half, fixture["wire"]) == fixture["wire"]


def test_texts_may_come_as_strings_and_unknown_fields_go_on() -> None:
    body = HELLO | {"system": "Be brief.", "context_management": {"edits": []}, "service_tier": "auto"}

    assert sent_to(vendor_half, body) == {
        "model": "sandbox-small",
        "max_tokens": 50,
        "system": [{"type": "text", "text": "Be brief."}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}],
        "context_management": {"edits": []},
    }


@pytest.mark.parametrize("fixture", golden(FORMAT, "replies"))
def test_a_plain_reply_reaches_the_client_as_the_vendor_gave_it(fixture: dict[str, Any]) -> None:
    given = json.dumps(fixture["wire"]).encode()
    reply = vendor_half.parse_reply(given, wire_status=200, first_byte_at=0.0)

    body = render_reply(
        reply=reply,
        dispatch_id="1",
        created=0,
        model=reply.model,
        usage=reply.usage,
        details=None,
        prompt=parse(),
    )

    again = vendor_half.parse_reply(body, wire_status=200, first_byte_at=0.0)
    assert again.choices == reply.choices
    assert again.usage == (reply.usage or Usage())
    assert json.loads(body)["stop_reason"] in {
        fixture["wire"]["stop_reason"], "end_turn", "max_tokens"
    }  # fmt: skip


def rendered(parts: list[StreamPart], usage: Usage | None) -> bytes:
    stream = MessageStream(dispatch_id=ID, created=0, prompt=parse())
    body = b"".join(stream.part(part, model="small") for part in parts)
    return body + stream.end(model="small", usage=usage, details={}, is_verbose=False)


@pytest.mark.parametrize("fixture", golden(FORMAT, "streams"))
def test_a_stream_reaches_the_client_as_the_vendor_gave_it(fixture: dict[str, Any]) -> None:
    decoded = list(vendor_half.stream_decoder().feed(encode(fixture["wire"])))
    parts = [part for part in decoded if isinstance(part, StreamPart)]

    stream = rendered(parts, parts[-1].usage)

    assert told(read_stream(vendor_half, [stream])) == fixture["canonical"]


@pytest.mark.parametrize("fixture", golden(FORMAT, "streams"))
def test_every_block_of_a_stream_begins_and_ends_before_the_next(fixture: dict[str, Any]) -> None:
    decoded = list(vendor_half.stream_decoder().feed(encode(fixture["wire"])))
    stream = rendered([part for part in decoded if isinstance(part, StreamPart)], None)

    events = [json.loads(line[6:]) for line in stream.decode().splitlines() if line.startswith("data: ")]
    bounds = [
        (e["type"], e["index"]) for e in events if e["type"] in {"content_block_start", "content_block_stop"}
    ]

    blocks = len(bounds) // 2
    assert bounds == [
        (kind, index) for index in range(blocks) for kind in ("content_block_start", "content_block_stop")
    ]


def test_what_a_vendor_of_another_format_thought_is_told_without_a_signature() -> None:
    choice = Choice(
        message={"role": "assistant", "content": "4", "reasoning_content": "2 + 2"}, finish_reason="stop"
    )
    reply = Reply(model="m", choices=[choice], usage=None, wire_status=200, first_byte_at=0.0)
    thought = {"type": "thinking", "thinking": "2 + 2", "signature": ""}

    body = render_reply(
        reply=reply, dispatch_id="1", created=0, model="m", usage=None, details={"a": 1}, prompt=parse()
    )
    streamed = read_stream(vendor_half, [rendered(disassemble(reply), None)])

    assert json.loads(body)["content"] == [thought, {"type": "text", "text": "4"}]
    assert json.loads(body)["dispatch"] == {"a": 1}
    assert streamed.choices[0].message["reasoning_content"] == "2 + 2"
    back = [*HELLO["messages"], {"role": "assistant", "content": [thought, {"type": "text", "text": "4"}]}]
    turns = sent_to(vendor_half, HELLO | {"messages": [*back, *HELLO["messages"]]})["messages"]
    assert turns[1]["content"] == [{"type": "text", "text": "4"}]


def test_a_vendor_of_openais_format_is_told_in_its_words() -> None:
    picture = {"type": "image", "source": {"type": "url", "url": "https://example.com/cat.png"}}
    marked = {"type": "text", "text": "What is it?", "cache_control": {"type": "ephemeral"}}
    sent = sent_to(
        openai_half,
        HELLO
        | {
            "messages": [{"role": "user", "content": [picture, marked]}],
            "thinking": {"type": "enabled", "budget_tokens": 4_000},
            "top_k": 5,
        },
    )

    assert sent == {
        "model": "sandbox-small",
        "max_tokens": 50,
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}},
                    {"type": "text", "text": "What is it?"},
                ],
            }
        ],
        "reasoning_effort": "medium",
    }


@pytest.mark.parametrize(
    ("fields", "effort"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 1_024}}, "low"),
        ({"thinking": {"type": "enabled", "budget_tokens": 60_000}}, "high"),
        ({"thinking": {"type": "disabled"}}, None),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}, "max"),
        ({"output_config": {"effort": "low"}}, "low"),
    ],
)
def test_how_much_is_thought_has_openais_names(fields: dict[str, Any], effort: str | None) -> None:
    assert sent_to(openai_half, HELLO | fields).get("reasoning_effort") == effort


def test_what_a_request_needs_follows_from_its_form() -> None:
    tool = {"name": "f", "input_schema": {"type": "object"}}
    picture = {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
    }
    result = {"type": "tool_result", "tool_use_id": "t", "content": [picture]}
    prompt = parse(
        messages=[{"role": "user", "content": [result]}, {"role": "assistant", "content": "I"}],
        tools=[tool],
        tool_choice={"type": "auto", "disable_parallel_tool_use": True},
        output_config={"format": {"type": "json_schema", "schema": {"type": "object"}}},
        stream=True,
        metadata={"user_id": "ann"},
    )

    assert prompt.needs == {
        Capability.TOOLS, Capability.VISION, Capability.JSON_SCHEMA, Capability.STREAMING
    }  # fmt: skip
    assert prompt.features == {
        WireFeature.SINGLE_TOOL_CALL, WireFeature.JSON_SCHEMA, WireFeature.ANSWER_BEGUN,
        WireFeature.TOOL_RESULT_IMAGES,
    }  # fmt: skip
    assert (prompt.end_user, prompt.images, prompt.output_tokens) == ("ann", 1, 50)
    assert prompt.request.origin is ClientFormat.ANTHROPIC_MESSAGES


def test_the_input_bound_covers_every_byte_of_the_prompt() -> None:
    prompt = parse(system="x" * 1_000, messages=[{"role": "user", "content": "y" * 1_000}])

    assert prompt.input_tokens_bound >= 2_000


def test_the_input_bound_covers_arguments_that_are_longer_when_they_are_a_text() -> None:
    use = {"type": "tool_use", "id": "t", "name": "add", "input": {"numbers": []}}
    body = json.dumps(HELLO | {"messages": [{"role": "assistant", "content": [use]}]})
    body = body.replace("[]", f"[{'1e15,' * 999}1e15]")
    prompt = parse_message(body.encode())

    (call,) = prompt.request.fields["messages"][0]["tool_calls"]
    assert prompt.input_tokens_bound >= len(call["function"]["arguments"]) > 3 * len(body)


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"max_tokens": None}, ErrorCode.INVALID_REQUEST, "max_tokens"),
        ({"messages": []}, ErrorCode.INVALID_REQUEST, "messages"),
        ({"messages": [{"role": "system", "content": "x"}]}, ErrorCode.INVALID_REQUEST, "messages[0].role"),
        (
            {"messages": [{"role": "user", "content": [{"type": "document"}]}]},
            ErrorCode.INVALID_REQUEST,
            "messages[0].content[0].type",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_use", "id": "1", "name": "f"}]}]},
            ErrorCode.INVALID_REQUEST,
            "messages",
        ),
        (
            {"tools": [{"type": "web_search_20250305", "name": "web_search", "input_schema": {}}]},
            ErrorCode.INVALID_REQUEST,
            "tools[0].type",
        ),
        ({"container": "c"}, ErrorCode.UNSUPPORTED_PARAMETER, "container"),
        ({"speed": "fast"}, ErrorCode.UNSUPPORTED_PARAMETER, "speed"),
        ({"inference_geo": "us"}, ErrorCode.UNSUPPORTED_PARAMETER, "inference_geo"),
        ({"base_url": "http://x"}, ErrorCode.UNSUPPORTED_PARAMETER, "base_url"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], code: ErrorCode, param: str) -> None:
    with pytest.raises(RequestError) as raised:
        parse(**fields)

    assert (raised.value.code, raised.value.param) == (code, param)


def test_counting_needs_no_limit_of_the_output() -> None:
    body = json.dumps({name: value for name, value in HELLO.items() if name != "max_tokens"}).encode()

    assert parse_count(body).input_tokens > 0


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, ErrorCode.INVALID_API_KEY, "authentication_error"),
        (429, ErrorCode.RATE_LIMIT_EXCEEDED, "rate_limit_error"),
        (429, ErrorCode.INSUFFICIENT_QUOTA, "billing_error"),
        (500, ErrorCode.INTERNAL_ERROR, "api_error"),
        (502, ErrorCode.UPSTREAM_INVALID, "api_error"),
        (503, ErrorCode.KILLED, "overloaded_error"),
        (504, ErrorCode.DEADLINE_EXCEEDED, "timeout_error"),
    ],
)
def test_errors_have_the_types_that_anthropics_clients_know(status: int, code: ErrorCode, kind: str) -> None:
    body = ANTHROPIC_MESSAGES.render_error(DispatchError(status=status, code=code), dispatch_id=ID)

    assert json.loads(body)["error"]["type"] == kind
    assert json.loads(body)["request_id"] == str(ID)


@pytest.mark.parametrize("name", ["n", "max_completion_tokens"])
def test_what_bounds_the_money_in_another_format_is_refused(name: str) -> None:
    with pytest.raises(RequestError) as raised:
        parse(**{name: 3})

    assert (raised.value.code, raised.value.param) == (ErrorCode.UNSUPPORTED_PARAMETER, name)
