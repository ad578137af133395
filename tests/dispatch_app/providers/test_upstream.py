"""The fault table against a vendor that really misbehaves."""

import asyncio
import json
import socket
from dataclasses import replace
from typing import Any

import pytest

from dispatch_app.execution.canonical import Reply, Request, StreamPart
from dispatch_app.execution.errors import (
    CredentialGoneError,
    CredentialRefusedError,
    DeadlineExceededError,
    FirstByteTimeoutError,
    IdleTimeoutError,
    InvalidReplyError,
    QuotaExhaustedError,
    RateLimitedError,
    RedirectedError,
    RequestRejectedError,
    ServerFailedError,
    StreamFailedError,
    TruncatedError,
    UnreachableError,
    UpstreamError,
)
from dispatch_app.execution.ports import Credential, UpstreamCall
from dispatch_app.providers import upstream as upstream_module
from dispatch_app.providers.transport import Transport
from dispatch_app.providers.upstream import ProviderUpstream
from sandbox.faults import Fault, FaultKind
from sandbox.server import SandboxServer
from tests.dispatch_app.routing_values import NOW, ProviderRow, make_candidate

QUESTION = "What is the capital of France?"


def reach(transport: Transport, base_url: str, **fields: Any) -> ProviderUpstream:
    provider = ProviderRow(base_url=base_url, **fields)
    return ProviderUpstream(transport=transport, find_provider=lambda *_ids: provider, now=lambda: NOW)


def call(*, stream: bool = False, deadline_s: float = 5.0, **fields: Any) -> UpstreamCall:
    request = Request(
        fields={"messages": [{"role": "user", "content": QUESTION}]} | fields, stream=stream, choices=1
    )
    deadline_at = asyncio.get_running_loop().time() + deadline_s
    return UpstreamCall(request=request, candidate=make_candidate(), deadline_at=deadline_at)


async def stream(upstream: ProviderUpstream, asked: UpstreamCall) -> list[StreamPart]:
    async with upstream.stream(asked) as parts:
        return [part async for part in parts]


async def test_a_plain_reply_comes_with_its_usage(sandbox: SandboxServer, transport: Transport) -> None:
    reply = await reach(transport, sandbox.base_url).complete(call())

    (entry,) = sandbox.ledger.entries
    assert isinstance(reply, Reply)
    assert reply.model == "sandbox-small"
    assert reply.usage is not None
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (entry.input_tokens, entry.output_tokens)


async def test_a_stream_says_the_same_and_ends_with_its_usage(
    sandbox: SandboxServer, transport: Transport
) -> None:
    upstream = reach(transport, sandbox.base_url)
    plain = await upstream.complete(call())

    parts = await stream(upstream, call(stream=True))

    text = "".join(choice.delta.get("content") or "" for part in parts for choice in part.choices)
    assert text == plain.choices[0].message["content"]
    assert parts[-1].usage is not None
    assert sum(part.finished_choices for part in parts) == 1


