"""What every wire format of a vendor keeps to. A test module takes `AdapterContract` and gives it an `adapter`."""

import json
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dispatch_app.execution.canonical import ClientFormat, Request, StreamPart
from dispatch_app.execution.errors import (
    CredentialRefusedError,
    InvalidReplyError,
    QuotaExhaustedError,
    RateLimitedError,
    RedirectedError,
    RequestRejectedError,
    ServerFailedError,
    UpstreamError,
)
from dispatch_app.providers.adapter import Adapter, Built, StreamEnd
from dispatch_app.providers.sse import EventTooLongError
from policies_app.routing.quirks import Quirks
from tests.dispatch_app.routing_values import ProviderRow, make_candidate

NOW = datetime(2026, 11, 24, tzinfo=UTC)
HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello, vendor."}]}
CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at":"clock"}'}}
TALK: dict[str, Any] = {
    "messages": [
        {"role": "system", "content": "You are brief."},
        {"role": "user", "content": "What time is it?"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": "half past seven"},
    ],
    "tools": [{"type": "function", "function": {"name": "look", "description": "Looks.", "parameters": {}}}],
    "temperature": 0.5,
}
BROKEN_STREAMS = [b"data: {\n\n", b"\x00\x00\x00\x20\x00\x00\x00\x10", b"{\n", b"event: error\ndata: 1\n\n"]


class AdapterContract:
    """The promises of `Adapter` that hold whichever vendor it is."""

    @pytest.fixture
    def provider(self) -> ProviderRow:
        return ProviderRow(base_url="https://vendor.example/v1", secret="vendor-secret")

    def build(self, adapter: Adapter, provider: ProviderRow, *, stream: bool = False, **fields: Any) -> Built:
        return adapter.build(
            request=Request(fields=HELLO | fields, stream=stream, choices=1),
            candidate=make_candidate(output_tokens_limit=77),
            prepared=adapter.prepare(provider),
            now=NOW,
        )

    @pytest.mark.parametrize("stream", [False, True])
    def test_a_request_goes_to_the_vendor_with_its_words_and_its_limit(
        self, adapter: Adapter, provider: ProviderRow, stream: bool
    ) -> None:
        built = self.build(adapter, provider, stream=stream)

        assert built.url.startswith("https://vendor.example/v1")
        assert built.headers["content-type"] == "application/json"
        assert built.headers["accept-encoding"] == "identity"
        assert "vendor-secret" in " ".join(built.headers.values())
        assert b"vendor-secret" not in built.body
        said = json.dumps(json.loads(built.body))
        assert "Hello, vendor." in said
        assert "77" in said

    def test_a_stream_is_asked_for_in_another_way_than_a_whole_reply(
        self, adapter: Adapter, provider: ProviderRow
    ) -> None:
        plain, streamed = self.build(adapter, provider), self.build(adapter, provider, stream=True)

        assert (plain.url, plain.body) != (streamed.url, streamed.body)

    def test_a_conversation_with_a_call_reaches_the_vendor_whole(
        self, adapter: Adapter, provider: ProviderRow
    ) -> None:
        said = json.dumps(json.loads(self.build(adapter, provider, **TALK).body))

        for word in (
            "You are brief.",
            "What time is it?",
            "look",
            "clock",
            "half past seven",
            "Looks.",
            "0.5",
        ):
            assert word in said

    def test_what_a_models_row_fixes_stands_in_its_requests(
        self, adapter: Adapter, provider: ProviderRow
    ) -> None:
        candidate = make_candidate()
        quirks = Quirks(fixed_parameters={"house": {"rule": 7}})

        built = adapter.build(
            request=Request(fields=HELLO, stream=False, choices=1),
            candidate=msgspec.structs.replace(candidate, model=replace(candidate.model, quirks=quirks)),
            prepared=adapter.prepare(provider),
            now=NOW,
        )

        assert json.loads(built.body)["house"] == {"rule": 7}

    def test_building_changes_neither_the_request_nor_the_headers_of_the_next(
        self, adapter: Adapter, provider: ProviderRow
    ) -> None:
        request = Request(fields=json.loads(json.dumps(TALK)), stream=False, choices=1)
        prepared = adapter.prepare(provider)
        headers = prepared.headers.copy()

        for _ in range(2):
            adapter.build(request=request, candidate=make_candidate(), prepared=prepared, now=NOW)

        assert request.fields == TALK
        assert prepared.headers == headers

    def test_what_another_clients_format_asked_for_alone_is_named_and_not_sent(
        self, adapter: Adapter, provider: ProviderRow
    ) -> None:
        request = Request(
            fields=HELLO, stream=False, choices=1, origin=ClientFormat.OPENAI_RESPONSES, extras={"fad": "new"}
        )

        built = adapter.build(
            request=request, candidate=make_candidate(), prepared=adapter.prepare(provider), now=NOW
        )

        assert adapter.dropped(request, model=make_candidate().model) == ("fad",)
        assert b"fad" not in built.body

    @pytest.mark.parametrize(
        "body", [b"", b"[]", b"null", b'"text"', b"{", b"<html>", b'{"a":"\xff"}', b"[" * 100_000]
    )
    def test_a_body_that_is_no_reply_is_an_invalid_one(self, adapter: Adapter, body: bytes) -> None:
        with pytest.raises(InvalidReplyError):
            adapter.parse_reply(body, wire_status=200, first_byte_at=1.0)

    @given(st.binary(max_size=60))
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_no_bytes_raise_anything_but_what_an_attempt_can_fail_with(
        self, adapter: Adapter, data: bytes
    ) -> None:
        decoder = adapter.stream_decoder()
        with suppress(UpstreamError, EventTooLongError):
            list(decoder.feed(data))
            list(decoder.close())

    @pytest.mark.parametrize("data", [b"", *BROKEN_STREAMS])
    def test_bytes_that_are_no_stream_are_no_whole_one(self, adapter: Adapter, data: bytes) -> None:
        decoder = adapter.stream_decoder()
        parts: list[StreamPart | StreamEnd] = []
        with suppress(UpstreamError):
            parts += decoder.feed(data)
            parts += decoder.close()

        assert not any(isinstance(part, StreamEnd) for part in parts)

    @pytest.mark.parametrize(
        ("status", "kinds"),
        [
            (301, {RedirectedError}),
            (400, {RequestRejectedError}),
            (401, {CredentialRefusedError}),
            (402, {QuotaExhaustedError, RequestRejectedError}),
            (403, {CredentialRefusedError}),
            (404, {RequestRejectedError}),
            (408, {ServerFailedError}),
            (413, {RequestRejectedError}),
            (422, {RequestRejectedError}),
            (429, {RateLimitedError}),
            (500, {ServerFailedError}),
            (503, {ServerFailedError}),
            (529, {ServerFailedError}),
            (204, {InvalidReplyError}),
        ],
    )
    @pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"error":{}}'])
    def test_every_other_status_has_its_meaning_whatever_the_body_is(
        self, adapter: Adapter, status: int, kinds: set[type[UpstreamError]], body: bytes
    ) -> None:
        error = adapter.read_error(body, wire_status=status, retry_after_s=None, bills_server_errors=False)

        assert type(error) in kinds
        assert error.wire_status == status

    @pytest.mark.parametrize("bills", [True, False])
    def test_a_failed_server_is_billed_only_where_the_vendor_says_so(
        self, adapter: Adapter, bills: bool
    ) -> None:
        error = adapter.read_error(b"", wire_status=500, retry_after_s=7, bills_server_errors=bills)

        assert (error.is_billable, error.retry_after_s) == (bills, 7)
