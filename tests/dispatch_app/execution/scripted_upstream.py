"""An upstream that does what a test tells it, and a sink that a test reads."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from dispatch_app.execution.canonical import Choice, ChunkChoice, Reply, StreamPart
from dispatch_app.execution.errors import UpstreamError
from dispatch_app.execution.ports import UpstreamCall
from policies_app.routing.types import Usage

USAGE = Usage(input_tokens=10, output_tokens=5)

Act = UpstreamError | Usage | None
Scene = list[StreamPart | UpstreamError | Callable[[], None]]


@dataclass(kw_only=True)
class ScriptedUpstream:
    """Each call takes the next act: an error to raise, or the usage to report (None: no report)."""

    acts: list[Act] = field(default_factory=list)
    scenes: list[Scene] = field(default_factory=list)
    calls: list[UpstreamCall] = field(default_factory=list)
    closed_streams: int = 0

    async def complete(self, call: UpstreamCall) -> Reply:
        self.calls.append(call)
        await asyncio.sleep(0)
        act = self.acts.pop(0)
        if isinstance(act, UpstreamError):
            raise act
        choice = Choice(message={"role": "assistant", "content": "Hi"}, finish_reason="stop")
        now = asyncio.get_running_loop().time()
        return Reply(
            model=call.candidate.model.wire_name,
            choices=[choice],
            usage=act,
            wire_status=200,
            first_byte_at=now,
        )

    @asynccontextmanager
    async def stream(self, call: UpstreamCall) -> AsyncIterator[AsyncIterator[StreamPart]]:
        self.calls.append(call)
        scene = self.scenes.pop(0)
        if scene and isinstance(scene[0], UpstreamError):
            raise scene[0]
        try:
            yield self._play(scene)
        finally:
            self.closed_streams += 1

    async def _play(self, scene: Scene) -> AsyncIterator[StreamPart]:
        for step in scene:
            await asyncio.sleep(0)
            if isinstance(step, UpstreamError):
                raise step
            if isinstance(step, StreamPart):
                yield step
            else:
                step()
                await asyncio.sleep(0.01)


@dataclass(kw_only=True)
class CollectingSink:
    """Keeps what it is offered, as long as there is room."""

    room: int = 1_000
    parts: list[StreamPart] = field(default_factory=list)
    is_abandoned: bool = False
    callback: Callable[[], None] | None = None

    def on_abandoned(self, callback: Callable[[], None] | None) -> None:
        self.callback = callback
        if self.is_abandoned and callback is not None:
            callback()

    def offer(self, part: StreamPart) -> bool:
        if len(self.parts) >= self.room:
            return False
        self.parts.append(part)
        return True

    async def put(self, part: StreamPart) -> None:
        while not self.offer(part):  # noqa: ASYNC110 - a test changes the room from outside
            await asyncio.sleep(0.001)

    def abandon(self) -> None:
        self.is_abandoned = True
        if self.callback is not None:
            self.callback()

    @property
    def text(self) -> str:
        return "".join(choice.delta.get("content", "") for part in self.parts for choice in part.choices)


def delta(text: str, *, index: int = 0) -> StreamPart:
    return StreamPart(
        model="sandbox-small", choices=[ChunkChoice(index=index, delta={"content": text})], usage=None
    )


def finish(*, index: int = 0, usage: Usage | None = None) -> StreamPart:
    choice = ChunkChoice(index=index, delta={}, finish_reason="stop")
    return StreamPart(model="sandbox-small", choices=[choice], usage=usage)


def report(usage: Usage | None = USAGE) -> StreamPart:
    return StreamPart(model="sandbox-small", choices=[], usage=usage)