async def test_nothing_reaches_the_vendor_but_what_its_wire_format_needs(
    sandbox: SandboxServer, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")

    await reach(transport, sandbox.base_url).complete(call())

    (request,) = sandbox.journal.requests
    names = sorted(name.lower() for name, _ in request.headers)
    assert names == sorted(
        ["host", "authorization", "content-type", "content-length", "accept", "accept-encoding", "user-agent"]
    )
    assert request.header("accept-encoding") == "identity"
    assert set(json.loads(request.body)) == {"model", "messages", "max_tokens"}


def patience_with(fault: Fault) -> int:
    """Short for silence; a busy machine may take its time over the other faults."""
    return 300 if fault.kind is FaultKind.HANG else 10_000


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(kind=FaultKind.STATUS, status=429), RateLimitedError),
        (Fault(kind=FaultKind.STATUS, status=429, code="insufficient_quota"), QuotaExhaustedError),
        (Fault(kind=FaultKind.STATUS, status=500), ServerFailedError),
        (Fault(kind=FaultKind.STATUS, status=503), ServerFailedError),
        (Fault(kind=FaultKind.STATUS, status=529), ServerFailedError),
        (Fault(kind=FaultKind.STATUS, status=400), RequestRejectedError),
        (Fault(kind=FaultKind.STATUS, status=422), RequestRejectedError),
        (Fault(kind=FaultKind.STATUS, status=401), CredentialRefusedError),
        (Fault(kind=FaultKind.STATUS, status=403), CredentialRefusedError),
        (Fault(kind=FaultKind.REDIRECT), RedirectedError),
        (Fault(kind=FaultKind.HANG), FirstByteTimeoutError),
        (Fault(kind=FaultKind.HANG, after_bytes=40), IdleTimeoutError),
        (Fault(kind=FaultKind.CUT), TruncatedError),
        (Fault(kind=FaultKind.RESET), TruncatedError),
        (Fault(kind=FaultKind.RESET, after_bytes=40), TruncatedError),
        (Fault(kind=FaultKind.CUT, after_bytes=40), TruncatedError),
        (Fault(kind=FaultKind.MALFORMED_JSON), InvalidReplyError),
        (Fault(kind=FaultKind.HTML), InvalidReplyError),
        (Fault(kind=FaultKind.EMPTY), InvalidReplyError),
        (Fault(kind=FaultKind.WRONG_CONTENT_TYPE), InvalidReplyError),
        (Fault(kind=FaultKind.MISSING_CHOICES), InvalidReplyError),
        (Fault(kind=FaultKind.OVERSIZED), InvalidReplyError),
        (Fault(kind=FaultKind.HEADER_BOMB, size_bytes=4_000_000), InvalidReplyError),
        (Fault(kind=FaultKind.GZIP_BOMB), InvalidReplyError),
    ],
    ids=lambda value: f"{value.kind}-{value.status}" if isinstance(value, Fault) else None,
)
async def test_every_fault_of_a_plain_reply_is_told_apart(
    sandbox: SandboxServer, transport: Transport, fault: Fault, kind: type[UpstreamError]
) -> None:
    sandbox.script(fault)
    patience_ms = patience_with(fault)
    upstream = reach(
        transport, sandbox.base_url, first_byte_timeout_ms=patience_ms, idle_timeout_ms=patience_ms
    )

    with pytest.raises(UpstreamError) as raised:
        await upstream.complete(call())

    assert type(raised.value) is kind


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(kind=FaultKind.STATUS, status=500), ServerFailedError),
        (Fault(kind=FaultKind.HANG), FirstByteTimeoutError),
        (Fault(kind=FaultKind.CUT, after_bytes=900), TruncatedError),
        (Fault(kind=FaultKind.RESET, after_bytes=900), TruncatedError),
        (Fault(kind=FaultKind.MISSING_DONE), TruncatedError),
        (Fault(kind=FaultKind.STREAM_ERROR), StreamFailedError),
        (Fault(kind=FaultKind.ENDLESS_LINE), InvalidReplyError),
        (Fault(kind=FaultKind.MALFORMED_JSON), InvalidReplyError),
        (Fault(kind=FaultKind.HTML), InvalidReplyError),
        (Fault(kind=FaultKind.EMPTY), TruncatedError),
        (Fault(kind=FaultKind.HANG, after_bytes=900), IdleTimeoutError),
    ],
    ids=lambda value: f"{value.kind}-{value.status}" if isinstance(value, Fault) else None,
)
async def test_every_fault_of_a_stream_is_told_apart(
    sandbox: SandboxServer, transport: Transport, fault: Fault, kind: type[UpstreamError]
) -> None:
    sandbox.script(fault)
    patience_ms = patience_with(fault)
    upstream = reach(
        transport, sandbox.base_url, first_byte_timeout_ms=patience_ms, idle_timeout_ms=patience_ms
    )

    with pytest.raises(UpstreamError) as raised:
        await stream(upstream, call(stream=True))

    assert type(raised.value) is kind


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind=FaultKind.GLUED_FRAMES),
        Fault(kind=FaultKind.SPLIT_FRAMES, split_bytes=7),
        Fault(kind=FaultKind.CRLF_FRAMES),
        Fault(kind=FaultKind.COMMENTS),
    ],
    ids=lambda fault: fault.kind,
)
async def test_odd_but_legal_framing_changes_nothing(
    sandbox: SandboxServer, transport: Transport, fault: Fault
) -> None:
    upstream = reach(transport, sandbox.base_url)
    expected = await stream(upstream, call(stream=True))
    sandbox.script(fault)

    parts = await stream(upstream, call(stream=True))

    assert [part.choices for part in parts] == [part.choices for part in expected]
    assert parts[-1].usage is not None


