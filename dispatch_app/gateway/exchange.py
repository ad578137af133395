"""One request to the data plane: who calls, with what, and the headers that its answer has come to so far."""

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from starlette.types import Receive, Scope, Send

from dispatch_app.claims import Claim
from dispatch_app.execution.canonical import Reply
from dispatch_app.execution.dispatcher import Dispatch
from dispatch_app.execution.errors import DispatchError, ErrorCode
from dispatch_app.execution.ports import DispatchOutcome, LedgerUnavailableError
from dispatch_app.gateway.admission import Admission, Inputs, decide, order_of
from dispatch_app.gateway.authentication import authenticate
from dispatch_app.gateway.body import read_body
from dispatch_app.gateway.claims import claim_of
from dispatch_app.gateway.client_half import ClientHalf
from dispatch_app.gateway.errors import RequestError
from dispatch_app.gateway.hang_up import on_hang_up
from dispatch_app.gateway.headers import (
    CallerHeaders,
    RawHeaders,
    checked_tags,
    checked_task,
    cost_headers,
    decision_headers,
    dropped_headers,
    id_headers,
    progress_headers,
    read_headers,
)
from dispatch_app.gateway.prompt import Prompt
from dispatch_app.gateway.rate_limits import rate_limit_headers, reached
from dispatch_app.gateway.services import Services, new_id
from dispatch_app.limits.leave import Leave, LimitReachedError
from dispatch_app.limits.models import tokens_bound
from dispatch_app.limits.standing import Standing
from dispatch_app.snapshot.types import RateLimits, ServedKey
from policies_app.routing.codes import DispatchStatus, DropReason, RefusalCode
from policies_app.routing.types import Decision, RoutePlan

T = TypeVar("T")

_UNFIT = frozenset({DropReason.LACKS_CAPABILITY, DropReason.CONTEXT_TOO_SMALL})
"""Why a model is left out for what the request is, whatever the moment."""


