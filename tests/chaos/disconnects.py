"""Bar 3: callers that hang up, at any byte of any answer. The vendor says when it was left, and what it bills all the same."""

import asyncio
import contextlib
import gc
import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

import psycopg
from django.db import connections

from policies_app.models import Tenant
from sandbox.faults import Fault, FaultKind
from sandbox.ledger import LedgerEntry
from tests.chaos.acknowledged import unlogged_calls
from tests.chaos.callers import chat
from tests.chaos.ground import await_nothing_open, rows
from tests.chaos.leavers import Parting, Visit, pay_visit
from tests.chaos.town import DRAIN_MS, DRAINING, STRATEGIES, Town
from tests.factories import make_budget, make_key, make_tenant

SETTLING_S = 30.0
QUIET_S = 0.5
LOOK_S = 0.02
"""How often the log is looked at: terminal times are so much too long at most."""
MOST_S = 0.8
MOST_BYTES = 9_000
STALLED_AFTER_BYTES = 700
WORDS = "word " * 40
OUTPUT_TOKENS = 60
ZERO = {
    "prompt_tokens": 0,
    "completion_tokens": 0,
    "total_tokens": 0,
    "prompt_tokens_details": {"cached_tokens": 0},
}
POLICIES = (*(f"chaos-{strategy}" for strategy in STRATEGIES), DRAINING)
MANNERS: dict[str, Fault] = {
    "at-once": Fault(kind=FaultKind.CONTENT, content=WORDS),
    "steady": Fault(kind=FaultKind.CONTENT, content=WORDS, chunk_delay_ms=15),
    "late": Fault(kind=FaultKind.CONTENT, content=WORDS, delay_ms=700, chunk_delay_ms=5),
    "byte-by-byte": Fault(kind=FaultKind.CONTENT, content="word " * 4, byte_delay_ms=0.8),
    "free": Fault(kind=FaultKind.USAGE, usage=ZERO, billed=False, content=WORDS, chunk_delay_ms=4),
    "elsewhere": Fault(kind=FaultKind.CONTENT, content=WORDS, delay_ms=60, chunk_delay_ms=10),
    "again": Fault(kind=FaultKind.CONTENT, content=WORDS, delay_ms=60, chunk_delay_ms=10),
    "stalled": Fault(kind=FaultKind.HANG, after_bytes=STALLED_AFTER_BYTES, content=WORDS),
}
"""How the vendor answers, by a word at the beginning of the prompt. What is `elsewhere` fails at the first model, what comes
`again` at the first call; what has `stalled` never ends, so that it is asked of streams alone."""


@dataclass(slots=True, kw_only=True)
class DisconnectFigures:
    """What a run came to. `closed_ms` is from a hang-up to the end of a vendor's stream, `terminal_ms` to the row's.

    An answer that comes whole, or whose policy has it read on, is heard out: its row is terminal so long after the vendor's
    end. `overdue_ms` is how much longer than allowed a stream was read on. `drained` were read to their end, and `not_truth`
    of them cost something else than the vendor's bill.
    """

    left: int = 0
    by_manner: Counter[str] = field(default_factory=Counter)
    unadmitted: int = 0
    cut: int = 0
    closed_ms: list[float] = field(default_factory=list)
    terminal_ms: list[float] = field(default_factory=list)
    overdue_ms: list[float] = field(default_factory=list)
    drained: int = 0
    not_truth: int = 0
    never_closed: int = 0
    never_terminal: int = 0
    below_truth: int = 0
    below_truth_nanos: int = 0
    zeros: int = 0
    zeros_charged: int = 0
    unlogged: int = 0
    left_open: int = 0
    left_reserved_nanos: int = 0
    seconds: float = 0.0


def run_disconnects(town: Town, *, seed: int, wanted: int, callers: int, processes: int) -> DisconnectFigures:
    """Visits by so many callers at once, until so many were left before their answer was whole."""
    began_at = time.monotonic()
    town.vendor.ledger.clear()
    _let_the_vendor_have_manners(town)
    tenant = make_tenant(f"disconnects-{time.time_ns()}")
    make_budget(tenant, limit_nanos=10**15)
    town.have(processes)
    crowd = _Leavers(town=town, chance=Random(seed), name=f"{seed}", key=make_key(tenant).text)
    log = _Log(tenant=tenant)
    with _without_pauses():
        asyncio.run(_leave(crowd, log, wanted=wanted, callers=callers))
    town.vendor.clear_faults()
    figures = _figures(town, crowd, log)
    figures.left_open = await_nothing_open(patience_s=SETTLING_S, tenant_id=tenant.pk)
    figures.unlogged = unlogged_calls(town)
    figures.left_reserved_nanos = _reserved_nanos(tenant)
    figures.seconds = time.monotonic() - began_at
    connections.close_all()
    return figures