async def test_a_slow_loris_meets_the_deadline_however_often_it_sends(
    sandbox: SandboxServer, transport: Transport
) -> None:
    sandbox.script(Fault(kind=FaultKind.SPLIT_FRAMES, split_bytes=1, chunk_delay_ms=20))
    started_at = asyncio.get_running_loop().time()

    with pytest.raises(DeadlineExceededError):
        await reach(transport, sandbox.base_url).complete(call(deadline_s=0.5))

    assert asyncio.get_running_loop().time() - started_at < 1.0


async def test_a_silent_vendor_meets_the_deadline_where_it_comes_before_the_first_byte_is_due(
    sandbox: SandboxServer, transport: Transport
) -> None:
    sandbox.script(Fault(kind=FaultKind.HANG))
    started_at = asyncio.get_running_loop().time()

    with pytest.raises(DeadlineExceededError):
        await reach(transport, sandbox.base_url, first_byte_timeout_ms=5_000).complete(call(deadline_s=0.2))

    assert asyncio.get_running_loop().time() - started_at < 3.0


async def test_a_credential_that_was_taken_away_meanwhile_has_sent_nothing(transport: Transport) -> None:
    upstream = ProviderUpstream(transport=transport, find_provider=lambda *_ids: None, now=lambda: NOW)

    with pytest.raises(CredentialGoneError):
        await upstream.complete(call())


async def test_a_refused_connection_has_sent_nothing(transport: Transport) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    with pytest.raises(UnreachableError):
        await reach(transport, f"http://127.0.0.1:{port}/v1").complete(call())


async def test_a_connection_that_never_stands_has_sent_nothing(transport: Transport) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        address = deaf.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(address)

        with pytest.raises(UnreachableError):
            await reach(transport, f"http://127.0.0.1:{address[1]}/v1", connect_timeout_ms=200).complete(
                call()
            )

        for filler in fillers:
            filler.close()


async def test_a_name_that_does_not_resolve_has_sent_nothing(transport: Transport) -> None:
    with pytest.raises(UnreachableError):
        await reach(transport, "http://nowhere.invalid/v1").complete(call())


async def test_a_vendor_without_tls_where_tls_is_spoken_has_sent_nothing(
    sandbox: SandboxServer, transport: Transport
) -> None:
    with pytest.raises(UnreachableError):
        await reach(transport, sandbox.base_url.replace("http://", "https://")).complete(call())

    assert not sandbox.journal.requests


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_private_address_is_not_dialled_unless_the_provider_may(
    sandbox: SandboxServer, transport: Transport, host: str
) -> None:
    base_url = f"https://{host}:{sandbox.port}/v1"

    with pytest.raises(UnreachableError):
        await reach(transport, base_url, allow_private_network=False).complete(call())

    assert sandbox.connections.accepted == 0


async def test_plain_http_is_not_spoken_unless_the_provider_may(
    sandbox: SandboxServer, transport: Transport
) -> None:
    with pytest.raises(UnreachableError):
        await reach(transport, sandbox.base_url, allow_private_network=False).complete(call())

    assert sandbox.connections.accepted == 0


async def test_an_unknown_provider_has_sent_nothing(transport: Transport) -> None:
    upstream = ProviderUpstream(transport=transport, find_provider=lambda *_ids: None, now=lambda: NOW)

    with pytest.raises(UnreachableError):
        await upstream.complete(call())


