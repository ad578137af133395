"""The sandbox as a process, in a thread, and in its fast mode; and the levers of its control endpoints."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import openai
import pytest

from sandbox.fast import ANSWER
from sandbox.fleet import FLEET
from sandbox.server import SandboxServer, serve_in_thread
from tests.sandbox.raw_http import encode_chat

ROOT = Path(__file__).parents[2]
HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def levers() -> Iterator[httpx.Client]:
    with (
        serve_in_thread(SandboxServer()) as server,
        httpx.Client(
            base_url=server.origin, headers={"authorization": "Bearer any"}, trust_env=False
        ) as client,
    ):
        yield client


def _ask(client: httpx.Client, **fields: object) -> httpx.Response:
    return client.post("/v1/chat/completions", json={"model": "sandbox-mid", "messages": HELLO, **fields})


def test_a_script_posted_to_the_control_endpoint_takes_effect(levers: httpx.Client):
    levers.post(
        "/_control/faults",
        json={"model": "sandbox-mid", "fault": {"kind": "status", "status": 503}, "times": 1},
    )
    assert [script["times"] for script in levers.get("/_control/faults").json()] == [1]

    assert [_ask(levers).status_code for _ in range(2)] == [503, 200]


def test_deleting_the_scripts_heals_everything(levers: httpx.Client):
    levers.post("/_control/faults", json={"fault": "500"})
    levers.delete("/_control/faults")

    assert _ask(levers).status_code == 200


@pytest.mark.parametrize(
    "script", [{"fault": {"kind": "?"}}, {"fault": "?"}, {"models": "x", "fault": "500"}, [], {}]
)
def test_a_script_that_cannot_be_read_is_refused(levers: httpx.Client, script: object):
    assert levers.post("/_control/faults", json=script).status_code == 400
    assert levers.get("/_control/faults").json() == []


def test_the_ledger_itemises_what_the_vendor_bills(levers: httpx.Client):
    reply = _ask(levers, reasoning_effort="low").json()
    _ask(levers, metadata={"sandbox": "500"})

    ledger = levers.get("/_control/ledger").json()
    paid, free = ledger["entries"]
    usage, price = reply["usage"], FLEET["sandbox-mid"].price

    assert paid["id"] == reply["id"]
    assert paid["input_tokens"] == usage["prompt_tokens"]
    assert paid["output_tokens"] == usage["completion_tokens"]
    assert paid["reasoning_tokens"] == 16
    assert paid["cost_nanos"] * 1_000_000 == (
        usage["prompt_tokens"] * price.input_nanos + usage["completion_tokens"] * price.output_nanos
    )
    assert paid["seen"]
    assert (free["billed"], free["cost_nanos"], free["fault"]) == (False, 0, "status")
    assert (ledger["requests"], ledger["total_nanos"]) == (2, paid["cost_nanos"])


def test_cached_input_is_billed_at_its_own_price(levers: httpx.Client):
    messages = [{"role": "user", "content": "word " * 2_000}]
    dear, cheap = (
        _ask(levers, messages=messages) and levers.get("/_control/ledger").json()["entries"][-1] for _ in "12"
    )

    assert cheap["cached_tokens"] >= 1_024
    assert cheap["input_tokens"] + cheap["cached_tokens"] == dear["input_tokens"]
    price = FLEET["sandbox-mid"].price
    saved = cheap["cached_tokens"] * (price.input_nanos - price.cached_input_nanos) // 1_000_000
    assert dear["cost_nanos"] - cheap["cost_nanos"] == saved


def test_requests_are_kept_exactly_as_they_came(levers: httpx.Client):
    _ask(levers, user="someone")

    [request] = levers.get("/_control/requests").json()
    assert (request["method"], request["target"]) == ("POST", "/v1/chat/completions")
    assert ["authorization", "Bearer any"] in request["headers"]
    assert json.loads(request["body"])["user"] == "someone"


@pytest.mark.parametrize("memory", ["ledger", "requests"])
def test_a_memory_can_be_wiped(levers: httpx.Client, memory: str):
    _ask(levers)
    levers.delete(f"/_control/{memory}")

    left = levers.get(f"/_control/{memory}").json()
    assert (left["entries"] if memory == "ledger" else left) == []


def test_a_kept_alive_connection_counts_once(levers: httpx.Client):
    for _ in range(3):
        _ask(levers)

    assert levers.get("/_control/connections").json() == {"open": 1, "accepted": 1}


def test_an_unknown_lever_is_not_found(levers: httpx.Client):
    assert levers.get("/_control/anything").status_code == 404


def test_health_needs_no_key(levers: httpx.Client):
    assert levers.get("/healthz", headers={"authorization": ""}).json() == {"status": "ok"}


@pytest.mark.parametrize("authorization", ["", "Basic eDp5", "Bearer"])
def test_a_request_without_a_key_is_refused(levers: httpx.Client, authorization: str):
    reply = levers.get("/v1/models", headers={"authorization": authorization})

    assert reply.status_code == 401
    assert reply.json()["error"]["code"] == "invalid_api_key"


async def test_what_is_no_request_gets_an_answer_and_a_closed_door(sandbox: SandboxServer):
    reader, writer = await asyncio.open_connection(sandbox.host, sandbox.port)
    writer.write(b"nonsense\r\n\r\n")

    assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
    writer.close()


async def test_stopping_drops_connections_that_hang():
    async with asyncio.timeout(2):
        async with SandboxServer() as server:
            server.script("hang")
            reader, writer = await asyncio.open_connection(server.host, server.port)
            writer.write(encode_chat(stream=False))
            await _until(lambda: server.ledger.entries)

        assert await reader.read() == b""
        writer.close()


async def test_speed_scales_the_models_latency():
    async def first_byte_ms(speed: float) -> float:
        loop = asyncio.get_running_loop()
        async with SandboxServer(speed=speed) as server:
            reader, writer = await asyncio.open_connection(server.host, server.port)
            started_at = loop.time()
            writer.write(encode_chat(stream=True))
            await reader.read(1)
            writer.close()
            return (loop.time() - started_at) * 1000

    assert await first_byte_ms(4) >= FLEET["sandbox-frontier"].first_token_ms / 4
    assert await first_byte_ms(40) < FLEET["sandbox-frontier"].first_token_ms / 4


@pytest.mark.parametrize("stream", [False, True])
async def test_the_fast_mode_speaks_the_same_format(stream: bool):
    async with (
        SandboxServer(fast=True) as server,
        openai.AsyncOpenAI(base_url=server.base_url, api_key="any", max_retries=0) as client,
    ):
        asked = {"model": "sandbox-frontier", "messages": HELLO}
        if stream:
            events = await client.chat.completions.create(
                **asked, stream=True, stream_options={"include_usage": True}
            )
            chunks = [chunk async for chunk in events]
            text, usage = "".join(c.choices[0].delta.content or "" for c in chunks[:-1]), chunks[-1].usage
        else:
            completion = await client.chat.completions.create(**asked)
            text, usage = completion.choices[0].message.content, completion.usage

        price = FLEET["sandbox-frontier"].price
        assert text == ANSWER
        assert server.fast_ledger.calls == {"sandbox-frontier": 1}
        assert server.fast_ledger.total_nanos * 1_000_000 == (
            usage.prompt_tokens * price.input_nanos + usage.completion_tokens * price.output_nanos
        )


async def test_fast_replies_have_ids_of_their_own_however_requests_are_split():
    request = encode_chat(stream=False, close=False)
    async with SandboxServer(fast=True) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(request + request[:50])
        first = await _read_reply(reader)
        writer.write(request[50:])
        second = await _read_reply(reader)
        writer.close()

    assert first != second
    assert len(first) == len(second)


async def test_the_fast_mode_refuses_what_it_cannot_read():
    async with (
        SandboxServer(fast=True) as server,
        httpx.AsyncClient(base_url=server.base_url, trust_env=False) as client,
    ):
        for body in (b"{", b'{"model":"sandbox-huge"}'):
            assert (await client.post("/chat/completions", content=body)).status_code == 400
        assert len((await client.get("/models", headers={"authorization": "Bearer x"})).json()["data"]) == 5


@contextmanager
def _process(*options: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "sandbox", *options]
    environment = {**os.environ, "SANDBOX_SPEED": "inf"}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.processes
@pytest.mark.parametrize("options", [(), ("--fast",)], ids=["ordinary", "fast"])
def test_the_process_says_where_it_listens_and_stops_when_told(options: tuple[str, ...]):
    with _process("--port", "0", *options) as process:
        line = process.stdout.readline()
        origin = line.removeprefix("sandbox listening on ").strip()
        reply = httpx.get(f"{origin}/v1/models", headers={"authorization": "Bearer x"}, trust_env=False)
        process.send_signal(signal.SIGTERM)

        assert reply.status_code == 200
        assert process.wait(timeout=5) == 0
        assert process.stderr.read() == ""


@pytest.mark.processes
def test_an_occupied_port_is_told_in_one_line():
    with socket.create_server(("127.0.0.1", 0)) as occupied:
        port = occupied.getsockname()[1]
        with _process("--port", str(port)) as process:
            assert process.wait(timeout=5) == 1
            assert (
                process.stderr.read()
                == f"sandbox: cannot listen on 127.0.0.1:{port}: Address already in use\n"
            )


@pytest.mark.processes
@pytest.mark.parametrize("speed", ["0", "-1", "nan"])
def test_a_speed_that_is_none_is_refused(speed: str):
    with _process("--port", "0", "--speed", speed) as process:
        assert process.wait(timeout=5) == 2
        assert "--speed must be above zero" in process.stderr.read()


async def _until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 - the condition is another connection's, and has no event
        await asyncio.sleep(0.005)


async def _read_reply(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length"))
    return head + await reader.readexactly(int(length.split(b": ")[1]))
