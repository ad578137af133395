"""Every fault does on the wire what its name says, and the ledger knows what it costs."""

import asyncio
import gzip
import json
import time

import openai
import pytest

from sandbox.faults import Fault, FaultKind
from sandbox.scripts import parse_fault
from sandbox.server import SandboxServer
from tests.sandbox.raw_http import encode_chat, parse_events, post_chat

SMALL_BOMB = 1_000_000


@pytest.mark.parametrize("stream", [False, True])
async def test_a_status_fault_answers_in_the_shape_of_the_api(sandbox: SandboxServer, stream: bool):
    sandbox.script(Fault(kind=FaultKind.STATUS, status=429, retry_after="7", code="rate_limit_exceeded"))

    reply = await post_chat(sandbox, stream=stream)

    assert reply.status == 429
    assert reply.header("retry-after") == "7"
    assert json.loads(reply.body)["error"]["code"] == "rate_limit_exceeded"
    assert sandbox.ledger.total_nanos == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_a_delay_holds_back_the_first_byte(sandbox: SandboxServer, stream: bool):
    sandbox.script(Fault(delay_ms=80))

    reply = await post_chat(sandbox, stream=stream)

    assert reply.status == 200
    assert reply.first_byte_ms >= 80


async def test_a_chunk_delay_stretches_the_stream(sandbox: SandboxServer):
    sandbox.script(Fault(chunk_delay_ms=5))

    reply = await post_chat(sandbox, stream=True, max_tokens=10)

    assert reply.total_ms >= 5 * len(parse_events(reply.unchunk()))


async def test_a_reply_can_trickle_byte_by_byte(sandbox: SandboxServer):
    sandbox.script(Fault(kind=FaultKind.SPLIT_FRAMES, split_bytes=100, chunk_delay_ms=10))

    reply = await post_chat(sandbox)

    assert json.loads(reply.body)["choices"]
    assert reply.total_ms >= len(reply.body) // 100 * 10


@pytest.mark.parametrize("stream", [False, True])
async def test_a_hanging_vendor_never_answers_but_bills(sandbox: SandboxServer, stream: bool):
    sandbox.script("hang")

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(post_chat(sandbox, stream=stream), 0.1)

    await _until_closed(sandbox)
    [entry] = sandbox.ledger.entries
    assert entry.cost_nanos > 0
    assert not entry.seen


async def test_a_vendor_can_fall_silent_in_the_middle(sandbox: SandboxServer):
    sandbox.script(Fault(kind=FaultKind.HANG, after_bytes=500))
    reader, writer = await asyncio.open_connection(sandbox.host, sandbox.port)
    writer.write(encode_chat(stream=True))

    await reader.readuntil(b"\r\n\r\n")
    assert len(await reader.readexactly(500)) == 500
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.readuntil(b"[DONE]"), 0.1)
    writer.close()


async def test_a_connection_can_be_closed_before_any_byte(sandbox: SandboxServer):
    sandbox.script("cut")

    assert (await post_chat(sandbox)).reads == ()


@pytest.mark.parametrize("after_bytes", [None, 100])
async def test_a_reset_reaches_the_client_as_one(sandbox: SandboxServer, after_bytes: int | None):
    sandbox.script(Fault(kind=FaultKind.RESET, after_bytes=after_bytes))

    with pytest.raises(ConnectionResetError):
        await post_chat(sandbox)


async def test_a_cut_plain_reply_is_shorter_than_it_declares(sandbox: SandboxServer):
    sandbox.script(Fault(kind=FaultKind.CUT, after_bytes=100))

    reply = await post_chat(sandbox)

    assert len(reply.body) == 100
    assert int(reply.header("content-length")) > 100
    assert not sandbox.ledger.entries[0].seen


async def test_a_cut_stream_has_no_last_chunk(sandbox: SandboxServer):
    sandbox.script(Fault(kind=FaultKind.CUT, after_bytes=1_000))

    reply = await post_chat(sandbox, stream=True)

    assert len(reply.body) > 1_000
    assert b"[DONE]" not in reply.body
    assert not reply.body.endswith(b"0\r\n\r\n")


async def test_a_stream_error_comes_after_its_chunks_and_ends_the_stream(sandbox: SandboxServer):
    sandbox.script(Fault(kind=FaultKind.STREAM_ERROR, after_chunks=3, code="overloaded", message="Too busy."))

    *before, last = parse_events((await post_chat(sandbox, stream=True)).unchunk())

    assert len(before) == 3
    assert last["error"] == {
        "message": "Too busy.",
        "type": "server_error",
        "param": None,
        "code": "overloaded",
    }


async def test_the_last_frame_can_be_missing(sandbox: SandboxServer):
    sandbox.script("missing_done")

    events = parse_events((await post_chat(sandbox, stream=True)).unchunk())

    assert "[DONE]" not in events
    assert events[-1]["usage"]


async def test_usage_can_be_missing(sandbox: SandboxServer):
    sandbox.script("missing_usage")

    plain = json.loads((await post_chat(sandbox)).body)
    events = parse_events((await post_chat(sandbox, stream=True)).unchunk())

    assert "usage" not in plain
    assert not any(event.get("usage") for event in events[:-1])
    assert all(entry.cost_nanos > 0 for entry in sandbox.ledger.entries)


