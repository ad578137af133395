import json
from datetime import UTC, datetime
from typing import Any

import pytest
from google.genai import types
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from dispatch_app.execution.canonical import ClientFormat, Reply, Request
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
from dispatch_app.providers import gemini
from dispatch_app.providers.adapter import Adapter, StreamEnd, adapter_of
from policies_app.routing.codes import WireFormat
from tests.dispatch_app.providers.golden import golden, read_stream, told
from tests.dispatch_app.routing_values import ProviderRow, make_candidate

NOW = datetime(2026, 11, 24, tzinfo=UTC)
FORMAT = "gemini"
PREPARED = gemini.prepare(ProviderRow(base_url="https://generativelanguage.googleapis.com/v1beta/"))
ADAPTER: Adapter = adapter_of(WireFormat.GEMINI)
HELLO = {"messages": [{"role": "user", "content": "Hello"}]}


def build(request: Request) -> Any:
    return gemini.build(request=request, candidate=make_candidate(), prepared=PREPARED, now=NOW)


def a_request(**fields: Any) -> Request:
    return Request(fields=HELLO | fields, stream=False, choices=1)


def encode(replies: list[Any], *, line: str = "\r\n") -> bytes:
    return b"".join(f"data: {json.dumps(reply)}{line}{line}".encode() for reply in replies)


STREAMS = {parameter.id: encode(parameter.values[0]["wire"]) for parameter in golden(FORMAT, "streams")}  # type: ignore[index, call-overload]


@pytest.mark.parametrize("fixture", golden(FORMAT, "requests"))
def test_a_request_is_said_as_the_vendors_page_says(fixture: dict[str, Any]) -> None:
    request = Request(fields=fixture["canonical"], stream=False, choices=1)

    assert json.loads(build(request).body) == fixture["wire"]
    assert gemini.dropped(request, model=make_candidate().model) == ()


@pytest.mark.parametrize("fixture", golden(FORMAT, "requests"))
def test_googles_own_types_know_every_field_of_a_request(fixture: dict[str, Any]) -> None:
    wire = fixture["wire"]

    for content in [*wire["contents"], wire.get("systemInstruction", {})]:
        types.Content.model_validate(content)
    types.GenerationConfig.model_validate(wire["generationConfig"])
    types.ToolConfig.model_validate(wire.get("toolConfig", {}))
    for tool in wire.get("tools", ()):
        types.Tool.model_validate(tool)


@pytest.mark.parametrize("fixture", golden(FORMAT, "replies"))
def test_googles_own_types_know_every_field_of_a_reply(fixture: dict[str, Any]) -> None:
    types.GenerateContentResponse.model_validate(fixture["wire"])


@pytest.mark.parametrize("fixture", golden(FORMAT, "replies"))
def test_a_reply_is_read_as_the_vendors_page_says(fixture: dict[str, Any]) -> None:
    body = json.dumps(fixture["wire"]).encode()

    reply = gemini.parse_reply(body, wire_status=200, first_byte_at=1.0)

    assert told(reply) == fixture["canonical"]
    assert reply.model == "gemini-3-flash"


def read(pieces: list[bytes]) -> Reply:
    """A stream has no event that ends it: it is whole if it ends after its answers did."""
    return read_stream(ADAPTER, pieces)


@pytest.mark.parametrize("fixture", golden(FORMAT, "streams"))
def test_a_stream_comes_to_what_the_vendors_page_says(fixture: dict[str, Any]) -> None:
    assert told(read([encode(fixture["wire"])])) == fixture["canonical"]


