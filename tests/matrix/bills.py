"""Many calls at once, and each of them held against the vendor's own bill of it."""

import asyncio
import json
import re
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from policies_app.routing.codes import WireFormat
from sandbox.ledger import LedgerEntry
from tests.matrix.calls import EMBEDDINGS, Call
from tests.matrix.market import Market
from tests.running_servers import RunningGateway, attempt_rows

AT_ONCE = 32
_MARK = re.compile(r"\((call-[\d-]+)\)")
TELL_REASONING = frozenset({WireFormat.OPENAI_CHAT, WireFormat.AZURE_OPENAI, WireFormat.GEMINI})
"""Vendors that count what was thought apart from what was said; with others it is output like any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a client was told: of which dispatch, and of how many tokens that went in and came out."""

    status: int
    dispatch_id: str
    input_tokens: int
    output_tokens: int


@dataclass(slots=True, kw_only=True)
class Bill:
    """What many calls came to. `differences` tells of each that is not what its vendor billed."""

    calls: int = 0
    seconds: float = 0.0
    differences: list[str] = field(default_factory=list)
    cost_nanos: int = 0
    billed_nanos: int = 0
    tokens: Counter[str] = field(default_factory=Counter)


def settle_up(market: Market, gateway: RunningGateway, calls: Sequence[Call]) -> Bill:
    """Make the calls, and compare each with the vendor's ledger: tokens by bucket, and money to the nano-dollar."""
    for vendor in market.vendors:
        vendor.server.ledger.clear()
    began_at = time.monotonic()
    answers = asyncio.run(_ask_all(gateway.url, market.key, calls))
    bill = Bill(calls=len(calls), seconds=time.monotonic() - began_at)
    attempts: dict[str, list[dict[str, Any]]] = {}
    for row in attempt_rows():
        attempts.setdefault(str(row["dispatch_id"]), []).append(row)
    entries = {
        mark: entry
        for vendor in market.vendors
        for entry in vendor.server.ledger.entries
        for mark in _MARK.findall(entry.prompt)
    }
    for call in calls:
        answer, entry = answers[call.mark], entries.get(call.mark)
        rows = attempts.get(answer.dispatch_id, [])
        if entry is None or len(rows) != 1:
            bill.differences.append(f"{call.mark}: {answer.status}, {len(rows)} attempts, billed: {entry}")
            continue
        bill.differences += [f"{call.mark}: {words}" for words in _compare(call, answer, rows[0], entry)]
        _add_up(bill, rows[0], entry)
    unknown = len(entries) - sum(call.mark in entries for call in calls)
    if unknown or bill.cost_nanos != bill.billed_nanos:
        bill.differences.append(f"in all: {bill.cost_nanos} of {bill.billed_nanos}, {unknown} unknown")
    return bill


def _compare(call: Call, answer: Answer, row: Mapping[str, Any], entry: LedgerEntry) -> Iterator[str]:
    logged = {
        "input": row["input_tokens"],
        "read": row["cached_input_tokens"],
        "written": row["cache_write_tokens"],
        "output": row["output_tokens"] + row["reasoning_tokens"],
        "reasoning": row["reasoning_tokens"],
        "cost": row["cost_nanos"],
    }
    told = call.vendor.wire_format in TELL_REASONING
    billed = {
        "input": entry.input_tokens,
        "read": entry.cached_tokens,
        "written": entry.written_tokens,
        "output": entry.output_tokens,
        "reasoning": entry.reasoning_tokens if told else 0,
        "cost": entry.cost_nanos,
    }
    if logged != billed or row["estimated"] or row["state"] != "settled":
        yield f"logged {logged}, billed {billed}"
    whole = entry.input_tokens + entry.cached_tokens + entry.written_tokens
    if (answer.input_tokens, answer.output_tokens) != (whole, entry.output_tokens):
        yield f"the client was told of {answer}, billed {billed}"


def _add_up(bill: Bill, row: Mapping[str, Any], entry: LedgerEntry) -> None:
    bill.cost_nanos += row["cost_nanos"]
    bill.billed_nanos += entry.cost_nanos
    for name in ("input", "cached_input", "cache_write", "output", "reasoning"):
        bill.tokens[name] += row[f"{name}_tokens"]


async def _ask_all(url: str, key: str, calls: Sequence[Call]) -> dict[str, Answer]:
    waiting = deque(calls)
    answers: dict[str, Answer] = {}
    headers = {"authorization": f"Bearer {key}", "anthropic-version": "2023-06-01"}
    async with aiohttp.ClientSession(url, headers=headers) as session:

        async def ask_on() -> None:
            while waiting:
                call = waiting.popleft()
                answers[call.mark] = await _ask(session, call)

        await asyncio.gather(*(ask_on() for _ in range(AT_ONCE)))
    return answers


async def _ask(session: aiohttp.ClientSession, call: Call) -> Answer:
    async with session.post(call.path, json=call.body) as response:
        body = await response.read()
        usage = _usage_of(call, body) if response.status == 200 else {}
        return Answer(
            status=response.status,
            dispatch_id=response.headers.get("x-dispatch-id", ""),
            input_tokens=_input_of(call, usage),
            output_tokens=_output_of(call, usage),
        )


def _usage_of(call: Call, body: bytes) -> Mapping[str, Any]:
    """What an answer says of its tokens: in a stream, the last event but the end's mark does, and of a message the last but one."""
    if not call.body.get("stream"):
        return dict(json.loads(body)["usage"])
    told = [line.removeprefix(b"data: ") for line in body.split(b"\n") if line.startswith(b"data: {")]
    event = json.loads(told[-2] if call.path == "/v1/messages" else told[-1])
    return dict(event.get("response", event)["usage"])


def _input_of(call: Call, usage: Mapping[str, Any]) -> int:
    """All that went in; Anthropic counts what has to do with caches beside the rest."""
    if call.path != "/v1/messages":
        return int(usage.get("prompt_tokens", usage.get("input_tokens", -1)))
    names = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    return sum(usage.get(name, -1) for name in names)


def _output_of(call: Call, usage: Mapping[str, Any]) -> int:
    """All that came out; vectors are no tokens."""
    if call.path == EMBEDDINGS and usage:
        return int(usage["total_tokens"] - usage["prompt_tokens"])
    return int(usage.get("completion_tokens", usage.get("output_tokens", -1)))
