"""docs/vendors.md is followed to the letter: its requests are sent, its module is tested as all others are, and called."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from enum import StrEnum
from importlib.util import module_from_spec, spec_from_loader
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from dispatch_app.execution.canonical import Request
from dispatch_app.execution.errors import RequestRejectedError, StreamFailedError
from dispatch_app.execution.ports import UpstreamCall
from dispatch_app.providers.adapter import Adapter, adapter_of
from dispatch_app.providers.transport import Transport
from dispatch_app.providers.upstream import ProviderUpstream
from policies_app.routing.codes import WireFeature, WireFormat
from policies_app.routing.types import Usage
from policies_app.routing.wire_formats import INEXPRESSIBLE, inexpressible_in
from tests.dispatch_app.providers.contract import TALK, AdapterContract
from tests.dispatch_app.providers.golden import read_stream, told
from tests.dispatch_app.routing_values import NOW, ProviderRow, make_candidate
from tests.factories import make_key, make_tenant
from tests.personas import api_client, make_ops
from tests.running_servers import RunningGateway

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "vendors.md").read_text(encoding="utf-8")
STEPS = re.findall(r"```http\n(\w+) (\S+)\n\n(.*?)```", TEXT, re.DOTALL)
(MODULE,) = (
    block for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL) if block.startswith('"""')
)
BASE_URL = "http://127.0.0.1:8902/v1"


@pytest.fixture
def second_sandbox() -> Iterator[str]:
    """Where a second sandbox serves, started as the page says, on a port that is free."""
    command = [sys.executable, "-m", "sandbox", "--port", "0", "--api-key", "sk-second", "--speed", "inf"]
    assert "-m sandbox --port 8902 --api-key sk-second" in TEXT
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().rpartition(" ")[2].strip()
        process.terminate()


def test_a_vendor_with_a_known_format_needs_no_code(gateway: RunningGateway, second_sandbox: str) -> None:
    client = api_client(make_ops())
    for method, path, body in STEPS:
        sent = json.loads(body.replace(BASE_URL, f"{second_sandbox}/v1"))
        answer = client.generic(method, path, json.dumps(sent), content_type="application/json")
        assert answer.status_code == 201, (path, answer.content)
    key = make_key(make_tenant()).text
    gateway.catch_up()

    answer = gateway.client(key).chat.completions.with_raw_response.create(
        model="second-opinion", messages=[{"role": "user", "content": "Are you there?"}]
    )

    assert answer.headers["x-dispatch-provider"] == "second"
    assert answer.parse().choices[0].message.content
    assert float(answer.headers["x-dispatch-cost-usd"]) > 0


class NewFormat(StrEnum):
    """The line that names it."""

    OLLAMA = "ollama"


@pytest.fixture(scope="module", autouse=True)
def ollama() -> Iterator[Adapter]:
    """The page's module, where it would stand."""
    name = "dispatch_app.providers.ollama"
    module = module_from_spec(spec_from_loader(name, loader=None))  # type: ignore[arg-type]
    exec(compile(MODULE, "docs/vendors.md", "exec"), module.__dict__)
    sys.modules[name] = module
    yield adapter_of(cast("WireFormat", NewFormat.OLLAMA))
    adapter_of.cache_clear()
    del sys.modules[name]


class TestTheModule(AdapterContract):
    @pytest.fixture
    def adapter(self, ollama: Adapter) -> Adapter:
        return ollama


def test_what_a_new_format_has_words_for_is_not_known() -> None:
    assert inexpressible_in(cast("WireFormat", NewFormat.OLLAMA)) == frozenset(WireFeature)
    assert set(INEXPRESSIBLE) == set(WireFormat)


# Source: https://docs.ollama.com/api/chat
REPLY: dict[str, Any] = {
    "model": "llama3.2",
    "created_at": "2026-01-01T00:00:00Z",
    "message": {"role": "assistant", "content": "Half past seven."},
    "done": True,
    "done_reason": "stop",
    "prompt_eval_count": 26,
    "eval_count": 5,
}
CALLS = [{"function": {"name": "look", "arguments": {"at": "clock"}}}]
CANONICAL_CALL = {
    "id": "call_0",
    "type": "function",
    "function": {"name": "look", "arguments": '{"at":"clock"}'},
}
LINES: list[dict[str, Any]] = [
    {"model": "llama3.2", "message": {"role": "assistant", "content": "", "thinking": "Hm."}, "done": False},
    {"model": "llama3.2", "message": {"role": "assistant", "content": "Half "}, "done": False},
    {"model": "llama3.2", "message": {"role": "assistant", "content": "past seven."}, "done": False},
    {
        "model": "llama3.2",
        "message": {"role": "assistant", "content": "", "tool_calls": CALLS},
        "done": False,
    },
    REPLY | {"message": {"role": "assistant", "content": ""}},
]
STREAM = b"".join(json.dumps(line).encode() + b"\n" for line in LINES)


