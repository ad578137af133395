"""Models that act as a test tells them: when they answer, what, and how sure they are."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from dispatch_app.execution.canonical import Choice, ChunkChoice, Reply, StreamPart
from dispatch_app.execution.errors import DeadlineExceededError, UpstreamError
from dispatch_app.execution.ports import UpstreamCall
from policies_app.routing.types import Usage

USAGE = Usage(input_tokens=10, output_tokens=5)


@dataclass(frozen=True, kw_only=True)
class Act:
    """One answer: after `delay_s`, `text` in `pieces` with pauses of `pause_s`; or `error`, after `breaks_after` pieces.

    `refuses` has the errors that credentials meet, by name.
    """

    text: str = "Hi"
    delay_s: float = 0.0
    pieces: int = 2
    pause_s: float = 0.0
    error: UpstreamError | None = None
    breaks_after: int = 0
    probabilities: tuple[float, ...] = ()
    finish_reason: str = "stop"
    message: dict[str, Any] = field(default_factory=dict)
    usage: Usage | None = USAGE
    refuses: Mapping[str, UpstreamError] = field(default_factory=dict)


@dataclass(kw_only=True)
class ActingFleet:
    """Each model takes its next act; the last one stays."""

    acts: dict[str, list[Act]]
    calls: list[UpstreamCall] = field(default_factory=list)
    running: set[str] = field(default_factory=set)
    stopped: list[str] = field(default_factory=list)

    @property
    def asked(self) -> list[str]:
        return [call.candidate.model.name for call in self.calls]

    async def complete(self, call: UpstreamCall) -> Reply:
        act = self._enter(call)
        async with self._present(call):
            await _wait(act.delay_s + act.pieces * act.pause_s, call)
            if act.error is not None:
                raise act.error
        message = {"role": "assistant", "content": act.text, **act.message}
        return Reply(
            model=call.candidate.model.wire_name,
            choices=[Choice(message=message, logprobs=_logprobs(act, call), finish_reason=act.finish_reason)],
            usage=act.usage,
            wire_status=200,
            first_byte_at=asyncio.get_running_loop().time(),
        )

    @asynccontextmanager
    async def stream(self, call: UpstreamCall) -> AsyncIterator[AsyncIterator[StreamPart]]:
        act = self._enter(call)
        async with self._present(call):
            await _wait(act.delay_s, call)
            if act.error is not None and not act.breaks_after:
                raise act.error
            yield self._play(act, call)

    async def _play(self, act: Act, call: UpstreamCall) -> AsyncIterator[StreamPart]:
        size = max(1, -(-len(act.text) // act.pieces))
        model = call.candidate.model.wire_name
        for number, start in enumerate(range(0, len(act.text), size)):
            if act.error is not None and number >= act.breaks_after:
                raise act.error
            delta: dict[str, Any] = {"content": act.text[start : start + size]}
            if number == 0:
                delta |= {"role": "assistant", **act.message}
            logprobs = _logprobs(act, call) if number == 0 else None
            yield StreamPart(model=model, choices=[ChunkChoice(delta=delta, logprobs=logprobs)], usage=None)
            await _wait(act.pause_s, call)
        if act.error is not None:
            raise act.error
        yield StreamPart(
            model=model, choices=[ChunkChoice(delta={}, finish_reason=act.finish_reason)], usage=None
        )
        yield StreamPart(model=model, choices=[], usage=act.usage)

    def _enter(self, call: UpstreamCall) -> Act:
        self.calls.append(call)
        acts = self.acts[call.candidate.model.name]
        act = acts.pop(0) if len(acts) > 1 else acts[0]
        refused = act.refuses.get(call.credential.name)
        return act if refused is None else replace(act, error=refused)

    @asynccontextmanager
    async def _present(self, call: UpstreamCall) -> AsyncIterator[None]:
        name = call.candidate.model.name
        self.running.add(name)
        try:
            yield
        except asyncio.CancelledError:
            self.stopped.append(name)
            raise
        finally:
            self.running.discard(name)


async def _wait(seconds: float, call: UpstreamCall) -> None:
    """Sleep, as a vendor does, until the attempt's deadline at most."""
    loop = asyncio.get_running_loop()
    left_s = call.deadline_at - loop.time()
    await asyncio.sleep(max(0.0, min(seconds, left_s)))
    if seconds > left_s:
        raise DeadlineExceededError


def _logprobs(act: Act, call: UpstreamCall) -> dict[str, Any] | None:
    """Only for those who ask, as vendors do."""
    from math import log

    if not act.probabilities or not call.request.fields.get("logprobs"):
        return None
    return {
        "content": [
            {
                "token": "t",
                "logprob": log(chance),
                "top_logprobs": [
                    {"token": "t", "logprob": log(chance)},
                    {"token": "u", "logprob": log(max(1 - chance, 1e-9))},
                ],
            }
            for chance in act.probabilities
        ]
    }