async def test_a_credential_that_is_no_longer_served_is_forgotten_at_the_next_call(
    sandbox: SandboxServer, transport: Transport
) -> None:
    def served(*numbers: int) -> dict[int, ProviderRow]:
        return {number: ProviderRow(base_url=sandbox.base_url) for number in numbers}

    providers = served(1, 2)
    upstream = ProviderUpstream(
        transport=transport, find_provider=lambda _, number: providers.get(number), now=lambda: NOW
    )
    for number in (1, 2):
        await upstream.complete(replace(call(), credential=Credential(id=number, name=f"key-{number}")))
    providers = served(3)
    await upstream.complete(replace(call(), credential=Credential(id=3, name="key-3")))

    assert upstream._routes.keys() == {(1, 3)}


async def test_an_edited_provider_is_used_from_the_next_call_on(
    sandbox: SandboxServer, transport: Transport
) -> None:
    providers = {1: ProviderRow(base_url="http://127.0.0.1:9/v1")}
    upstream = ProviderUpstream(
        transport=transport, find_provider=lambda provider_id, _: providers.get(provider_id), now=lambda: NOW
    )
    with pytest.raises(UnreachableError):
        await upstream.complete(call())

    providers[1] = ProviderRow(base_url=sandbox.base_url)

    assert (await upstream.complete(call())).choices


async def test_connections_are_kept_after_plain_replies_and_streams(
    sandbox: SandboxServer, transport: Transport
) -> None:
    upstream = reach(transport, sandbox.base_url)

    for _ in range(3):
        await upstream.complete(call())
        await stream(upstream, call(stream=True))

    assert sandbox.connections.accepted == 1


async def test_cancelled_calls_leave_no_connection_behind_and_mix_no_replies(
    sandbox: SandboxServer, transport: Transport
) -> None:
    upstream = reach(transport, sandbox.base_url)

    async def ask(number: int) -> None:
        fault = {"kind": "content", "content": f"nonce-{number}", "delay_ms": 40}
        asked = call(metadata={"sandbox": json.dumps(fault)})
        if number % 2:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(number % 7 / 200):
                    await upstream.complete(asked)
        else:
            reply = await upstream.complete(asked)
            assert reply.choices[0].message["content"] == f"nonce-{number}"

    await asyncio.gather(*(ask(number) for number in range(100, 160)))
    await asyncio.sleep(0.05)

    assert sandbox.connections.open <= 30


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7),
        ("0", 0),
        ("99999", 300),  # capped
        ("Mon, 04 May 2026 12:00:30 GMT", 30),
        ("Mon, 04 May 2026 11:00:00 GMT", 0),  # past
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("Mon, 04 May 2026 12:00:30", None),  # no zone
        ("9" * 400, 300),
        ("٣", None),
        (None, None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(header: str | None, seconds: int | None) -> None:
    assert upstream_module._retry_after_s(header, now=NOW) == seconds


async def test_each_credential_is_called_with_its_own_secret(transport: Transport) -> None:
    async with SandboxServer() as sandbox:
        providers = {
            number: ProviderRow(base_url=sandbox.base_url, secret=f"secret-{number}") for number in (1, 2)
        }
        upstream = ProviderUpstream(
            transport=transport, find_provider=lambda _, number: providers.get(number), now=lambda: NOW
        )

        for number in (1, 2, 1):
            asked = replace(call(), credential=Credential(id=number, name=f"key-{number}"))
            await upstream.complete(asked)

        shown = [dict(request.headers)["authorization"] for request in sandbox.journal.requests]
    assert shown == ["Bearer secret-1", "Bearer secret-2", "Bearer secret-1"]


async def test_a_provider_whose_secret_is_not_to_be_had_is_not_called(
    sandbox: SandboxServer, transport: Transport
) -> None:
    upstream = reach(transport, sandbox.base_url, secret=None, lacks_secret=True)

    with pytest.raises(CredentialRefusedError) as raised:
        await upstream.complete(call())

    assert raised.value.wire_status is None
    assert sandbox.connections.accepted == 0
