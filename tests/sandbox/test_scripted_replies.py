"""Replies said exactly, faults in turn, and the faults that reach below a reply: bytes, chunks, TLS."""

import asyncio
import json
import ssl
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from sandbox.faults import ErrorShape, Fault, FaultKind
from sandbox.refusals import REFUSALS
from sandbox.server import SandboxServer
from sandbox.speech import ScriptedCall
from sandbox.tls import TlsVariant
from tests.sandbox.raw_http import encode_chat, parse_events, post_chat


async def test_faults_befall_calls_in_turn_and_then_all_is_well(sandbox: SandboxServer) -> None:
    sandbox.script_in_turn(["429", Fault(status=503, kind=FaultKind.STATUS), None, "401"])

    statuses = [(await post_chat(sandbox)).status for _ in range(5)]

    assert statuses == [429, 503, 200, 401, 200]


async def test_a_script_knows_its_calls_by_a_text_in_them(sandbox: SandboxServer) -> None:
    sandbox.script("500", contains="nonce-1")
    one, other = ([{"role": "user", "content": f"Hello nonce-{number}"}] for number in (1, 2))

    replies = [await post_chat(sandbox, messages=messages) for messages in (one, other)]

    assert [reply.status for reply in replies] == [500, 200]
    assert sandbox.ledger.total_nanos_of("nonce-1") == 0
    assert sandbox.ledger.total_nanos_of("nonce-2") == sandbox.ledger.total_nanos > 0


