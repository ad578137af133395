import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch

import botocore.auth
import msgspec
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from dispatch_app.execution.canonical import ClientFormat, Request
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
    UnreachableError,
    UpstreamError,
)
from dispatch_app.providers import bedrock_converse
from dispatch_app.providers.adapter import Adapter, Built, StreamEnd, adapter_of
from dispatch_app.providers.bedrock_converse.signing import signed_headers
from dispatch_app.providers.sse import MAX_EVENT_BYTES, EventTooLongError
from policies_app.routing.codes import WireFormat
from policies_app.routing.types import Usage
from sandbox.event_stream import encode_event, encode_exception, encode_frame
from tests.dispatch_app.providers.golden import golden, read_stream, told
from tests.dispatch_app.routing_values import ProviderRow, make_candidate

NOW = datetime(2026, 11, 24, 1, 2, 3, tzinfo=UTC)
FORMAT = "bedrock_converse"
HOST = "https://bedrock-runtime.eu-west-1.amazonaws.com"
ACCESS_KEY = "AKIDEXAMPLE:wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
ADAPTER: Adapter = adapter_of(WireFormat.BEDROCK_CONVERSE)
HELLO = {"messages": [{"role": "user", "content": "Hello"}]}
META = {"usage": {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7}}


def send(request: Request, *, model: str = "sandbox-small", **provider: Any) -> Built:
    row = ProviderRow(**{"base_url": HOST, **provider})
    candidate = make_candidate()
    named = msgspec.structs.replace(candidate, model=replace(candidate.model, wire_name=model))
    prepared = bedrock_converse.prepare(row)
    return bedrock_converse.build(request=request, candidate=named, prepared=prepared, now=NOW)


def build(request: Request, *, model: str = "sandbox-small") -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads(send(request, model=model).body)
    return decoded


def a_request(**fields: Any) -> Request:
    return Request(fields=HELLO | fields, stream=False, choices=1)


def encode(events: list[tuple[str, Any]]) -> bytes:
    return b"".join(encode_event(kind, json.dumps(said).encode()) for kind, said in events)


STREAMS = {parameter.id: encode(parameter.values[0]["wire"]) for parameter in golden(FORMAT, "streams")}  # type: ignore[index, call-overload]


@pytest.mark.parametrize("fixture", golden(FORMAT, "requests"))
def test_a_request_is_said_as_the_vendors_page_says(fixture: dict[str, Any]) -> None:
    request = Request(fields=fixture["canonical"], stream=False, choices=1)

    assert build(request) == fixture["wire"]
    assert bedrock_converse.dropped(request, model=make_candidate().model) == ()


@pytest.mark.parametrize("fixture", golden(FORMAT, "replies"))
def test_a_reply_is_read_as_the_vendors_page_says(fixture: dict[str, Any]) -> None:
    body = json.dumps(fixture["wire"]).encode()

    reply = bedrock_converse.parse_reply(body, wire_status=200, first_byte_at=1.0)

    assert told(reply) == fixture["canonical"]


@pytest.mark.parametrize("fixture", golden(FORMAT, "streams"))
def test_a_stream_comes_to_what_the_vendors_page_says(fixture: dict[str, Any]) -> None:
    assert told(read_stream(ADAPTER, [encode(fixture["wire"])])) == fixture["canonical"]


@given(st.sampled_from(sorted(STREAMS)), st.data())
def test_how_a_streams_bytes_are_split_makes_no_difference(name: str, data: st.DataObject) -> None:
    stream = STREAMS[name]
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)))))
    pieces = [stream[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]

    assert read_stream(ADAPTER, pieces) == read_stream(ADAPTER, [stream])


def test_the_operation_and_the_model_stand_in_the_path() -> None:
    arn = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-v1:0"

    assert send(a_request()).url == f"{HOST}/model/sandbox-small/converse"
    streamed = send(msgspec.structs.replace(a_request(), stream=True), model=arn, base_url=f"{HOST}/")
    assert streamed.url == f"{HOST}/model/{arn.replace('/', '%2F')}/converse-stream"


def test_an_api_key_is_shown_as_it_is() -> None:
    headers = send(a_request(), secret="ABSKQmVkcm9jaw==").headers

    assert headers["authorization"] == "Bearer ABSKQmVkcm9jaw=="
    assert "authorization" not in send(a_request(), secret=None).headers


@pytest.mark.parametrize("token", ["", ":IQoJb3JpZ2luX2VjE=="])
def test_an_access_key_signs_as_awss_own_client_does(token: str) -> None:
    built = send(a_request(), model="anthropic.claude-v1:0", secret=f"{ACCESS_KEY}{token}")

    signed = signed_by_botocore(
        url=built.url, body=built.body, secret=f"{ACCESS_KEY}{token}", region="eu-west-1", now=NOW
    )
    assert {name: built.headers[name] for name in signed} == signed


def signed_by_botocore(*, url: str, body: bytes, secret: str, region: str, now: datetime) -> dict[str, str]:
    key_id, secret_key, token = f"{secret}:".split(":", 3)[:3]
    request = AWSRequest(method="POST", url=url, data=body, headers={"content-type": "application/json"})
    credentials = Credentials(key_id, secret_key, token=token or None)
    with patch.object(botocore.auth, "get_current_datetime", lambda: now):
        botocore.auth.SigV4Auth(credentials, "bedrock", region).add_auth(request)
    return {name.lower(): value for name, value in request.headers.items()}


VISIBLE = st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=":")
SEGMENTS = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="?#"), max_size=12)


