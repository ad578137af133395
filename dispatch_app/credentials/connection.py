"""Tests of credentials: one small call of a model of the provider, with that credential and no other.

A test is a dispatch like any other, of a tenant of its own: reserved on that tenant's budget, sent by the dispatcher under the
same guard, logged and charged. Blocking: for views and commands, which run in threads of their own.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace

import msgspec
from django.conf import settings

from dispatch_app.credentials.wording import in_words
from dispatch_app.database import database_conninfo
from dispatch_app.execution.canonical import Reply, StreamPart
from dispatch_app.execution.dispatcher import Dispatch
from dispatch_app.execution.errors import DispatchError, UpstreamError
from dispatch_app.execution.order import Order
from dispatch_app.execution.ports import Credential, Upstream, UpstreamCall
from dispatch_app.fleet.account import CONNECTION_TESTS, connection_test_key
from dispatch_app.fleet.own_dispatches import decide_own, open_ledger, own_order, own_ports
from dispatch_app.gateway.services import SystemClock
from dispatch_app.providers.transport import Transport
from dispatch_app.providers.upstream import ProviderUpstream
from dispatch_app.snapshot.loader import load_snapshot
from dispatch_app.snapshot.types import ServedProvider, Snapshot
from policies_app.models import Credential as CredentialRow
from policies_app.routing.types import CatalogueModel
from policies_app.services.credentials import name_of, read_secret

MOST_WAIT_MS = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionReport:
    """What a test came to. `words` never hold what the vendor said. Without a call, `dispatch_id` is empty."""

    answered: bool
    words: str
    model: str = ""
    latency_ms: int | None = None
    cost_nanos: int = 0
    dispatch_id: str = ""


def check_connection(*, credential: CredentialRow, author_name: str) -> ConnectionReport:
    """Call the provider with `credential`, whether or not it is enabled. Costs money."""
    reading = read_secret(credential=credential)
    if reading.secret is None:
        return ConnectionReport(answered=False, words=f"It cannot be called: {reading.problem}.")
    check = _Check(
        provider_id=credential.provider_id,
        credential=Credential(id=credential.pk, name=name_of(credential, last_four=reading.last_four)),
        secret=reading.secret,
        public_id=connection_test_key(),
        author_name=author_name,
    )
    return asyncio.run(check.run(database_conninfo()))


class _Check:
    """One test."""

    def __init__(
        self, *, provider_id: int, credential: Credential, secret: str, public_id: str, author_name: str
    ) -> None:
        self._provider_id = provider_id
        self._credential = credential
        self._secret = secret
        self._public_id = public_id
        self._author_name = author_name

    async def run(self, address: str) -> ConnectionReport:
        # In a thread of its own, because the loader closes its thread's connection.
        snapshot = await asyncio.to_thread(load_snapshot)
        clock = SystemClock()
        provider = replace(
            snapshot.providers[self._provider_id][0],
            credential=self._credential,
            secret=self._secret,
            lacks_secret=False,
        )
        order, reasons = self._order(snapshot, clock)
        if order is None:
            why = " ".join(reasons) or "It takes one that has a price."
            return ConnectionReport(answered=False, words=f"No model of {provider.name} can be called. {why}")
        async with open_ledger(address) as ledger, Transport() as transport:
            upstream = _Witness(
                ProviderUpstream(transport=transport, find_provider=lambda *_ids: provider, now=clock.now)
            )
            ports = own_ports(
                ledger=ledger,
                upstream=upstream,
                clock=clock,
                credentials_of=lambda _candidate: (self._credential,),
            )
            return await _report(Dispatch(order=order, ports=ports), upstream, provider)

    def _order(self, snapshot: Snapshot, clock: SystemClock) -> tuple[Order | None, list[str]]:
        """The test as a dispatch: one call of the cheapest model that can be called; else why none can."""
        reasons = []
        for model in self._cheapest_first(snapshot, clock):
            admission = decide_own(
                snapshot=snapshot,
                public_id=self._public_id,
                model=model,
                task=CONNECTION_TESTS,
                tags={"asked_for_by": self._author_name},
                output_tokens=settings.CONNECTION_TEST_OUTPUT_TOKENS,
                clock=clock,
            )
            order = own_order(
                admission,
                snapshot=snapshot,
                public_id=self._public_id,
                clock=clock,
                timeout_ms=MOST_WAIT_MS,
            )
            if order is not None:
                return replace(order, plan=msgspec.structs.replace(order.plan, max_attempts=1)), []
            reasons.append(admission.reason)
        return None, reasons

    def _cheapest_first(self, snapshot: Snapshot, clock: SystemClock) -> Iterator[CatalogueModel]:
        now = clock.now()
        priced = [
            (price.output_nanos, model.name, model)
            for model in snapshot.catalogue.values()
            if model.provider_id == self._provider_id and (price := model.price_at(now)) is not None
        ]
        return (model for _, _, model in sorted(priced, key=lambda known: known[:2]))


class _Witness:
    """Implements `Upstream`: passes the call on, and keeps what went wrong with it."""

    def __init__(self, upstream: Upstream) -> None:
        self.error: UpstreamError | None = None
        self._upstream = upstream

    async def complete(self, call: UpstreamCall) -> Reply:
        """See `Upstream.complete`."""
        try:
            return await self._upstream.complete(call)
        except UpstreamError as error:
            self.error = error
            raise

    def stream(self, call: UpstreamCall) -> AbstractAsyncContextManager[AsyncIterator[StreamPart]]:
        """See `Upstream.stream`."""
        return self._upstream.stream(call)


async def _report(dispatch: Dispatch, upstream: _Witness, provider: ServedProvider) -> ConnectionReport:
    problem: DispatchError | None = None
    try:
        await dispatch.complete()
    except DispatchError as error:
        problem = error
    progress = dispatch.progress
    latency_ms = progress.past[0].settlement.latency_ms if progress.past else None
    words = in_words(
        problem=problem,
        fault=upstream.error,
        candidate=progress.candidate,
        provider=provider,
        latency_ms=latency_ms,
        cost_nanos=progress.cost_nanos,
    )
    return ConnectionReport(
        answered=problem is None,
        words=words,
        model=progress.model_name,
        latency_ms=latency_ms,
        cost_nanos=progress.cost_nanos,
        dispatch_id=str(dispatch.order.record.id) if progress.attempts else "",
    )
