import json
from datetime import UTC, datetime
from typing import Any

import pytest

from dispatch_app.execution.canonical import Request
from dispatch_app.execution.errors import (
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
from dispatch_app.providers import azure_openai, openai_chat
from dispatch_app.providers.adapter import Prepared, StreamEnd
from policies_app.routing.types import Usage
from tests.dispatch_app.routing_values import ProviderRow, make_candidate

MESSAGES = [{"role": "user", "content": "Grüß Gott 🌍"}]
NOW = datetime(2026, 11, 24, tzinfo=UTC)
PREPARED = openai_chat.prepare(ProviderRow())


def build(
    *,
    fields: dict[str, Any] | None = None,
    stream: bool = False,
    limit_field: str | None = None,
    prepared: Prepared = PREPARED,
) -> dict[str, Any]:
    request = Request(
        fields={"messages": MESSAGES} | (fields or {}), stream=stream, choices=1, limit_field=limit_field
    )
    built = openai_chat.build(request=request, candidate=make_candidate(), prepared=prepared, now=NOW)
    decoded: dict[str, Any] = json.loads(built.body)
    return decoded


def parse(body: object) -> Any:
    return openai_chat.parse_reply(json.dumps(body).encode(), wire_status=200, first_byte_at=1.0)


def event(data: object, *, name: bytes = b"") -> bytes:
    told = data if isinstance(data, bytes) else json.dumps(data).encode()
    return (b"event: " + name + b"\n" if name else b"") + b"data: " + told + b"\n\n"


def read(stream: bytes) -> Any:
    """The one part that the bytes hold."""
    (part,) = openai_chat.stream_decoder().feed(stream)
    return part


def test_the_vendor_is_asked_for_its_own_model_within_the_limit() -> None:
    assert build(fields={"temperature": 0.5}) == {
        "model": "sandbox-small",
        "messages": MESSAGES,
        "temperature": 0.5,
        "max_tokens": 50,
    }


def test_a_stream_always_asks_for_its_usage() -> None:
    body = build(stream=True)

    assert (body["stream"], body["stream_options"]) == (True, {"include_usage": True})


def test_the_limit_keeps_the_name_that_the_caller_gave_it() -> None:
    assert build(limit_field="max_completion_tokens")["max_completion_tokens"] == 50


def test_headers_are_built_from_nothing_but_the_providers_row() -> None:
    assert dict(PREPARED.headers) == {
        "authorization": "Bearer vendor-secret",
        "content-type": "application/json",
        "accept-encoding": "identity",
        "user-agent": "signalbox",
    }
    assert "authorization" not in openai_chat.prepare(ProviderRow(secret=None)).headers


def test_what_other_vendors_left_in_a_message_is_not_sent() -> None:
    answered = {"role": "assistant", "content": "Hi", "thinking_blocks": [{"type": "thinking"}]}

    sent = build(fields={"messages": [*MESSAGES, answered]})["messages"]

    assert sent == [*MESSAGES, {"role": "assistant", "content": "Hi"}]


@pytest.mark.parametrize(
    ("version", "url"),
    [
        (
            "2024-10-21",
            "https://example.openai.azure.com/openai/deployments/sandbox-small/chat/completions?api-version=2024-10-21",
        ),
        ("", "https://example.openai.azure.com/openai/chat/completions"),
    ],
)
def test_azure_has_the_deployment_in_the_address_and_the_key_in_its_own_header(
    version: str, url: str
) -> None:
    """Shape: learn.microsoft.com, Azure OpenAI in Foundry Models REST API reference, "Chat completions - Create"."""
    provider = ProviderRow(base_url="https://example.openai.azure.com/openai", api_version=version)
    request = Request(fields={"messages": MESSAGES}, stream=False, choices=1)
    built = azure_openai.build(
        request=request, candidate=make_candidate(), prepared=azure_openai.prepare(provider), now=NOW
    )

    assert built.url == url
    assert built.headers["api-key"] == "vendor-secret"
    assert "authorization" not in built.headers


CHOICE = {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}


@pytest.mark.parametrize(
    ("reported", "usage"),
    [
        # Cached and reasoning tokens come out of the totals that hold them.
        (
            {
                "prompt_tokens": 100,
                "completion_tokens": 30,
                "prompt_tokens_details": {"cached_tokens": 64},
                "completion_tokens_details": {"reasoning_tokens": 20},
            },
            Usage(input_tokens=36, cached_input_tokens=64, output_tokens=10, reasoning_tokens=20),
        ),
        # So do those that were written to the cache.
        (
            {
                "prompt_tokens": 100,
                "completion_tokens": 1,
                "prompt_tokens_details": {"cached_tokens": 32, "cache_write_tokens": 64},
            },
            Usage(input_tokens=4, cached_input_tokens=32, cache_write_tokens=64, output_tokens=1),
        ),
        # Details may be missing or null.
        ({"prompt_tokens": 7, "completion_tokens": 0}, Usage(input_tokens=7)),
        (
            {"prompt_tokens": 7, "completion_tokens": 1, "prompt_tokens_details": None},
            Usage(input_tokens=7, output_tokens=1),
        ),
        # Nonsense is passed on for settlement to judge.
        ({"prompt_tokens": -5, "completion_tokens": 1}, Usage(input_tokens=-5, output_tokens=1)),
        # What cannot be read is no report.
        (None, None),
        ({}, None),
        ("many", None),
        ({"prompt_tokens": "7", "completion_tokens": 1}, None),
        ({"prompt_tokens": 7, "completion_tokens": None}, None),
        ({"prompt_tokens": 1.5, "completion_tokens": 1}, None),
    ],
)
def test_usage_is_put_into_disjoint_buckets(reported: object, usage: Usage | None) -> None:
    assert parse({"model": "m", "choices": [CHOICE], "usage": reported}).usage == usage


def test_a_reply_keeps_what_it_says() -> None:
    message = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
    }
    reply = parse(
        {"model": "gpt", "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
    )

    assert reply.model == "gpt"
    assert reply.choices[0].message == message
    assert reply.choices[0].finish_reason == "tool_calls"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b'{"choices":',
        b"{}",
        b'{"choices":[]}',
        b'{"choices":{}}',
        b'{"choices":[{"finish_reason":"stop"}]}',
        b'{"choices":[{"message":"Hi","finish_reason":"stop"}]}',
        b"[" * 100_000,
        b'{"choices":"\xff"}',
    ],
)
def test_a_body_that_is_no_completion_is_an_invalid_reply(body: bytes) -> None:
    with pytest.raises(InvalidReplyError):
        openai_chat.parse_reply(body, wire_status=200, first_byte_at=1.0)