@pytest.mark.parametrize(
    "usage", [{"completion_tokens": -5}, {"prompt_tokens": 10**12}, {"prompt_tokens": "many"}]
)
async def test_reported_usage_can_be_absurd_while_the_ledger_stays_true(sandbox: SandboxServer, usage: dict):
    await post_chat(sandbox)
    sandbox.script(Fault(kind=FaultKind.USAGE, usage=usage))

    plain = json.loads((await post_chat(sandbox)).body)
    events = parse_events((await post_chat(sandbox, stream=True)).unchunk())

    assert usage.items() <= plain["usage"].items()
    assert usage.items() <= events[-2]["usage"].items()
    assert len({entry.cost_nanos for entry in sandbox.ledger.entries}) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_malformed_json_does_not_parse(sandbox: SandboxServer, stream: bool):
    sandbox.script("malformed_json")

    reply = await post_chat(sandbox, stream=stream)

    with pytest.raises(json.JSONDecodeError):
        parse_events(reply.unchunk()) if stream else json.loads(reply.body)


@pytest.mark.parametrize("stream", [False, True])
async def test_choices_can_be_missing(sandbox: SandboxServer, stream: bool):
    sandbox.script("missing_choices")

    reply = await post_chat(sandbox, stream=stream)

    replies = parse_events(reply.unchunk())[:-1] if stream else [json.loads(reply.body)]
    assert all("choices" not in value for value in replies)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("kind", "header", "value"),
    [
        ("html", "content-type", "text/html; charset=utf-8"),
        ("wrong_content_type", "content-type", "text/plain; charset=utf-8"),
        ("empty", "content-length", "0"),
        ("redirect", "location", Fault().location),
    ],
)
async def test_a_reply_can_be_something_else(
    sandbox: SandboxServer, *, stream: bool, kind: str, header: str, value: str
):
    sandbox.script(kind)

    reply = await post_chat(sandbox, stream=stream)

    assert reply.status == (302 if kind == "redirect" else 200)
    assert reply.header(header) == value


async def test_an_oversized_reply_is_still_good_json(sandbox: SandboxServer):
    sandbox.script(Fault(kind=FaultKind.OVERSIZED, size_bytes=SMALL_BOMB))

    plain = await post_chat(sandbox)
    streamed = (await post_chat(sandbox, stream=True)).unchunk()

    assert len(plain.body) > SMALL_BOMB
    assert json.loads(plain.body)["choices"]
    assert len(streamed) > SMALL_BOMB
    assert parse_events(streamed)[-1] == "[DONE]"


async def test_an_endless_line_has_no_line_feed(sandbox: SandboxServer):
    sandbox.script(Fault(kind=FaultKind.ENDLESS_LINE, size_bytes=SMALL_BOMB))

    body = (await post_chat(sandbox, stream=True)).unchunk()

    assert len(body.rpartition(b"\n")[2]) > SMALL_BOMB


async def test_headers_can_be_a_flood(sandbox: SandboxServer):
    sandbox.script(Fault(kind=FaultKind.HEADER_BOMB, size_bytes=SMALL_BOMB))

    assert len((await post_chat(sandbox)).head) > SMALL_BOMB


async def test_a_gzip_bomb_is_small_until_it_is_opened(sandbox: SandboxServer):
    sandbox.script(Fault(kind=FaultKind.GZIP_BOMB, size_bytes=SMALL_BOMB))

    reply = await post_chat(sandbox)

    assert reply.header("content-encoding") == "gzip"
    assert len(reply.body) < SMALL_BOMB / 100
    assert len(gzip.decompress(reply.body)) == SMALL_BOMB


async def test_bad_chunking_cannot_be_unframed(sandbox: SandboxServer):
    sandbox.script("bad_chunking")

    reply = await post_chat(sandbox, stream=True)

    with pytest.raises(ValueError, match="invalid literal"):
        reply.unchunk()


@pytest.mark.parametrize("kind", ["glued_frames", "split_frames", "crlf_frames", "comments"])
async def test_odd_framing_carries_the_same_events(sandbox: SandboxServer, kind: str):
    good = parse_events((await post_chat(sandbox, stream=True)).unchunk())
    sandbox.script(Fault(kind=FaultKind(kind), split_bytes=3))

    odd = await post_chat(sandbox, stream=True)

    assert _texts(parse_events(odd.unchunk())) == _texts(good)


async def test_split_frames_cut_through_characters(sandbox: SandboxServer):
    sandbox.script(Fault(kind=FaultKind.SPLIT_FRAMES, split_bytes=1))

    reply = await post_chat(sandbox, stream=True)

    first_byte, second_byte = "ê".encode()
    assert b"1\r\n%c\r\n1\r\n%c\r\n" % (first_byte, second_byte) in reply.body


