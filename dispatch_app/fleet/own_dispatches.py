"""Dispatches that Signalbox makes of its own accord: decided, reserved, sent and logged like any other, on budgets of their own."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from random import Random

import msgspec
from django.conf import settings

from dispatch_app.break_glass import BreakGlass
from dispatch_app.execution.breakers import Breakers
from dispatch_app.execution.hedge_budget import HedgeBudget
from dispatch_app.execution.order import Order, Ports
from dispatch_app.execution.ports import CredentialsOf, Upstream
from dispatch_app.execution.retry_budget import RetryBudget
from dispatch_app.gateway.admission import Admission, Inputs, decide, order_of
from dispatch_app.gateway.openai_chat import parse_chat
from dispatch_app.gateway.openai_embeddings import parse_embeddings
from dispatch_app.gateway.prompt import Prompt
from dispatch_app.gateway.services import SystemClock, new_id
from dispatch_app.ledger.ledger import PostgresLedger
from dispatch_app.snapshot.budget_usage import BudgetUsage
from dispatch_app.snapshot.situation import NOTHING_KNOWN
from dispatch_app.snapshot.types import Snapshot
from policies_app.routing.types import CatalogueModel, FleetState

BEGIN_PATIENCE_S = 5.0
NO_TAGS: Mapping[str, str] = {}


@asynccontextmanager
async def open_ledger(address: str) -> AsyncIterator[PostgresLedger]:
    """A ledger for as long as the block runs. It admits nothing while the break-glass file is there."""
    break_glass = BreakGlass(state_dir=settings.STATE_DIR)
    break_glass.look()
    ledger = PostgresLedger(
        conninfo=address,
        budget_usage=BudgetUsage(),
        begin_patience_s=BEGIN_PATIENCE_S,
        is_stopped=lambda: break_glass.is_broken,
    )
    await ledger.start()
    try:
        yield ledger
    finally:
        await ledger.stop()


def own_ports(
    *, ledger: PostgresLedger, upstream: Upstream, clock: SystemClock, credentials_of: CredentialsOf
) -> Ports:
    """What these dispatches are carried out with. Breakers know nothing here, so nobody is passed over."""
    return Ports(
        ledger=ledger,
        upstream=upstream,
        clock=clock,
        new_id=new_id,
        retries=RetryBudget(),
        hedges=HedgeBudget(),
        health=Breakers(clock=clock, random=Random()),  # noqa: S311 - jitter
        credentials_of=credentials_of,
    )


def decide_own(
    *,
    snapshot: Snapshot,
    public_id: str,
    model: CatalogueModel,
    task: str,
    output_tokens: int,
    clock: SystemClock,
    tags: Mapping[str, str] = NO_TAGS,
    fleet: FleetState = NOTHING_KNOWN,
) -> Admission:
    """Decide the least request that `model` answers, under the key of that public id."""
    return decide(
        # A policy that has a model's name stands before the model; here it is the model that is meant.
        snapshot=replace(snapshot, policies={}),
        budget_usage=BudgetUsage(),
        fleet=fleet,
        key=snapshot.keys[public_id],
        prompt=_prompt(model, output_tokens),
        inputs=Inputs(task=task, tags=tags, timeout_ms=None),
        dispatch_id=new_id(),
        now=clock.now(),
    )


def own_order(
    admission: Admission, *, snapshot: Snapshot, public_id: str, clock: SystemClock, timeout_ms: int | None
) -> Order | None:
    """What the dispatcher is asked to do; None if there is no plan, or nothing would bound what such dispatches cost."""
    plan = admission.decision.plan
    if plan is None or not admission.budgets or not snapshot.keys[public_id].tenant.enabled:
        return None
    return order_of(
        admission, plan=plan, received_at=clock.monotonic(), timeout_ms=timeout_ms, now=clock.now()
    )


def _prompt(model: CatalogueModel, output_tokens: int) -> Prompt:
    if model.embeds:
        return parse_embeddings(msgspec.json.encode({"model": model.name, "input": "ping"}))
    messages = [{"role": "user", "content": "ping"}]
    return parse_chat(
        msgspec.json.encode({"model": model.name, "messages": messages, "max_tokens": output_tokens})
    )