@given(
    base=st.builds(
        "{}://{}{}".format,
        st.sampled_from(["https", "http"]),
        st.sampled_from(["bedrock-runtime.eu-west-1.amazonaws.com", "Proxy.example", "127.0.0.1", "[::1]"]),
        st.sampled_from(["", ":80", ":443", ":8443"]),
    ),
    path=st.lists(SEGMENTS, max_size=5).map("/".join),
    body=st.binary(max_size=100),
    secret=st.lists(st.text(VISIBLE, min_size=1), min_size=2, max_size=3).map(":".join),
    now=st.datetimes(min_value=datetime(2000, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - it wants one without a zone
)
def test_whatever_is_signed_is_signed_as_botocore_would(
    base: str, path: str, body: bytes, secret: str, now: datetime
) -> None:
    request = {"url": f"{base}/{path}/converse", "body": body, "secret": secret, "region": "us-west-2"}

    headers = signed_headers(**request, media_type="application/json", now=now)  # type: ignore[arg-type]

    assert {"content-type": "application/json", **headers} == signed_by_botocore(**request, now=now)  # type: ignore[arg-type]


def test_the_region_is_the_rows_or_else_the_hosts() -> None:
    def scope(**provider: Any) -> str:
        return send(a_request(), secret=ACCESS_KEY, **provider).headers["authorization"].split("/")[2]

    assert scope() == "eu-west-1"
    assert scope(region="us-west-2") == "us-west-2"
    assert scope(base_url="https://vpce-1.bedrock-runtime-fips.us-gov-west-1.vpce.amazonaws.com") == (
        "us-gov-west-1"
    )


def test_without_a_region_nothing_is_signed_and_nothing_sent() -> None:
    with pytest.raises(UnreachableError):
        bedrock_converse.prepare(ProviderRow(secret=ACCESS_KEY))

    assert bedrock_converse.prepare(ProviderRow(secret="ABSKx")).headers["authorization"] == "Bearer ABSKx"


def test_signing_one_request_leaves_the_next_ones_headers_alone() -> None:
    row = ProviderRow(base_url=HOST, secret=ACCESS_KEY)
    prepared = bedrock_converse.prepare(row)
    before = prepared.headers.copy()

    bedrock_converse.build(request=a_request(), candidate=make_candidate(), prepared=prepared, now=NOW)

    assert prepared.headers == before


@pytest.mark.parametrize(
    ("model", "effort", "said"),
    [
        (
            "us.anthropic.claude-opus-4-6-v1",
            "high",
            {
                "additionalModelRequestFields": {"thinking": {"type": "adaptive"}},
                "outputConfig": {"effort": "high"},
            },
        ),
        (
            "us.anthropic.claude-opus-4-6-v1",
            "none",
            {"additionalModelRequestFields": {"thinking": {"type": "disabled"}}},
        ),
        (
            "openai.gpt-oss-120b-1:0",
            "xhigh",
            {"additionalModelRequestFields": {"reasoning_effort": "high"}},
        ),
        ("openai.gpt-oss-120b-1:0", "none", {}),
    ],
)
def test_each_makers_models_are_told_the_effort_in_their_own_words(
    model: str, effort: str, said: dict[str, Any]
) -> None:
    body = build(a_request(reasoning_effort=effort), model=model)

    assert {name: body[name] for name in body.keys() - {"messages", "inferenceConfig"}} == said


def test_what_the_format_cannot_carry_is_named_where_it_asks_for_something() -> None:
    request = msgspec.structs.replace(
        a_request(min_p=0.1, logprobs=False, n=1),
        extras={"container": "c"},
        origin=ClientFormat.ANTHROPIC_MESSAGES,
    )

    assert build(request).keys() == {"messages", "inferenceConfig"}
    assert bedrock_converse.dropped(request, model=make_candidate().model) == ("min_p", "container")


def test_that_no_tool_be_called_cannot_be_said_once_one_was() -> None:
    call = {"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    tools = {"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "none"}
    called = [
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "t", "content": "1"},
    ]

    assert bedrock_converse.dropped(a_request(**tools), model=make_candidate().model) == ()
    later = a_request(messages=[*HELLO["messages"], *called], **tools)
    assert bedrock_converse.dropped(later, model=make_candidate().model) == ("tool_choice",)
    assert "toolChoice" not in build(later)["toolConfig"]


@pytest.mark.parametrize(
    "url", ["https://example.com/a.png", "data:image/svg+xml;base64,PHN2Zy8+", "data:image/png,x"]
)
def test_an_image_that_is_not_bytes_of_a_known_kind_is_refused_before_it_is_sent(url: str) -> None:
    picture = {"type": "image_url", "image_url": {"url": url}}

    with pytest.raises(RequestRejectedError):
        build(a_request(messages=[{"role": "user", "content": [picture]}]))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"output":{"message":{"content":{}}},"stopReason":"x"}',
        b'{"output":"\xff"}',
        b"[" * 100_000,
    ],
)
def test_a_body_that_is_no_reply_is_an_invalid_reply(body: bytes) -> None:
    with pytest.raises(InvalidReplyError):
        bedrock_converse.parse_reply(body, wire_status=200, first_byte_at=1.0)


