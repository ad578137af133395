"""Many streams at once, some of them cut by their clients: each caller gets its own reply, and every attempt ends."""

import asyncio
import time

import openai

from sandbox.faults import Fault, FaultKind
from sandbox.server import SandboxServer
from tests.running_servers import RunningGateway, attempt_rows, dispatch_rows, open_shop

STREAMS = 60


def test_no_reply_is_mixed_with_another_and_none_is_left_open(
    vendor: SandboxServer, gateway: RunningGateway
) -> None:
    shop = open_shop(vendor)
    gateway.catch_up()
    for number in range(STREAMS):
        content = f"answer {number} " * 20
        vendor.script(
            Fault(kind=FaultKind.CONTENT, content=content, chunk_delay_ms=5 + number % 5),
            contains=f"nonce-{number}-",
        )

    asyncio.run(_ask_all(f"{gateway.url}/v1", shop.key))
    dispatches = _wait_for_ends()

    statuses = [row["status"] for row in dispatches]
    assert statuses.count("succeeded") == STREAMS - STREAMS // 3
    assert statuses.count("client_disconnected") == STREAMS // 3
    assert {row["state"] for row in attempt_rows()} == {"settled"}
    assert sum(row["cost_nanos"] for row in dispatches) >= vendor.ledger.total_nanos


async def _ask_all(base_url: str, key: str) -> None:
    async with openai.AsyncOpenAI(base_url=base_url, api_key=key, max_retries=0) as client:
        await asyncio.gather(*(_ask(client, number) for number in range(STREAMS)))


async def _ask(client: openai.AsyncOpenAI, number: int) -> None:
    """Every third caller leaves after a few parts."""
    stream = await client.chat.completions.create(
        model="auto", messages=[{"role": "user", "content": f"nonce-{number}-"}], stream=True
    )
    text = ""
    async for chunk in stream:
        text += chunk.choices[0].delta.content or ""
        if number % 3 == 0 and len(text) > 10:
            await stream.close()
            break
    assert f"answer {number} " * 20 == text if number % 3 else text.startswith(f"answer {number} ")


def _wait_for_ends() -> list[dict[str, object]]:
    for _ in range(300):
        rows = dispatch_rows()
        if len(rows) == STREAMS and all(row["status"] != "open" for row in rows):
            return rows
        time.sleep(0.02)
    raise TimeoutError("Some dispatches did not end.")