async def test_a_model_says_just_what_it_is_told_and_is_as_sure_as_it_is_told(sandbox: SandboxServer) -> None:
    sandbox.script(Fault(content="Four it is", finish_reason="length", logprobs=(-0.1, -0.5), margins=2.0))

    plain = json.loads((await post_chat(sandbox, logprobs=True, top_logprobs=2)).body)
    streamed = parse_events((await post_chat(sandbox, stream=True, logprobs=True, top_logprobs=2)).unchunk())

    (choice,) = plain["choices"]
    tokens = choice["logprobs"]["content"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("Four it is", "length")
    assert [token["logprob"] for token in tokens] == [-0.1, -0.5, -0.5]
    assert [token["top_logprobs"][1]["logprob"] for token in tokens] == [-2.1, -2.5, -2.5]
    deltas = [choice for event in streamed if event != "[DONE]" for choice in event["choices"]]
    assert "".join(delta["delta"].get("content") or "" for delta in deltas) == "Four it is"
    told = [entry["logprob"] for delta in deltas for entry in (delta["logprobs"] or {}).get("content") or ()]
    assert told == [-0.1, -0.5, -0.5]


async def test_log_probabilities_are_for_those_who_ask(sandbox: SandboxServer) -> None:
    sandbox.script(Fault(content="4", logprobs=-0.1))

    assert json.loads((await post_chat(sandbox)).body)["choices"][0]["logprobs"] is None


async def test_a_refusal_and_calls_of_tools_can_be_put_into_its_mouth(sandbox: SandboxServer) -> None:
    sandbox.script_in_turn(
        [Fault(refusal="No."), Fault(tool_calls=(ScriptedCall(name="f", arguments='{"a": 1}'),))]
    )

    declined, calling = [json.loads((await post_chat(sandbox)).body)["choices"][0] for _ in range(2)]

    assert (declined["message"]["refusal"], declined["message"]["content"]) == ("No.", None)
    (call,) = calling["message"]["tool_calls"]
    assert call["function"] == {"name": "f", "arguments": '{"a": 1}'}
    assert calling["finish_reason"] == "tool_calls"


@pytest.mark.parametrize(
    "usage", [{"prompt_tokens": -5}, {"completion_tokens": 10**15}, {"prompt_tokens": 0}]
)
async def test_usage_can_be_reported_wrong_while_the_bill_is_right(
    sandbox: SandboxServer, usage: dict[str, int]
) -> None:
    sandbox.script(Fault(kind=FaultKind.USAGE, usage=usage))

    told = json.loads((await post_chat(sandbox)).body)["usage"]

    assert usage.items() <= told.items()
    assert sandbox.ledger.entries[0].input_tokens > 0


@pytest.mark.parametrize("name", REFUSALS)
async def test_refusals_known_by_name_are_not_billed(sandbox: SandboxServer, name: str) -> None:
    sandbox.script(name)

    reply = await post_chat(sandbox)

    assert 400 <= reply.status < 600
    assert sandbox.ledger.total_nanos == 0


async def test_retry_after_can_be_a_date(sandbox: SandboxServer) -> None:
    sandbox.script(Fault(kind=FaultKind.STATUS, status=429, retry_after_date_s=120))

    header = (await post_chat(sandbox)).header("retry-after")

    assert header is not None
    assert parsedate_to_datetime(header).tzinfo is not None


@pytest.mark.parametrize(
    ("shape", "sign"),
    [
        (ErrorShape.OPENAI, b'data: {"error":'),
        (ErrorShape.ANTHROPIC, b"event: error"),
        (ErrorShape.VLLM, b'data: {"error":'),
    ],
)
async def test_an_error_event_comes_in_the_vendors_own_shape(
    sandbox: SandboxServer, shape: ErrorShape, sign: bytes
) -> None:
    sandbox.script(Fault(kind=FaultKind.STREAM_ERROR, shape=shape, status=529))

    body = (await post_chat(sandbox, stream=True)).unchunk()

    assert sign in body
    assert body.startswith(b"data: ")


async def test_a_body_can_trickle_byte_by_byte(sandbox: SandboxServer) -> None:
    sandbox.script(Fault(content="4", byte_delay_ms=0.5))

    reply = await post_chat(sandbox)

    assert json.loads(reply.body)["choices"]
    assert reply.total_ms >= len(reply.body) * 0.5


async def test_a_head_can_be_cut_in_the_middle(sandbox: SandboxServer) -> None:
    sandbox.script(Fault(kind=FaultKind.CUT, after_head_bytes=20))

    assert b"".join((await post_chat(sandbox)).reads) == b"HTTP/1.1 200 OK\r\ncon"


async def test_a_body_can_stall_and_go_on(sandbox: SandboxServer) -> None:
    sandbox.script(Fault(kind=FaultKind.STALL, after_bytes=50, stall_ms=150))

    reply = await post_chat(sandbox)

    assert json.loads(reply.body)["choices"]
    assert reply.total_ms - reply.first_byte_ms >= 140


async def test_one_chunk_can_be_broken_after_good_ones(sandbox: SandboxServer) -> None:
    sandbox.script(Fault(kind=FaultKind.BAD_CHUNK, after_chunks=3))

    body = (await post_chat(sandbox, stream=True)).body

    assert b"zz\r\n" in body
    assert b"[DONE]" not in body


async def test_a_stream_can_lack_the_end_of_its_choices(sandbox: SandboxServer) -> None:
    sandbox.script("missing_finish")

    events = parse_events((await post_chat(sandbox, stream=True)).unchunk())

    reasons = [choice["finish_reason"] for event in events[:-1] for choice in event["choices"]]
    assert set(reasons) == {None}
    assert events[-1] == "[DONE]"


async def test_the_ledger_knows_who_left_and_what_was_never_generated(sandbox: SandboxServer) -> None:
    sandbox.script(Fault(chunk_delay_ms=20))
    reader, writer = await asyncio.open_connection(sandbox.host, sandbox.port)
    writer.write(encode_chat(stream=True))
    await reader.readuntil(b"content")

    writer.close()
    await writer.wait_closed()
    await _until(lambda: sandbox.ledger.entries[0].ended_at is not None)

    (entry,) = sandbox.ledger.entries
    assert entry.client_left
    assert not entry.seen
    assert entry.output_tokens < 30


@pytest.mark.parametrize("variant", TlsVariant)
async def test_a_client_that_checks_certificates_trusts_the_valid_one_only(variant: TlsVariant) -> None:
    async with SandboxServer(tls=variant) as server:
        assert server.identity is not None
        context = ssl.create_default_context(cadata=server.identity.authority_pem.decode())
        connecting = asyncio.open_connection(server.host, server.port, ssl=context)
        if variant is not TlsVariant.VALID:
            with pytest.raises(ssl.SSLCertVerificationError):
                await connecting
            assert not server.journal.requests
            return
        reader, writer = await connecting
        writer.write(encode_chat(stream=False))
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
        writer.close()


async def test_a_handshake_at_a_port_without_tls_is_refused(sandbox: SandboxServer) -> None:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE

    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection(sandbox.host, sandbox.port, ssl=context)


async def _until(holds: Any) -> None:
    async with asyncio.timeout(2):
        while not holds():  # noqa: ASYNC110 - the vendor has no event for it
            await asyncio.sleep(0.01)