def test_an_event_is_a_part_of_the_stream() -> None:
    delta = {"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}
    part = read(event({"model": "gpt", "choices": [delta], "usage": None}))

    assert not isinstance(part, StreamEnd)
    assert (part.model, part.choices[0].delta, part.usage) == ("gpt", {"content": "Hi"}, None)


def test_the_end_mark_ends_the_stream() -> None:
    assert isinstance(read(event(b"[DONE]")), StreamEnd)


@pytest.mark.parametrize(
    ("told", "raised"),
    [
        (event({"error": {"message": "overloaded"}}), StreamFailedError),
        (event({"error": "overloaded"}), StreamFailedError),
        (event({"type": "overloaded"}, name=b"error"), StreamFailedError),
        (event(b"{"), InvalidReplyError),
        (event(b"[DON"), InvalidReplyError),
        (event({"choices": 5}), InvalidReplyError),
    ],
)
def test_an_event_that_tells_of_trouble_is_an_error(told: bytes, raised: type[UpstreamError]) -> None:
    with pytest.raises(raised):
        read(told)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (301, b"", RedirectedError),
        (400, b"", RequestRejectedError),
        (401, b"", CredentialRefusedError),
        (402, b"", QuotaExhaustedError),
        (403, b"", CredentialRefusedError),
        (404, b"", RequestRejectedError),
        (408, b"", ServerFailedError),
        (413, b"", RequestRejectedError),
        (422, b"", RequestRejectedError),
        (429, b"", RateLimitedError),
        (429, b'{"error":{"code":"insufficient_quota"}}', QuotaExhaustedError),
        (429, b'{"error":{"code":"rate_limit_exceeded"}}', RateLimitedError),
        (429, b"<html>", RateLimitedError),
        (500, b"", ServerFailedError),
        (503, b"", ServerFailedError),
        (529, b"", ServerFailedError),
        (204, b"", InvalidReplyError),
    ],
)
def test_every_other_status_has_its_meaning(status: int, body: bytes, kind: type[UpstreamError]) -> None:
    error = openai_chat.read_error(body, wire_status=status, retry_after_s=7, bills_server_errors=False)

    assert type(error) is kind
    assert error.wire_status == status
    assert error.retry_after_s == (7 if kind in {RateLimitedError, ServerFailedError} else None)


@pytest.mark.parametrize("bills", [True, False])
def test_a_failed_server_is_billed_only_where_the_vendor_says_so(bills: bool) -> None:
    error = openai_chat.read_error(b"", wire_status=500, retry_after_s=None, bills_server_errors=bills)

    assert error.is_billable is bills