@contextlib.contextmanager
def _without_pauses() -> Iterator[None]:
    """Here callers and vendor live in one process: where it collects its garbage, the gateway's times would have that in them."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _let_the_vendor_have_manners(town: Town) -> None:
    town.vendor.clear_faults()
    town.vendor.script("503", model="sandbox-small", contains="[elsewhere/")
    for manner, fault in MANNERS.items():
        if manner != "again":
            town.vendor.script(fault, contains=f"[{manner}/")


@dataclass(slots=True, kw_only=True)
class _Leavers:
    """Draws visits and pays them; keeps the partings of those that left something behind."""

    town: Town
    chance: Random
    name: str
    key: str
    partings: list[Parting] = field(default_factory=list)
    _visits: int = 0

    @property
    def left(self) -> int:
        return len(self.partings)

    async def pay(self) -> None:
        visit = self._draw()
        parting = await pay_visit(visit, port=self.chance.choice(self.town.gateways).port, key=self.key)
        if not parting.is_whole:
            self.partings.append(parting)

    def _draw(self) -> Visit:
        chance = self.chance
        self._visits += 1
        manner = chance.choice([*MANNERS])
        nonce = f"{manner}/{self.name}/{self._visits}"
        stream = manner == "stalled" or chance.random() < (0.3 if manner == "free" else 0.7)
        model = "chaos-single" if manner == "again" else chance.choice(POLICIES)
        if manner == "again":
            self.town.vendor.script_in_turn(["503", MANNERS[manner]], contains=f"[{nonce}]")
        first = chat(model, f"first/{nonce}") if chance.random() < 0.15 else None
        return Visit(
            nonce=nonce,
            body=chat(model, nonce, stream=stream) | {"max_tokens": OUTPUT_TOKENS},
            most_bytes=chance.randrange(MOST_BYTES) if chance.random() < 0.9 else 0,
            most_s=MOST_S * chance.random(),
            sends=chance.random() if chance.random() < 0.05 else 1.0,
            resets=chance.random() < 0.4,
            first=first,
        )


@dataclass(slots=True, kw_only=True)
class _Log:
    """Looks at a tenant's dispatches again and again, and notes when it first saw each of them ended."""

    tenant: Tenant
    ended_at: dict[str, float] = field(default_factory=dict)
    is_over: bool = False

    async def watch(self) -> None:
        async with await psycopg.AsyncConnection.connect(os.environ["DATABASE_URL"], autocommit=True) as log:
            while not self.is_over:
                found = await log.execute(
                    "SELECT tags->>'nonce' FROM dispatch WHERE tenant_id = %s AND created_at > now() - interval '1 minute'"
                    " AND finished_at > now() - interval '10 seconds'",
                    [self.tenant.pk],
                )
                ended = await found.fetchall()
                now = time.time()
                for (nonce,) in ended:
                    self.ended_at.setdefault(nonce, now)
                await asyncio.sleep(LOOK_S)

    async def until_quiet(self, *, patience_s: float) -> None:
        """Wait until no row is open and none comes any more; for a while at most."""
        give_up_at, before = time.monotonic() + patience_s, None
        while time.monotonic() < give_up_at:
            now = await asyncio.to_thread(self._count)
            if now == before and not now["open"]:
                return
            before = now
            await asyncio.sleep(QUIET_S)

    def _count(self) -> Mapping[str, int]:
        (row,) = rows(
            "SELECT count(*) AS rows, count(*) FILTER (WHERE finished_at IS NULL) AS open FROM dispatch WHERE tenant_id = %s",
            self.tenant.pk,
        )
        return row


async def _leave(crowd: _Leavers, log: _Log, *, wanted: int, callers: int) -> None:
    watching = asyncio.create_task(log.watch())

    async def caller() -> None:
        while crowd.left < wanted:
            await crowd.pay()

    await asyncio.gather(*(caller() for _ in range(callers)))
    await log.until_quiet(patience_s=SETTLING_S)
    log.is_over = True
    await watching


