"""Streams whose answer is kept back until it is accepted: the connection shows that it is alive meanwhile."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from dispatch_app.execution.dispatcher import StreamTail
from dispatch_app.execution.errors import DispatchError, ErrorCode
from dispatch_app.execution.progress import Progress
from dispatch_app.gateway import chat
from dispatch_app.gateway.openai_chat import OPENAI_CHAT, parse_chat
from dispatch_app.gateway.streaming import StreamQueue
from policies_app.routing.codes import Strategy
from tests.dispatch_app.execution.scripted_upstream import delta

BODY = b'{"model": "auto", "messages": [{"role": "user", "content": "?"}], "stream": true}'


class Told:
    """Stands for the exchange: what it is told to send."""

    def __init__(self) -> None:
        from datetime import UTC, datetime

        self.id = UUID(int=1)
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.half = OPENAI_CHAT
        self.sent: list[Any] = []

    async def send(self, message: Any) -> None:
        self.sent.append(message.get("body") or message["type"])

    def headers(self) -> list[tuple[bytes, bytes]]:
        return []

    overhead_s = 0.0
    admission = None


class Deciding:
    """Stands for the dispatch: its strategy, and how far it is."""

    def __init__(self, strategy: Strategy) -> None:
        plan = type("Plan", (), {"strategy": strategy})
        self.order = type("Order", (), {"plan": plan})
        self.progress = Progress()


async def answer(strategy: Strategy, queue: StreamQueue, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    monkeypatch.setattr(chat, "HEARTBEAT_S", 0.02)
    told = Told()
    streamed = chat._StreamedAnswer(told, Deciding(strategy), parse_chat(BODY), is_verbose=False)  # type: ignore[arg-type]
    try:
        await streamed.send(queue)
    except DispatchError as error:
        told.sent.append(error)
    return told.sent


@pytest.mark.parametrize("strategy", [Strategy.CASCADE, Strategy.PARALLEL])
async def test_comments_keep_the_connection_alive_until_the_answer_is_accepted(
    strategy: Strategy, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = StreamQueue()
    asyncio.get_running_loop().call_later(
        0.07, lambda: queue.end(StreamTail(parts=[delta("Four.")], usage=None))
    )

    sent = await answer(strategy, queue, monkeypatch)

    assert sent[0] == "http.response.start"
    assert sent[1:-1] == [b": still at it\n\n"] * len(sent[1:-1])
    assert len(sent) >= 4
    assert b"Four." in sent[-1]
    assert sent[-1].endswith(b"data: [DONE]\n\n")


async def test_a_failure_after_a_comment_is_the_last_event_and_no_end_mark_follows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    queue = StreamQueue()
    error = DispatchError(status=502, code=ErrorCode.NO_VALID_ANSWER)
    asyncio.get_running_loop().call_later(0.05, lambda: queue.end(error))

    sent = await answer(Strategy.CASCADE, queue, monkeypatch)

    assert b"no_valid_answer" in sent[-1]
    assert b"[DONE]" not in sent[-1]


@pytest.mark.parametrize("strategy", [Strategy.FAILOVER, Strategy.HEDGED, Strategy.SINGLE])
async def test_where_nothing_is_kept_back_a_failure_before_the_first_part_is_a_status(
    strategy: Strategy, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = StreamQueue()
    error = DispatchError(status=502, code=ErrorCode.UPSTREAM_INVALID)
    asyncio.get_running_loop().call_later(0.07, lambda: queue.end(error))

    assert await answer(strategy, queue, monkeypatch) == [error]


async def test_a_failure_before_the_first_comment_is_a_status(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = StreamQueue()
    error = DispatchError(status=429, code=ErrorCode.RATE_LIMIT_EXCEEDED)
    queue.end(error)

    assert await answer(Strategy.PARALLEL, queue, monkeypatch) == [error]


async def test_a_stream_that_falls_silent_half_way_is_kept_alive_too(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = StreamQueue()
    queue.offer(delta("Fo"))
    asyncio.get_running_loop().call_later(
        0.05, lambda: queue.end(StreamTail(parts=[delta("ur.")], usage=None))
    )

    sent = await answer(Strategy.FAILOVER, queue, monkeypatch)

    assert b"Fo" in sent[1]
    assert sent[2] == b": still at it\n\n"
