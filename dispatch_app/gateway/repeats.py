"""Carrying out a request once, however often it comes with the same idempotency key.

The ledger decides: of the dispatches of one key it admits one. What is looked up beforehand only spares the others the way.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from dispatch_app.claims import Claim, Earlier, KeptAnswer
from dispatch_app.execution.errors import DEFAULT_RETRY_AFTER_S, DispatchError, ErrorCode
from dispatch_app.execution.ports import LedgerUnavailableError
from dispatch_app.gateway.answers import send_json
from dispatch_app.gateway.errors import RequestError, error_headers
from dispatch_app.gateway.exchange import Exchange
from dispatch_app.gateway.hang_up import on_hang_up
from dispatch_app.gateway.headers import RawHeaders, id_headers, usd

MOST_ROUNDS = 3
"""How often a request that lost its key to another, which then gave it back, goes for it again."""
LOOK_PAUSES_S = (0.05, 0.1, 0.2, 0.5)
_REPLAYED = (b"idempotency-replayed", b"true")
_IN_VAIN = (b"x-should-retry", b"false")


async def once(exchange: Exchange, answer: Callable[[], Awaitable[None]]) -> None:
    """Have a request answered by `answer`, unless its key stands for another: then tell what became of that.

    :raises DispatchError: if `answer` does, or the key was used for another request, or is being used.
    """
    claim = exchange.claim
    if claim is None:
        await answer()
        return
    for _ in range(MOST_ROUNDS):
        earlier = await _ended(exchange, claim)
        if earlier is not None and not earlier.may_run_again:
            await _tell(exchange, earlier)
            return
        try:
            await answer()
        except DispatchError as error:
            if _has_begun(exchange) and error.code is not ErrorCode.CLIENT_DISCONNECTED:
                await keep(exchange, exchange.render_error(error), status=error.status)
            if _has_begun(exchange) or error.code is not ErrorCode.IDEMPOTENCY_KEY_IN_FLIGHT:
                raise
        else:
            return
    raise _in_flight()


async def keep(exchange: Exchange, body: bytes, *, status: int = 200) -> None:
    """Keep an answer that may be asked for again, before it is sent. Does nothing for a request without a key."""
    claim = exchange.claim
    if claim is not None and claim.replays:
        answer = KeptAnswer(status=status, body=body)
        await exchange.services.key_book.keep(claim, dispatch_id=exchange.id, answer=answer)


def _has_begun(exchange: Exchange) -> bool:
    return exchange.dispatch is not None and exchange.dispatch.progress.attempts > 0


async def _ended(exchange: Exchange, claim: Claim) -> Earlier | None:
    """What the key stands for; while that is in flight, it is waited for as long as the caller likes to."""
    earlier = await _find(exchange, claim)
    if earlier is None or not earlier.is_in_flight or not earlier.is_of_same_body or not claim.wait_s:
        return earlier
    is_gone = asyncio.Event()
    give_up_at = exchange.services.clock.monotonic() + claim.wait_s
    pauses_s = iter(LOOK_PAUSES_S)
    async with on_hang_up(exchange.receive, is_gone.set):
        while earlier is not None and earlier.is_in_flight and not is_gone.is_set():
            left_s = give_up_at - exchange.services.clock.monotonic()
            if left_s <= 0:
                break
            await asyncio.sleep(min(next(pauses_s, LOOK_PAUSES_S[-1]), left_s))
            earlier = await _find(exchange, claim)
    return earlier


async def _find(exchange: Exchange, claim: Claim) -> Earlier | None:
    try:
        return await exchange.services.key_book.find(claim)
    except LedgerUnavailableError as error:
        raise DispatchError(
            status=503, code=ErrorCode.LEDGER_UNAVAILABLE, retry_after_s=error.retry_after_s
        ) from error


async def _tell(exchange: Exchange, earlier: Earlier) -> None:
    """Answer in the name of an earlier dispatch.

    :raises RequestError: if that was of another request.
    """
    if not earlier.is_of_same_body:
        raise RequestError(status=422, code=ErrorCode.IDEMPOTENCY_KEY_MISMATCH, param="idempotency-key")
    headers = _headers(earlier, request_id_header=exchange.half.request_id_header)
    kept = None if earlier.is_in_flight or earlier.is_unknown else earlier.answer
    if kept is not None:
        headers = [*headers, _REPLAYED] if kept.status < 400 else [*headers, _REPLAYED, _IN_VAIN]
        await send_json(exchange.send, kept.body, headers=headers, status=kept.status)
        return
    error = _error_of(earlier)
    body = msgspec.json.decode(exchange.render_error(error)) | {"dispatch": _details(earlier)}
    await send_json(
        exchange.send,
        msgspec.json.encode(body),
        headers=headers + error_headers(error),
        status=error.status,
    )


def _error_of(earlier: Earlier) -> DispatchError:
    if earlier.is_in_flight:
        return _in_flight()
    code = ErrorCode.OUTCOME_UNKNOWN if earlier.is_unknown else ErrorCode.IDEMPOTENCY_KEY_USED
    return DispatchError(status=409, code=code)


def _in_flight() -> DispatchError:
    return DispatchError(
        status=409, code=ErrorCode.IDEMPOTENCY_KEY_IN_FLIGHT, retry_after_s=DEFAULT_RETRY_AFTER_S
    )


def _headers(earlier: Earlier, *, request_id_header: bytes) -> RawHeaders:
    return [
        *id_headers(earlier.dispatch_id, request_id_header),
        (b"x-dispatch-status", earlier.status.encode()),
        (b"x-dispatch-cost-usd", usd(earlier.cost_nanos).encode()),
    ]


def _details(earlier: Earlier) -> dict[str, Any]:
    return {
        "id": str(earlier.dispatch_id),
        "status": earlier.status,
        "cost_usd": usd(earlier.cost_nanos),
        "cost_nanos": earlier.cost_nanos,
    }