def test_a_conversation_is_said_in_its_words(ollama: Adapter) -> None:
    built = ollama.build(
        request=Request(fields=TALK | {"stop": "."}, stream=False, choices=1),
        candidate=make_candidate(output_tokens_limit=77),
        prepared=ollama.prepare(ProviderRow(base_url="http://127.0.0.1:11434/api/")),
        now=NOW,
    )

    assert built.url == "http://127.0.0.1:11434/api/chat"
    assert json.loads(built.body) == {
        "model": "sandbox-small",
        "messages": [
            {"role": "system", "content": "You are brief."},
            {"role": "user", "content": "What time is it?"},
            {"role": "assistant", "content": "", "tool_calls": CALLS},
            {"role": "tool", "content": "half past seven", "tool_name": "look"},
        ],
        "stream": False,
        "options": {"temperature": 0.5, "num_predict": 77, "stop": ["."]},
        "tools": TALK["tools"],
    }


def test_a_picture_that_is_only_linked_is_refused_before_it_is_sent(ollama: Adapter) -> None:
    picture = {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}
    request = Request(fields={"messages": [{"role": "user", "content": [picture]}]}, stream=False, choices=1)

    with pytest.raises(RequestRejectedError):
        ollama.build(
            request=request, candidate=make_candidate(), prepared=ollama.prepare(ProviderRow()), now=NOW
        )


@pytest.mark.parametrize(
    ("message", "reason", "canonical"),
    [
        ({"content": "Hi"}, "stop", {"content": "Hi"}),
        ({"content": "Hi", "thinking": "Hm."}, "length", {"content": "Hi", "reasoning_content": "Hm."}),
        ({"content": "", "tool_calls": CALLS}, "stop", {"content": None, "tool_calls": [CANONICAL_CALL]}),
    ],
)
def test_a_reply_is_read(
    ollama: Adapter, message: dict[str, Any], reason: str, canonical: dict[str, Any]
) -> None:
    body = json.dumps(REPLY | {"message": message, "done_reason": reason}).encode()

    reply = ollama.parse_reply(body, wire_status=200, first_byte_at=1.0)

    assert told(reply) == {
        "message": {"role": "assistant", **canonical},
        "finish_reason": "tool_calls" if "tool_calls" in canonical else reason,
        "usage": {"input_tokens": 26, "output_tokens": 5},
    }


@given(st.sets(st.integers(0, len(STREAM))))
def test_how_a_streams_bytes_are_split_makes_no_difference(cuts: set[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    pieces = [STREAM[begin:end] for begin, end in pairwise(edges)]
    adapter = adapter_of(cast("WireFormat", NewFormat.OLLAMA))

    assert told(read_stream(adapter, pieces)) == {
        "message": {
            "role": "assistant",
            "content": "Half past seven.",
            "reasoning_content": "Hm.",
            "tool_calls": [CANONICAL_CALL],
        },
        "finish_reason": "tool_calls",
        "usage": {"input_tokens": 26, "output_tokens": 5},
    }


def test_an_error_in_a_stream_is_an_error(ollama: Adapter) -> None:
    with pytest.raises(StreamFailedError):
        list(ollama.stream_decoder().feed(b'{"error":"an error was encountered while running the model"}\n'))


@pytest_asyncio.fixture
async def vendor() -> AsyncIterator[str]:
    """A server that answers every request as Ollama does, a stream if one is asked for."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = int(re.search(r"(?i)content-length: (\d+)", head)[1])  # type: ignore[index]
        asked = json.loads(await reader.readexactly(length))
        body, kind = (
            (STREAM, "application/x-ndjson")
            if asked["stream"]
            else (json.dumps(REPLY).encode(), "application/json; charset=utf-8")
        )
        writer.write(
            f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n".encode()
            + body
        )
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/api"


async def test_it_is_called_as_every_vendor_is(vendor: str) -> None:
    provider = ProviderRow(base_url=vendor, wire_format=cast("WireFormat", NewFormat.OLLAMA))

    def call(*, stream: bool) -> UpstreamCall:
        deadline_at = asyncio.get_running_loop().time() + 5
        request = Request(fields=TALK, stream=stream, choices=1)
        return UpstreamCall(request=request, candidate=make_candidate(), deadline_at=deadline_at)

    async with Transport() as transport:
        upstream = ProviderUpstream(
            transport=transport, find_provider=lambda *_ids: provider, now=lambda: NOW
        )
        reply = await upstream.complete(call(stream=False))
        async with upstream.stream(call(stream=True)) as parts:
            streamed = [part async for part in parts]

    used = Usage(input_tokens=26, output_tokens=5)
    assert (reply.choices[0].message["content"], reply.usage) == ("Half past seven.", used)
    assert streamed[-1].usage == used
    assert (
        "".join(step.delta.get("content", "") for part in streamed for step in part.choices)
        == "Half past seven."
    )