@dataclass(slots=True, kw_only=True)
class Exchange:
    """Grows as the request is read, decided and carried out.

    `half` is what the caller speaks, `owner` the task that carries it out. `leaves` is what it took of the caller's rate limits, and `standings` how they
    stood then.
    """

    services: Services
    scope: Scope
    receive: Receive
    send: Send
    half: ClientHalf
    received_at: float
    now: datetime
    id: UUID = field(default_factory=new_id)
    admission: Admission | None = None
    dispatch: Dispatch | None = None
    claim: Claim | None = None
    owner: asyncio.Task[Any] | None = None
    leaves: list[Leave] = field(default_factory=list)
    standings: tuple[Standing, ...] = ()
    _counts_tokens: bool = False

    @classmethod
    def begin(
        cls, services: Services, scope: Scope, receive: Receive, send: Send, *, half: ClientHalf
    ) -> "Exchange":
        """Take up a request, now, of a caller whose format is that of `half`."""
        clock = services.clock
        return cls(
            services=services,
            scope=scope,
            receive=receive,
            send=send,
            half=half,
            received_at=clock.monotonic(),
            now=clock.now(),
        )

    def headers(self) -> RawHeaders:
        """Everything that is known by now and that an answer says in headers, but for costs."""
        headers = id_headers(self.id, self.half.request_id_header) + rate_limit_headers(self.standings)
        if self.admission is not None:
            headers += decision_headers(self.admission.decision, self.admission.reason)
        if self.dispatch is not None:
            headers += progress_headers(self.dispatch.progress)
            headers += dropped_headers(self.dispatch)
        return headers

    def render_error(self, error: DispatchError) -> bytes:
        """What the caller is told of an error, in its format."""
        return self.half.render_error(error, dispatch_id=self.id)

    def final_headers(self) -> RawHeaders:
        """The same with costs, for a dispatch that is over."""
        if self.dispatch is None:
            return self.headers()
        return self.headers() + cost_headers(self.dispatch.progress, overhead_s=self.overhead_s)

    @property
    def overhead_s(self) -> float:
        """Seconds that were spent here, and not on the vendor."""
        upstream_s = 0.0 if self.dispatch is None else self.dispatch.progress.upstream_s
        return max(0.0, self.services.clock.monotonic() - self.received_at - upstream_s)

    def authenticate(self, caller: CallerHeaders) -> ServedKey:
        """The key that the caller presents.

        :raises RequestError: if it presents none that may be used.
        """
        services = self.services
        return authenticate(
            caller.authorization, keys=services.snapshot().keys, pepper=services.pepper, now=self.now
        )

    async def open(self) -> tuple[CallerHeaders, ServedKey, bytes]:
        """Read a request with a body: its headers first, then who calls and how often, and only then the body.

        :raises RequestError: if anything about these is wrong.
        :raises DispatchError: if the caller has rate limits, and how they stand is not to be known.
        """
        caller = read_headers(self.scope)
        key = self.authenticate(caller)
        if key.door_limits:
            await self._take(key.door_limits)
        body = await read_body(self.scope, self.receive, limit=self.services.limits.body_bytes)
        return caller, key, body

    def make_claim(self, caller: CallerHeaders, *, key: ServedKey, body: bytes) -> None:
        """Note which idempotency key the request comes with, if any. Its body must have been parsed."""
        self.claim = claim_of(
            caller, key=key, endpoint=self.scope["path"], body=body, pepper=self.services.pepper
        )

    def decide(self, *, key: ServedKey, prompt: Prompt, inputs: Inputs, is_draft: bool = False) -> Admission:
        """Decide the request, by the snapshot of the moment.

        :raises RequestError: if the key may not use what the prompt names.
        """
        self.admission = decide(
            snapshot=self.services.snapshot(),
            budget_usage=self.services.budget_usage,
            fleet=self.services.fleet.current,
            key=key,
            prompt=prompt,
            inputs=inputs,
            dispatch_id=self.id,
            now=self.now,
            is_draft=is_draft,
        )
        return self.admission

    async def admit(self, *, key: ServedKey, prompt: Prompt, inputs: Inputs) -> Dispatch:
        """Decide the request and make a dispatch of it. A refusal is logged before it is raised.

        :raises DispatchError: if the request is refused.
        """
        self.services.require_leave_to_admit()
        admission = self.decide(key=key, prompt=prompt, inputs=inputs)
        plan = admission.decision.plan
        if plan is None:
            raise await self._refuse(admission)
        await self._count_tokens(key, admission, plan)
        order = order_of(
            admission,
            plan=plan,
            received_at=self.received_at,
            timeout_ms=inputs.timeout_ms,
            now=self.now,
            key=None if self.claim is None else self.claim.key,
        )
        self.dispatch = self.services.dispatch(order)
        return self.dispatch

    def own(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Have `work` carry the dispatch out to its end, whoever waits for it."""
        self.owner = owner = self.services.owners.start(work, dispatch=self.dispatch)
        return owner

    def close(self) -> None:
        """The request is answered. What it holds of rate limits goes back once its dispatch is over, too."""
        if self.owner is None or self.owner.done():
            self._end_leaves()
        else:
            self.owner.add_done_callback(lambda _: self._end_leaves())

    async def _count_tokens(self, key: ServedKey, admission: Admission, plan: RoutePlan) -> None:
        """Take the most that the answer of one model can come to, once for a request; what is too much goes back."""
        if key.token_limits and not self._counts_tokens:
            tokens = max(tokens_bound(candidate, admission.facts) for candidate in plan.candidates)
            await self._take(key.token_limits, tokens=tokens)
            self._counts_tokens = True

    async def _take(self, limits: RateLimits, *, tokens: int = 0) -> None:
        try:
            leave = await self.services.rates.take(limits, tokens=tokens)
        except LimitReachedError as error:
            self.standings += error.standings
            raise reached(error) from error
        except LedgerUnavailableError as error:
            raise DispatchError(
                status=503, code=ErrorCode.LEDGER_UNAVAILABLE, retry_after_s=error.retry_after_s
            ) from error
        self.leaves.append(leave)
        self.standings += leave.standings

    def _end_leaves(self) -> None:
        tokens = 0 if self.dispatch is None else self.dispatch.progress.tokens
        for leave in self.leaves:
            leave.end(tokens=tokens)

    async def _refuse(self, admission: Admission) -> DispatchError:
        error = _refusal_of(admission.decision)
        elapsed_s = self.services.clock.monotonic() - self.received_at
        outcome = DispatchOutcome(
            status=DispatchStatus.REFUSED,
            error_code=error.code.value,
            model_id=None,
            provider_id=None,
            baseline_cost_nanos=None,
            total_ms=round(elapsed_s * 1000),
            first_byte_ms=None,
            overhead_us=round(elapsed_s * 1_000_000),
            finished_at=self.services.clock.now(),
        )
        await self.services.ledger.finish(dispatch=admission.record, outcome=outcome)
        return error


def _refusal_of(decision: Decision) -> DispatchError:
    """What the caller is told of a decision that is none. What no model can ever do is not worth asking for again."""
    code = RefusalCode.NO_TARGET_AVAILABLE if decision.refusal is None else decision.refusal.code
    error = DispatchError.of_refusal(code)
    is_unfit = bool(decision.dropped) and all(drop.reason in _UNFIT for drop in decision.dropped)
    if code is not RefusalCode.NO_TARGET_AVAILABLE or not is_unfit:
        return error
    return RequestError(
        status=error.status,
        code=error.code,
        detail="No model can take what this request asks for. The header x-dispatch-reason says what each lacks.",
        is_in_vain=True,
    )


async def carry_out(exchange: Exchange, dispatch: Dispatch) -> Reply:
    """The reply of a plain dispatch. It is carried out to its settlement, whether or not the client waits for it.

    :raises DispatchError: if it comes to nothing.
    """
    owner = exchange.own(dispatch.complete())
    async with on_hang_up(exchange.receive, dispatch.hang_up):
        return await asyncio.shield(owner)


def inputs_of(caller: CallerHeaders, metadata: Mapping[str, str]) -> Inputs:
    """What a caller of a compatible endpoint says beside its prompt. Headers stand before metadata.

    :raises RequestError: if metadata is no set of tags, or its task no task.
    """
    if not metadata:
        return Inputs(task=caller.task or "", tags=caller.tags, timeout_ms=caller.timeout_ms)
    tags = {name: value for name, value in metadata.items() if name != "task"} | dict(caller.tags)
    task = caller.task if caller.task is not None else checked_task(metadata.get("task", ""))
    return Inputs(task=task, tags=checked_tags(tags), timeout_ms=caller.timeout_ms)