def _figures(town: Town, crowd: _Leavers, log: _Log) -> DisconnectFigures:
    figures = DisconnectFigures(left=crowd.left)
    called = _calls(town.vendor.ledger.entries)
    costs = _costs(town, log.tenant)
    for parting in crowd.partings:
        nonce = parting.visit.nonce
        figures.by_manner[nonce.partition("/")[0]] += 1
        if nonce not in costs:
            figures.unadmitted += 1
            continue
        _judge_times(figures, parting, called[nonce], ended_at=log.ended_at.get(nonce))
        _judge_cost(figures, called[nonce], costs[nonce])
        _judge_zero(figures, parting, called[nonce], costs[nonce])
        _judge_drain(figures, parting, called[nonce], costs[nonce])
    return figures


def _judge_times(
    figures: DisconnectFigures, parting: Parting, calls: Sequence[LedgerEntry], *, ended_at: float | None
) -> None:
    is_drained = _is_drained(parting)
    heard_out = [call for call in calls if is_drained or not call.streamed]
    for call in calls:
        if call.ended_at is None:
            figures.never_closed += 1
        elif call.streamed and call.ended_at > parting.left_at:
            figures.cut += call.client_left
            late_ms = 1000 * (call.ended_at - parting.left_at)
            if is_drained:
                figures.overdue_ms.append(late_ms - DRAIN_MS)
            else:
                figures.closed_ms.append(late_ms)
    if ended_at is None:
        figures.never_terminal += 1
    else:
        last = max([parting.left_at, *(call.ended_at for call in heard_out if call.ended_at)])
        figures.terminal_ms.append(max(0.0, 1000 * (ended_at - last)))


def _judge_cost(figures: DisconnectFigures, calls: Sequence[LedgerEntry], booked: Mapping[str, int]) -> None:
    """Each model's calls on their own: what one was charged too much makes no amends for another."""
    truth = _truth(calls)
    missing = sum(max(0, nanos - booked.get(model, 0)) for model, nanos in truth.items())
    figures.below_truth += missing > 0
    figures.below_truth_nanos += missing


def _judge_zero(
    figures: DisconnectFigures, parting: Parting, calls: Sequence[LedgerEntry], booked: Mapping[str, int]
) -> None:
    """What is heard to its end, and says there explicitly that it used nothing, costs nothing."""
    is_heard = _is_drained(parting) or not any(call.streamed for call in calls)
    if parting.visit.nonce.startswith("free/") and calls and is_heard:
        figures.zeros += 1
        figures.zeros_charged += sum(booked.values()) != 0


def _judge_drain(
    figures: DisconnectFigures, parting: Parting, calls: Sequence[LedgerEntry], booked: Mapping[str, int]
) -> None:
    """What is read to its end costs what the vendor bills, to the nano-dollar."""
    if _is_drained(parting) and calls and not any(call.client_left for call in calls):
        figures.drained += 1
        figures.not_truth += +_truth(calls) != +Counter(booked)


def _is_drained(parting: Parting) -> bool:
    return parting.visit.body["model"] == DRAINING


def _truth(calls: Sequence[LedgerEntry]) -> Counter[str]:
    truth: Counter[str] = Counter()
    for call in calls:
        truth[call.model] += call.cost_nanos
    return truth


def _calls(entries: Sequence[LedgerEntry]) -> Mapping[str, list[LedgerEntry]]:
    calls: defaultdict[str, list[LedgerEntry]] = defaultdict(list)
    for entry in entries:
        calls[entry.prompt.partition("[")[2].partition("]")[0]].append(entry)
    return calls


def _costs(town: Town, tenant: Tenant) -> Mapping[str, Mapping[str, int]]:
    """What was booked for each nonce, by the name that the vendor has for the model."""
    costs: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for nonce, model, nanos in _booked(tenant):
        costs[nonce][town.wire_names[model]] += nanos
    return costs


def _booked(tenant: Tenant) -> Iterator[tuple[str, int, int]]:
    for row in rows(
        "SELECT dispatch.tags->>'nonce' AS nonce, attempt.model_id, attempt.cost_nanos FROM dispatch"
        " JOIN attempt ON attempt.dispatch_id = dispatch.id WHERE dispatch.tenant_id = %s",
        tenant.pk,
    ):
        yield row["nonce"], row["model_id"], row["cost_nanos"]


def _reserved_nanos(tenant: Tenant) -> int:
    (row,) = rows(
        "SELECT coalesce(max(abs(reserved_nanos)), 0) AS nanos FROM budget_balance AS balance"
        " JOIN policies_app_budget AS budget ON budget.id = budget_id WHERE budget.tenant_id = %s",
        tenant.pk,
    )
    return int(row["nanos"])
