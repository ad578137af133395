import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from dispatch_app.execution.canonical import ClientFormat, Request, StreamPart
from dispatch_app.execution.errors import (
    ContextTooLongError,
    CredentialRefusedError,
    InvalidReplyError,
    QuotaExhaustedError,
    RateLimitedError,
    RedirectedError,
    RequestRejectedError,
    ServerFailedError,
    StreamFailedError,
    UpstreamError,
)
from dispatch_app.providers import anthropic_messages
from dispatch_app.providers.adapter import Adapter, adapter_of
from policies_app.routing.codes import WireFormat
from tests.dispatch_app.providers.golden import golden, read_stream, told
from tests.dispatch_app.routing_values import ProviderRow, make_candidate

NOW = datetime(2026, 11, 24, tzinfo=UTC)
FORMAT = "anthropic_messages"
PREPARED = anthropic_messages.prepare(ProviderRow())
ADAPTER: Adapter = adapter_of(WireFormat.ANTHROPIC_MESSAGES)
HELLO = {"messages": [{"role": "user", "content": "Hello"}]}


def build(request: Request) -> dict[str, Any]:
    built = anthropic_messages.build(request=request, candidate=make_candidate(), prepared=PREPARED, now=NOW)
    decoded: dict[str, Any] = json.loads(built.body)
    return decoded


def a_request(**fields: Any) -> Request:
    return Request(fields=HELLO | fields, stream=False, choices=1)


def encode(events: list[tuple[str, Any]]) -> bytes:
    return b"".join(f"event: {name}\ndata: {json.dumps(data)}\n\n".encode() for name, data in events)


STREAMS = {parameter.id: encode(parameter.values[0]["wire"]) for parameter in golden(FORMAT, "streams")}  # type: ignore[index, call-overload]


@pytest.mark.parametrize("fixture", golden(FORMAT, "requests"))
def test_a_request_is_said_as_the_vendors_page_says(fixture: dict[str, Any]) -> None:
    request = Request(fields=fixture["canonical"], stream=False, choices=1)

    assert build(request) == fixture["wire"]
    assert anthropic_messages.dropped(request, model=make_candidate().model) == ()


@pytest.mark.parametrize("fixture", golden(FORMAT, "replies"))
def test_a_reply_is_read_as_the_vendors_page_says(fixture: dict[str, Any]) -> None:
    body = json.dumps(fixture["wire"]).encode()

    reply = anthropic_messages.parse_reply(body, wire_status=200, first_byte_at=1.0)

    assert told(reply) == fixture["canonical"]
    assert reply.model == "claude-sonnet-4-6"


@pytest.mark.parametrize("fixture", golden(FORMAT, "streams"))
def test_a_stream_comes_to_what_the_vendors_page_says(fixture: dict[str, Any]) -> None:
    reply = read_stream(ADAPTER, [encode(fixture["wire"])])

    assert told(reply) == fixture["canonical"]
    assert reply.model == "claude-sonnet-4-6"