async def test_a_finish_can_come_twice(sandbox: SandboxServer):
    sandbox.script("duplicate_finish")

    events = parse_events((await post_chat(sandbox, stream=True)).unchunk())

    reasons = [choice["finish_reason"] for event in events[:-1] for choice in event["choices"]]
    assert reasons[-2:] == ["stop", "stop"]


@pytest.mark.parametrize(
    "kind", ["stream_error", "missing_done", "comments", "duplicate_finish", "glued_frames"]
)
async def test_a_fault_of_streams_leaves_a_plain_reply_alone(sandbox: SandboxServer, kind: str):
    sandbox.script(kind)

    assert json.loads((await post_chat(sandbox)).body)["choices"]


async def test_words_can_be_put_into_the_models_mouth(sandbox: SandboxServer):
    sandbox.script(Fault(kind=FaultKind.CONTENT, content='{"score": 7}'))

    assert json.loads((await post_chat(sandbox)).body)["choices"][0]["message"]["content"] == '{"score": 7}'


async def test_headers_can_be_added(sandbox: SandboxServer):
    sandbox.script(Fault(headers={"x-ratelimit-remaining-requests": "0"}))

    assert (await post_chat(sandbox)).header("x-ratelimit-remaining-requests") == "0"


async def test_a_script_befalls_its_own_requests_so_many_times(sandbox: SandboxServer):
    sandbox.script("503", model="sandbox-frontier", contains="nonce-1", times=2)
    marked = [{"role": "user", "content": "nonce-1"}]

    statuses = [
        (await post_chat(sandbox, model="sandbox-small", messages=marked)).status,
        (await post_chat(sandbox)).status,
        *[(await post_chat(sandbox, messages=marked)).status for _ in range(3)],
    ]

    assert statuses == [200, 200, 503, 503, 200]


async def test_scripts_are_taken_in_their_order_until_cleared(sandbox: SandboxServer):
    sandbox.script("500", times=1)
    sandbox.script("502")

    assert [(await post_chat(sandbox)).status for _ in range(3)] == [500, 502, 502]
    sandbox.clear_faults()
    assert (await post_chat(sandbox)).status == 200


@pytest.mark.parametrize(
    ("carried", "status"),
    [
        ("429", 429),
        ("redirect", 302),
        ('{"kind":"status","status":529}', 529),
        ('{"model":"sandbox-frontier","fault":{"kind":"status","status":418}}', 418),
        ('{"model":"sandbox-small","fault":{"kind":"status","status":418}}', 200),
        ("no such fault", 400),
        ('{"kind":"no such fault"}', 400),
        ("{", 400),
    ],
)
async def test_a_request_can_carry_its_own_script(sandbox: SandboxServer, carried: str, status: int):
    assert (await post_chat(sandbox, metadata={"sandbox": carried})).status == status


async def test_the_official_client_raises_what_it_raises_for_a_vendor(client: openai.AsyncOpenAI, sandbox):
    sandbox.script("429", times=1)
    sandbox.script("reset", times=1)
    asked = {"model": "sandbox-mid", "messages": [{"role": "user", "content": "Hello"}]}

    with pytest.raises(openai.RateLimitError):
        await client.chat.completions.create(**asked)
    with pytest.raises(openai.APIConnectionError):
        await client.chat.completions.create(**asked)
    assert await client.chat.completions.create(**asked)


async def test_a_client_that_leaves_is_billed_for_what_was_generated(sandbox: SandboxServer):
    await post_chat(sandbox, stream=True)
    sandbox.script(Fault(chunk_delay_ms=20))
    reader, writer = await asyncio.open_connection(sandbox.host, sandbox.port)
    writer.write(encode_chat(stream=True))
    while b'"delta":{"content":' not in await reader.readuntil(b"\n\n"):
        pass
    writer.close()

    await _until_closed(sandbox)
    whole, part = sandbox.ledger.entries
    assert (whole.seen, part.seen) == (True, False)
    assert 0 < part.output_tokens < whole.output_tokens


@pytest.mark.parametrize("text", ["", "nonsense", "{}x", '{"kind":"status","colour":"red"}'])
def test_a_fault_that_cannot_be_read_is_refused(text: str):
    with pytest.raises(ValueError, match=r".+"):
        parse_fault(text)


@pytest.mark.parametrize("kind", list(FaultKind))
@pytest.mark.parametrize("stream", [False, True])
async def test_the_vendor_serves_on_after_any_fault(sandbox: SandboxServer, kind: FaultKind, stream: bool):
    sandbox.script(Fault(kind=kind, size_bytes=SMALL_BOMB), times=1)
    try:
        await asyncio.wait_for(post_chat(sandbox, stream=stream), 0.1 if kind is FaultKind.HANG else 10)
    except (TimeoutError, ConnectionResetError):
        assert kind in {FaultKind.HANG, FaultKind.RESET}

    assert (await post_chat(sandbox, stream=stream)).status == 200


async def _until_closed(sandbox: SandboxServer) -> None:
    deadline = time.monotonic() + 5
    while sandbox.connections.open:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


def _texts(events: list) -> list[str]:
    return [choice["delta"].get("content") for event in events[:-1] for choice in event["choices"]]