@given(st.sampled_from(sorted(STREAMS)), st.data())
def test_how_a_streams_bytes_are_split_makes_no_difference(name: str, data: st.DataObject) -> None:
    stream = STREAMS[name]
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)))))
    pieces = [stream[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]

    assert read(pieces) == read([stream])


def test_a_stream_that_ends_before_its_answer_does_is_not_whole() -> None:
    decoder = gemini.stream_decoder()
    first = STREAMS["text"].partition(b"\r\n\r\n")[0]

    parts = [*decoder.feed(first + b"\r\n\r\n"), *decoder.close()]

    assert parts
    assert not any(isinstance(part, StreamEnd) for part in parts)


def test_feedback_on_a_prompt_that_was_not_blocked_ends_nothing() -> None:
    ratings = {"promptFeedback": {"safetyRatings": []}, "usageMetadata": {"promptTokenCount": 5}}
    said = {"candidates": [{"content": {"parts": [{"text": "Hi"}]}, "finishReason": "STOP"}]}

    reply = read([encode([ratings, said])])

    assert reply.choices[0].message["content"] == "Hi"
    assert reply.choices[0].finish_reason == "stop"


def test_what_is_used_is_told_at_the_end_only() -> None:
    """What the first pieces report is what was used so far, and would be taken for all of it."""
    parts = [
        part for part in gemini.stream_decoder().feed(STREAMS["text"]) if not isinstance(part, StreamEnd)
    ]

    assert [part.usage is not None for part in parts] == [False] * (len(parts) - 1) + [True]


@pytest.mark.parametrize(
    ("streams", "method"), [(False, "generateContent"), (True, "streamGenerateContent?alt=sse")]
)
def test_the_model_stands_in_the_address_and_the_key_in_a_header(streams: bool, method: str) -> None:
    built = build(replace(a_request(), stream=streams))

    base = "https://generativelanguage.googleapis.com/v1beta/models"
    assert built.url == f"{base}/sandbox-small:{method}"
    assert built.headers["x-goog-api-key"] == "vendor-secret"


def test_several_answers_are_asked_for_and_read() -> None:
    built = build(replace(a_request(), choices=2))
    candidates = [
        {"content": {"parts": [{"text": text}]}, "finishReason": "STOP", "index": index}
        for index, text in enumerate(("one", "two"))
    ]
    reply = gemini.parse_reply(
        json.dumps({"candidates": candidates}).encode(), wire_status=200, first_byte_at=0.0
    )

    assert json.loads(built.body)["generationConfig"]["candidateCount"] == 2
    assert [choice.message["content"] for choice in reply.choices] == ["one", "two"]


def test_what_the_format_cannot_carry_is_named_where_it_asks_for_something() -> None:
    request = replace(
        a_request(verbosity="low", logprobs=False, logit_bias={}),
        origin=ClientFormat.ANTHROPIC_MESSAGES,
        extras={"context_management": {}},
    )

    assert gemini.dropped(request, model=make_candidate().model) == ("verbosity", "context_management")


def test_a_picture_has_the_name_of_its_kind_that_google_takes() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/jpg;base64,/9j/"}}

    built = build(a_request(messages=[{"role": "user", "content": [picture]}]))

    (content,) = json.loads(built.body)["contents"]
    assert content["parts"] == [{"inlineData": {"mimeType": "image/jpeg", "data": "/9j/"}}]


@pytest.mark.parametrize(
    "url", ["http://example.com/cat.png", "gs://cats/cat.png", "https://[cat", "cat.png"]
)
def test_a_picture_that_google_would_not_fetch_is_refused_before_it_is_sent(url: str) -> None:
    picture = {"type": "image_url", "image_url": {"url": url}}

    with pytest.raises(RequestRejectedError):
        build(a_request(messages=[{"role": "user", "content": [picture]}]))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"candidates":{}}',
        b'{"candidates":[1]}',
        b'{"modelVersion":"\xff"}',
        b"[" * 100_000,
    ],
)
def test_a_body_that_is_no_response_is_an_invalid_reply(body: bytes) -> None:
    with pytest.raises(InvalidReplyError):
        gemini.parse_reply(body, wire_status=200, first_byte_at=1.0)


def test_a_call_that_the_vendor_could_not_read_is_no_answer_and_paid_for() -> None:
    reply = {
        "candidates": [{"finishReason": "MALFORMED_FUNCTION_CALL", "index": 0}],
        "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 4},
    }

    with pytest.raises(InvalidReplyError) as raised:
        gemini.parse_reply(json.dumps(reply).encode(), wire_status=200, first_byte_at=1.0)

    assert raised.value.usage is not None
    assert (raised.value.usage.input_tokens, raised.value.usage.output_tokens) == (10, 4)


def test_an_error_in_a_stream_is_an_error() -> None:
    with pytest.raises(StreamFailedError):
        list(gemini.stream_decoder().feed(encode([{"error": {"code": 503, "status": "UNAVAILABLE"}}])))