@given(st.sampled_from(sorted(STREAMS)), st.data())
def test_how_a_streams_bytes_are_split_makes_no_difference(name: str, data: st.DataObject) -> None:
    stream = STREAMS[name]
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)))))
    pieces = [stream[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]

    assert read_stream(ADAPTER, pieces) == read_stream(ADAPTER, [stream])


def test_the_key_and_the_version_stand_in_headers_of_their_own() -> None:
    prepared = anthropic_messages.prepare(ProviderRow(base_url="https://api.anthropic.com/v1/"))

    assert prepared.url == "https://api.anthropic.com/v1/messages"
    assert dict(prepared.headers) == {
        "x-api-key": "vendor-secret",
        "anthropic-version": "2023-06-01",
        "content-type": "application/json",
        "accept-encoding": "identity",
        "user-agent": "signalbox",
    }
    later = anthropic_messages.prepare(ProviderRow(api_version="2027-01-01", secret=None))
    assert (later.headers["anthropic-version"], "x-api-key" in later.headers) == ("2027-01-01", False)


def test_a_stream_is_asked_for() -> None:
    assert build(replace(a_request(), stream=True))["stream"] is True


def test_fields_of_its_own_are_sent_if_the_caller_speaks_the_format_and_named_if_not() -> None:
    own = replace(a_request(), extras={"container": "c", "output_config": {"task_budget": {"total": 9}}})
    spoken = replace(own, origin=ClientFormat.ANTHROPIC_MESSAGES)

    assert build(spoken)["container"] == "c"
    assert anthropic_messages.dropped(spoken, model=make_candidate().model) == ()
    assert "container" not in build(own)
    assert anthropic_messages.dropped(own, model=make_candidate().model) == ("container", "output_config")


def test_settings_of_the_output_are_joined() -> None:
    request = replace(
        a_request(reasoning_effort="high"),
        extras={"output_config": {"task_budget": {"total": 9}}},
        origin=ClientFormat.ANTHROPIC_MESSAGES,
    )

    assert build(request)["output_config"] == {"task_budget": {"total": 9}, "effort": "high"}


def test_what_the_format_cannot_carry_is_named_where_it_asks_for_something() -> None:
    request = a_request(min_p=0.1, verbosity="low", logprobs=False, presence_penalty=0, n=1)

    assert build(request).keys() == {"model", "max_tokens", "messages"}
    assert anthropic_messages.dropped(request, model=make_candidate().model) == ("min_p", "verbosity")


def test_a_picture_has_the_name_of_its_kind_that_anthropic_takes() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/jpg;base64,/9j/"}}

    (message,) = build(a_request(messages=[{"role": "user", "content": [picture]}]))["messages"]

    source = {"type": "base64", "media_type": "image/jpeg", "data": "/9j/"}
    assert message["content"] == [{"type": "image", "source": source}]


def test_data_of_a_picture_in_no_known_encoding_is_refused_before_it_is_sent() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/svg+xml,<svg/>"}}

    with pytest.raises(RequestRejectedError):
        build(a_request(messages=[{"role": "user", "content": [picture]}]))


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"content":{}}', b'{"content":[{}]}', b'{"content":"\xff"}', b"[" * 100_000]
)
def test_a_body_that_is_no_message_is_an_invalid_reply(body: bytes) -> None:
    with pytest.raises(InvalidReplyError):
        anthropic_messages.parse_reply(body, wire_status=200, first_byte_at=1.0)


@pytest.mark.parametrize(
    ("event", "raised"),
    [
        (
            b'data: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n',
            StreamFailedError,
        ),
        (b"data: {\n\n", InvalidReplyError),
        (b'data: {"type":"content_block_start","index":0}\n\n', InvalidReplyError),
        (
            b'data: {"type":"content_block_delta","index":3,"delta":{"type":"signature_delta","signature":"x"}}\n\n',
            InvalidReplyError,
        ),
    ],
)
def test_an_event_that_tells_of_trouble_is_an_error(event: bytes, raised: type[UpstreamError]) -> None:
    with pytest.raises(raised):
        list(anthropic_messages.stream_decoder().feed(event))


def test_what_a_streams_beginning_reports_is_not_taken_for_what_it_came_to() -> None:
    """It counts the input and one token; a stream that breaks off then would cost next to nothing."""
    stream = STREAMS["text"].partition(b"event: message_delta")[0]
    decoder = anthropic_messages.stream_decoder()
    parts = list(decoder.feed(stream))

    with pytest.raises(StreamFailedError) as raised:
        list(decoder.feed(b'data: {"type":"error"}\n\n'))

    assert raised.value.usage is None
    assert all(isinstance(part, StreamPart) and part.usage is None for part in parts)


def told_error(kind: str, message: str = "") -> bytes:
    return json.dumps({"type": "error", "error": {"type": kind, "message": message}}).encode()


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (301, b"", RedirectedError),
        (400, told_error("invalid_request_error", "max_tokens: must be greater"), RequestRejectedError),
        (
            400,
            told_error("invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"),
            ContextTooLongError,
        ),
        (
            400,
            told_error(
                "invalid_request_error", "Your credit balance is too low to access the Anthropic API."
            ),
            QuotaExhaustedError,
        ),
        (400, b"<html>", RequestRejectedError),
        (401, told_error("authentication_error"), CredentialRefusedError),
        (402, told_error("billing_error"), QuotaExhaustedError),
        (403, told_error("permission_error"), CredentialRefusedError),
        (404, told_error("not_found_error"), RequestRejectedError),
        (408, b"", ServerFailedError),
        (413, told_error("request_too_large"), RequestRejectedError),
        (429, told_error("rate_limit_error"), RateLimitedError),
        (500, told_error("api_error"), ServerFailedError),
        (529, told_error("overloaded_error"), ServerFailedError),
        (204, b"", InvalidReplyError),
    ],
)
def test_every_other_status_has_its_meaning(status: int, body: bytes, kind: type[UpstreamError]) -> None:
    error = anthropic_messages.read_error(
        body, wire_status=status, retry_after_s=7, bills_server_errors=False
    )

    assert type(error) is kind
    assert error.wire_status == status
