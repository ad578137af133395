"""`POST /v1/chat/completions` and its like: a conversation's next turn, plain and streamed, in the caller's own format."""

import logging
from collections.abc import Awaitable, Callable

from dispatch_app.execution.assembly import assemble
from dispatch_app.execution.canonical import Reply, StreamPart
from dispatch_app.execution.dispatcher import Dispatch, StreamTail
from dispatch_app.execution.errors import DispatchError, ErrorCode
from dispatch_app.gateway.answers import end_events, send_event, send_json, start_events
from dispatch_app.gateway.exchange import Exchange, carry_out, inputs_of
from dispatch_app.gateway.hang_up import on_hang_up
from dispatch_app.gateway.prompt import Prompt
from dispatch_app.gateway.repeats import keep, once
from dispatch_app.gateway.streaming import StreamQueue
from dispatch_app.gateway.trace import dispatch_details
from policies_app.routing.codes import Strategy

logger = logging.getLogger(__name__)

HEARTBEAT_S = 10.0
"""How long a stream may be silent; proxies on the way cut connections that are so for a minute."""
_KEEPING_BACK = frozenset({Strategy.CASCADE, Strategy.PARALLEL})
"""Strategies that give an answer only when it is whole."""


async def chat(exchange: Exchange) -> None:
    """Answer one request."""
    caller, key, body = await exchange.open()
    prompt = exchange.half.parse(body)
    inputs = inputs_of(caller, prompt.metadata)
    exchange.make_claim(caller, key=key, body=body)

    async def answer() -> None:
        dispatch = await exchange.admit(key=key, prompt=prompt, inputs=inputs)
        if prompt.request.stream:
            await _answer_with_stream(exchange, dispatch, prompt, is_verbose=caller.wants_trace)
        else:
            await _answer_with_reply(exchange, dispatch, prompt, is_verbose=caller.wants_trace)

    await once(exchange, answer)


async def _answer_with_reply(
    exchange: Exchange, dispatch: Dispatch, prompt: Prompt, *, is_verbose: bool
) -> None:
    reply = await carry_out(exchange, dispatch)
    body = _rendered(exchange, dispatch, prompt, reply, is_verbose=is_verbose)
    await keep(exchange, body)
    await send_json(exchange.send, body, headers=exchange.final_headers())


def _rendered(
    exchange: Exchange, dispatch: Dispatch, prompt: Prompt, reply: Reply, *, is_verbose: bool
) -> bytes:
    return exchange.half.render_reply(
        reply=reply,
        dispatch_id=exchange.id.hex,
        created=int(exchange.now.timestamp()),
        model=dispatch.progress.model_name,
        usage=dispatch.progress.usage,
        details=dispatch_details(exchange, dispatch) if is_verbose else None,
        prompt=prompt,
    )


async def _answer_with_stream(
    exchange: Exchange, dispatch: Dispatch, prompt: Prompt, *, is_verbose: bool
) -> None:
    is_kept = exchange.claim is not None and exchange.claim.replays
    queue = StreamQueue(remembers=is_kept)

    async def keep_whole(tail: StreamTail) -> None:
        whole = assemble([*queue.remembered, *tail.parts], wire_status=200, first_byte_at=0.0)
        await keep(exchange, _rendered(exchange, dispatch, prompt, whole, is_verbose=is_verbose))

    owned = _own(dispatch, queue, keep_whole=keep_whole if is_kept else None)
    exchange.own(owned)
    try:
        async with on_hang_up(exchange.receive, queue.abandon):
            await _StreamedAnswer(exchange, dispatch, prompt, is_verbose=is_verbose).send(queue)
    finally:
        queue.abandon()


class _StreamedAnswer:
    """Sends what a queue brings, until its last item.

    The response begins with the first part, so that whatever happened before it can still be told by a status. Answers
    that are kept until they are accepted can take long: theirs may begin with a heartbeat.
    """

    def __init__(self, exchange: Exchange, dispatch: Dispatch, prompt: Prompt, *, is_verbose: bool) -> None:
        self._exchange = exchange
        self._dispatch = dispatch
        self._is_verbose = is_verbose
        self._is_kept_back = dispatch.order.plan.strategy in _KEEPING_BACK
        self._has_begun = False
        self._renderer = exchange.half.render_stream(
            dispatch_id=exchange.id,
            created=int(exchange.now.timestamp()),
            prompt=prompt,
        )

    async def send(self, queue: StreamQueue) -> None:
        """Send all of it.

        :raises DispatchError: if there is nothing to send and the response has not begun.
        """
        send = self._exchange.send
        while True:
            item = await queue.get(within_s=self._patience_s)
            if isinstance(item, DispatchError) and not self._has_begun:
                raise item
            await self._begin()
            if item is None:
                await send_event(send, self._exchange.half.heartbeat)
            elif isinstance(item, StreamPart):
                await send_event(send, self._renderer.part(item, model=self._model))
            else:
                await end_events(send, self._last_event(item))
                return

    @property
    def _patience_s(self) -> float | None:
        return HEARTBEAT_S if self._has_begun or self._is_kept_back else None

    @property
    def _model(self) -> str:
        return self._dispatch.progress.model_name

    async def _begin(self) -> None:
        if not self._has_begun:
            await start_events(self._exchange.send, headers=self._exchange.headers())
            self._has_begun = True

    def _last_event(self, item: StreamTail | DispatchError) -> bytes:
        if isinstance(item, DispatchError):
            return self._renderer.error(item)
        held_back = b"".join(self._renderer.part(part, model=self._model) for part in item.parts)
        return held_back + self._renderer.end(
            model=self._model,
            usage=self._dispatch.progress.usage,
            details=dispatch_details(self._exchange, self._dispatch, is_verbose=self._is_verbose),
            is_verbose=self._is_verbose,
        )


async def _own(
    dispatch: Dispatch, queue: StreamQueue, *, keep_whole: Callable[[StreamTail], Awaitable[None]] | None
) -> None:
    """Carry a streamed dispatch out to its settlement, whether or not somebody still reads."""
    try:
        tail = await dispatch.stream(queue)
        if keep_whole is not None:
            await keep_whole(tail)
        queue.end(tail)
    except DispatchError as error:
        queue.end(error)
    except Exception:
        logger.exception("Unable to carry out a streamed dispatch.")
        queue.end(DispatchError(status=500, code=ErrorCode.INTERNAL_ERROR))