def told_error(status: str, message: str = "", *details: dict[str, Any]) -> bytes:
    return json.dumps({"error": {"message": message, "status": status, "details": details}}).encode()


BAD_KEY = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (302, b"", RedirectedError),
        (400, told_error("INVALID_ARGUMENT", "Unknown name"), RequestRejectedError),
        (400, told_error("INVALID_ARGUMENT", "API key not valid.", BAD_KEY), CredentialRefusedError),
        (
            400,
            told_error(
                "INVALID_ARGUMENT",
                "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
            ),
            ContextTooLongError,
        ),
        (400, told_error("FAILED_PRECONDITION", "Please enable billing"), QuotaExhaustedError),
        (400, b"<html>", RequestRejectedError),
        (401, b"", CredentialRefusedError),
        (403, told_error("PERMISSION_DENIED"), CredentialRefusedError),
        (404, told_error("NOT_FOUND"), RequestRejectedError),
        (429, told_error("RESOURCE_EXHAUSTED"), RateLimitedError),
        (499, told_error("CANCELLED"), ServerFailedError),
        (500, told_error("INTERNAL"), ServerFailedError),
        (503, told_error("UNAVAILABLE"), ServerFailedError),
        (504, told_error("DEADLINE_EXCEEDED"), ServerFailedError),
        (204, b"", InvalidReplyError),
    ],
)
def test_every_other_status_has_its_meaning(status: int, body: bytes, kind: type[UpstreamError]) -> None:
    error = gemini.read_error(body, wire_status=status, retry_after_s=None, bills_server_errors=False)

    assert type(error) is kind
    assert error.wire_status == status


@pytest.mark.parametrize("fixture", golden(FORMAT, "errors"))
def test_an_error_is_the_fault_that_its_page_says(fixture: dict[str, Any]) -> None:
    error = gemini.read_error(
        json.dumps(fixture["wire"]).encode(),
        wire_status=fixture["status"],
        retry_after_s=None,
        bills_server_errors=False,
    )

    assert error.fault == fixture["fault"]


@pytest.mark.parametrize(("body", "kind"), [("[{}]", CredentialRefusedError), ("[]", RequestRejectedError)])
def test_an_error_may_stand_in_a_list_where_a_stream_was_asked_for(
    body: str, kind: type[UpstreamError]
) -> None:
    told = told_error("INVALID_ARGUMENT", "API key not valid.", BAD_KEY).decode()

    error = gemini.read_error(
        body.replace("{}", told).encode(), wire_status=400, retry_after_s=None, bills_server_errors=False
    )

    assert type(error) is kind


def test_thoughts_that_are_not_shown_are_told_with_the_part_that_follows_them() -> None:
    """What was received of a stream that is cut bounds what was generated only if they are in it."""

    def piece(text: str, thoughts: int) -> dict[str, Any]:
        return {
            "candidates": [{"content": {"parts": [{"text": text}]}}],
            "usageMetadata": {"promptTokenCount": 5, "thoughtsTokenCount": thoughts},
        }

    parts = [
        part
        for part in gemini.stream_decoder().feed(
            encode([piece("One", 40), piece(" two", 40), piece("!", 50)])
        )
        if not isinstance(part, StreamEnd)
    ]

    said = [(part.choices[0].delta.get("content"), part.unseen_tokens) for part in parts]
    assert said == [("", 40), ("One", 0), (" two", 0), ("!", 10)]
    assert sum(part.generated_bytes for part in parts) >= 50 + len("One two!")


@pytest.mark.parametrize(("delay", "seconds"), [("30s", 30), ("0.5s", 1), ("soon", None)])
def test_when_to_come_back_may_stand_in_the_body(delay: str, seconds: int | None) -> None:
    retry = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}
    body = told_error("RESOURCE_EXHAUSTED", "Quota exceeded", retry)

    error = gemini.read_error(body, wire_status=429, retry_after_s=None, bills_server_errors=False)
    with_header = gemini.read_error(body, wire_status=429, retry_after_s=3, bills_server_errors=False)

    assert (error.retry_after_s, with_header.retry_after_s) == (seconds, 3)