def test_a_reply_that_the_vendor_could_not_read_itself_is_an_invalid_one_and_paid() -> None:
    body = {"output": {"message": {"content": []}}, "stopReason": "malformed_tool_use", **META}
    with pytest.raises(InvalidReplyError) as raised:
        bedrock_converse.parse_reply(json.dumps(body).encode(), wire_status=200, first_byte_at=1.0)
    assert raised.value.usage == Usage(input_tokens=3, output_tokens=4)

    events = [("messageStop", {"stopReason": "malformed_model_output"}), ("metadata", META)]
    with pytest.raises(InvalidReplyError) as raised:
        list(ADAPTER.stream_decoder().feed(encode(events)))
    assert raised.value.usage == Usage(input_tokens=3, output_tokens=4)


@pytest.mark.parametrize(
    ("data", "raised"),
    [
        (encode_exception("throttlingException", b'{"message":"Slow down."}'), StreamFailedError),
        (encode_frame({":message-type": "error", ":error-code": "InternalError"}, b""), StreamFailedError),
        (encode_event("messageStart", b"{"), InvalidReplyError),
        (encode_event("messageStart", b"{}")[:-1] + b"x", InvalidReplyError),
        (b"data: {}\n\ndata: [DONE]\n\n", InvalidReplyError),
        (
            encode_event("contentBlockDelta", b'{"contentBlockIndex":3,"delta":{"toolUse":{"input":"{"}}}'),
            InvalidReplyError,
        ),
        (
            encode_event("contentBlockDelta", b'{"delta":{"reasoningContent":{"redactedContent":"?"}}}'),
            InvalidReplyError,
        ),
        (encode_event("messageStart", b" " * MAX_EVENT_BYTES), EventTooLongError),
        (encode_event("messageStart", b" " * 2 * MAX_EVENT_BYTES)[: MAX_EVENT_BYTES + 1], EventTooLongError),
    ],
)
def test_a_message_that_tells_of_trouble_is_an_error(data: bytes, raised: type[Exception]) -> None:
    with pytest.raises(raised):
        list(ADAPTER.stream_decoder().feed(data))


def test_a_stream_that_stopped_is_complete_without_usage_and_one_that_did_not_is_not() -> None:
    said, _, _ = STREAMS["text"].partition(encode([("messageStop", {"stopReason": "end_turn"})]))
    decoder = ADAPTER.stream_decoder()
    list(decoder.feed(said))
    assert list(decoder.close()) == []

    list(decoder.feed(encode([("messageStop", {"stopReason": "end_turn"})])))
    assert list(decoder.close()) == [StreamEnd()]


def refusal(message: str) -> bytes:
    return json.dumps({"message": message}).encode()


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (301, b"", RedirectedError),
        (400, refusal("Malformed input request."), RequestRejectedError),
        (400, refusal("Input is too long for requested model."), ContextTooLongError),
        (400, b"<html>", RequestRejectedError),
        (401, b"", CredentialRefusedError),
        (403, refusal("The security token included in the request is expired"), CredentialRefusedError),
        (404, refusal("Could not resolve the foundation model."), RequestRejectedError),
        (408, refusal("Model timeout."), ServerFailedError),
        (424, refusal("The model failed."), ServerFailedError),
        (429, refusal("Too many requests, please wait before trying again."), RateLimitedError),
        (
            429,
            refusal("Too many tokens per day, please wait before trying again."),
            QuotaExhaustedError,
        ),
        (500, b"", ServerFailedError),
        (503, refusal("Bedrock is unable to process your request."), ServerFailedError),
        (204, b"", InvalidReplyError),
    ],
)
def test_every_other_status_has_its_meaning(status: int, body: bytes, kind: type[UpstreamError]) -> None:
    error = bedrock_converse.read_error(body, wire_status=status, retry_after_s=7, bills_server_errors=False)

    assert type(error) is kind
    assert error.wire_status == status
