"""Taking a vendor's stream in: to keep it, or to hand it to the client part by part."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from dispatch_app.execution.attempt import RunningAttempt
from dispatch_app.execution.canonical import ChunkChoice, StreamPart
from dispatch_app.execution.errors import (
    DeadlineExceededError,
    InvalidReplyError,
    SupersededError,
    TruncatedError,
)
from dispatch_app.execution.ports import Clock, Sink
from policies_app.routing.types import Usage

Claim = Callable[[RunningAttempt], bool]
"""Asked at the first byte of an attempt: whether it may go on, or another one came before it."""


@dataclass(slots=True, kw_only=True)
class Delivered:
    """What has reached the client of an answer that is streamed straight through.

    `text` is the answer so far, None where there is more to it than one text that somebody else could carry on.
    """

    has_begun: bool = False
    parts: int = 0
    text: str | None = ""

    def add(self, part: StreamPart) -> None:
        self.has_begun = True
        self.parts += 1
        for choice in part.choices:
            extra = {name for name, value in choice.delta.items() if value} - {"role", "content"}
            said = choice.delta.get("content") or ""
            is_plain = choice.index == 0 and not extra and isinstance(said, str)
            self.text = self.text + said if is_plain and self.text is not None else None


class Reception:
    """Notes what the parts of one attempt say of it, and whether they come to a whole answer."""

    def __init__(self, *, attempt: RunningAttempt, clock: Clock, claim: Claim | None = None) -> None:
        self.attempt = attempt
        self._clock = clock
        self._claim = claim
        self._has_choices = False
        self._finished: set[int] = set()
        self.usage: Usage | None = None
        self.model = ""

    def note(self, part: StreamPart) -> StreamPart:
        """Take note of a part; return it without what repeats the end of a choice.

        :raises SupersededError: if another attempt had its first byte before this one.
        """
        attempt = self.attempt
        # What was generated is paid for, also if it came too late.
        attempt.received_bytes += part.generated_bytes
        self.usage = part.usage or self.usage
        self.model = part.model or self.model
        if attempt.first_byte_at is None:
            attempt.first_byte_at = self._clock.monotonic()
            if self._claim is not None and not self._claim(attempt):
                raise SupersededError(wire_status=200)
        return self._note_choices(part) if part.choices else part

    @property
    def final_usage(self) -> Usage | None:
        """What the vendor reported once all choices were complete. What it says in their midst is no last word."""
        return self.usage if len(self._finished) >= self.attempt.request.choices else None

    def end(self) -> None:
        """The vendor says that this was all.

        :raises InvalidReplyError: if there was nothing in it.
        :raises TruncatedError: if none of its choices was brought to an end.
        """
        if not self._has_choices:
            # Here nothing was broken off: what was reported is the vendor's last word.
            raise InvalidReplyError(wire_status=200, usage=self.usage)
        if not self._finished:
            raise TruncatedError(wire_status=200)

    def _note_choices(self, part: StreamPart) -> StreamPart:
        self._has_choices = True
        news = [choice for choice in part.choices if not self._is_repeated_end(choice)]
        self._finished |= {choice.index for choice in news if choice.finish_reason is not None}
        if len(news) == len(part.choices):
            return part
        return StreamPart(model=part.model, choices=news, usage=part.usage)

    def _is_repeated_end(self, choice: ChunkChoice) -> bool:
        return choice.finish_reason is not None and choice.index in self._finished


@dataclass(slots=True, kw_only=True)
class Collecting:
    """Keeps an answer until it is accepted."""

    reception: Reception
    parts: list[StreamPart] = field(default_factory=list)

    async def take(self, part: StreamPart) -> None:
        """Keep a part."""
        self.parts.append(self.reception.note(part))


class Forwarding:
    """Hands an answer to the client as it comes, but for its last part, which waits until the dispatch is settled."""

    def __init__(self, *, reception: Reception, sink: Sink, delivered: Delivered) -> None:
        self.parts: list[StreamPart] = []
        self._reception = reception
        self._sink = sink
        self._deadline_at = reception.attempt.deadline_at
        self._unfinished = reception.attempt.request.choices
        self._delivered = delivered
        self._continues = delivered.has_begun

    async def take(self, part: StreamPart) -> None:
        """Forward a part, or keep it if it is among the last."""
        part = self._reception.note(part)
        if not part.choices:
            # Nothing for the client: the stream has not begun by it.
            return
        if self._continues:
            part = _without_role(part)
        self._unfinished -= part.finished_choices
        if self._unfinished > 0:
            await self._forward(part)
        else:
            self.parts.append(part)

    async def _forward(self, part: StreamPart) -> None:
        self._delivered.add(part)
        if not self._sink.offer(part):
            await self._put(part)

    async def _put(self, part: StreamPart) -> None:
        """Wait for a client that is behind.

        :raises DeadlineExceededError: if that takes too long; while nobody reads the vendor's answer, nobody else notices.
        """
        try:
            async with asyncio.timeout_at(self._deadline_at):
                await self._sink.put(part)
        except TimeoutError as timeout:
            raise DeadlineExceededError(wire_status=200) from timeout


def _without_role(part: StreamPart) -> StreamPart:
    """A part of an answer that the client has the beginning of: nobody starts to speak anew."""
    return StreamPart(
        model=part.model,
        usage=part.usage,
        choices=[
            ChunkChoice(
                index=choice.index,
                delta={name: value for name, value in choice.delta.items() if name != "role"},
                logprobs=choice.logprobs,
                finish_reason=choice.finish_reason,
            )
            for choice in part.choices
        ],
    )
