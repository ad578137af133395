"""Plays cells against a running gateway: each with a vendor, providers, models and a policy of its own, many at once."""

import asyncio
import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg

from policies_app.routing.codes import Strategy
from sandbox.faults import Fault
from sandbox.ledger import LedgerEntry
from sandbox.server import SandboxServer, serve_in_thread
from tests.faults.addresses import hopeless_addresses
from tests.faults.cells import GOOD, Cell
from tests.faults.shop import Opened, model_name, open_shop
from tests.faults.table import STEP_MS
from tests.running_servers import RunningGateway, test_conninfo

GOOD_DELAY_MS = STEP_MS + 400
"""In a race the good model is slower than every fault."""
TRIES_OF_SAVING = 10
MOST_AT_ONCE = 16
"""More than that, and gateway, vendors and clients on two cores make one another late."""
HEAVY_AT_ONCE = 2
RETRIES_SAVED = 10
"""Most retries that a process can save up."""
SUCCESSES_PER_RETRY = 10
PATIENCE_S = 10.0
BEAT_S = 0.01
STEADY_NONCE = "steady"


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What the client got, and after how long."""

    status: int
    headers: Mapping[str, str]
    text: str
    elapsed_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything that a cell left behind: with the client, on the log, with the vendor, in the breakers.

    `billed` and `health` are by the sandbox's names of models.
    """

    cell: Cell
    heard: Heard
    dispatch: Mapping[str, Any]
    attempts: Sequence[Mapping[str, Any]]
    billed: Mapping[str, Sequence[LedgerEntry]]
    health: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """What a tenant's budget says of all its cells, and what the log does."""

    reserved_nanos: int
    budget_nanos: int
    logged_nanos: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """Cells that were played. `held_up_s` is how long this process, of all that ran, was kept from running at worst."""

    evidence: Sequence[Evidence]
    book: Book
    held_up_s: float


@dataclass(slots=True, kw_only=True)
class _Vendors:
    """A sandbox for each nonce, all of one event loop."""

    nonces: Sequence[str]
    servers: dict[str, SandboxServer] = field(default_factory=dict)

    async def __aenter__(self) -> "_Vendors":
        for nonce in self.nonces:
            self.servers[nonce] = await SandboxServer().__aenter__()
        return self

    async def __aexit__(self, *raised: Any) -> None:
        await asyncio.gather(*(server.__aexit__(*raised) for server in self.servers.values()))


def play(
    gateway: RunningGateway, cells: Sequence[Cell], *, folder: Path, at_once: int = MOST_AT_ONCE
) -> Played:
    """Play `cells`, none of which knows of the others, at most so many at once."""
    vendors = _Vendors(nonces=[STEADY_NONCE, *(cell.nonce for cell in cells)])
    with serve_in_thread(vendors), hopeless_addresses(folder) as hopeless:  # type: ignore[type-var]
        for cell in cells:
            _script(vendors.servers[cell.nonce], cell)
        base_urls = {nonce: server.base_url for nonce, server in vendors.servers.items()}
        shop = open_shop(cells, vendors=base_urls, hopeless=hopeless, steady=base_urls[STEADY_NONCE])
        gateway.catch_up()
        heard, held_up_s = asyncio.run(_ask_all(gateway, shop, cells, at_once=at_once))
        evidence, book = _collect(cells, heard, vendors, shop)
        return Played(evidence=evidence, book=book, held_up_s=held_up_s)


def spoken(cell: Cell, model: str) -> str:
    """What a model says in one cell: every letter of it has to arrive, and nowhere else."""
    return f"Grüße aus Zürich, {cell.nonce} von {model}: 東京 und zurück, " + "noch ein Wort, " * 20


def _script(server: SandboxServer, cell: Cell) -> None:
    fault = cell.row.fault
    for model in cell.faulty_models if isinstance(fault, Fault) else ():
        content = fault.content or spoken(cell, model)
        server.script(replace_fault(fault, content=content), model=f"sandbox-{model}", times=cell.row.times)
    is_race = cell.group.strategy is Strategy.PARALLEL
    for model in cell.models:
        delay_ms = GOOD_DELAY_MS if model == GOOD and is_race else 0
        server.script(Fault(content=spoken(cell, model), delay_ms=delay_ms), model=f"sandbox-{model}")


def replace_fault(fault: Fault, **changes: Any) -> Fault:
    return Fault(**{name: getattr(fault, name) for name in fault.__struct_fields__} | changes)


async def _ask_all(
    gateway: RunningGateway, shop: Opened, cells: Sequence[Cell], *, at_once: int
) -> tuple[list[Heard], float]:
    """Ask in turns, each with as many retries as the process can have saved up before it."""
    heard: dict[str, Heard] = {}
    pulse = _Pulse()
    beating = asyncio.create_task(pulse.beat())
    limits = httpx.Limits(max_connections=2 * MOST_AT_ONCE)
    async with httpx.AsyncClient(base_url=gateway.url, timeout=30, limits=limits) as client:
        client.headers["authorization"] = f"Bearer {shop.key}"
        for batch in _batches(cells):
            retries = sum(cell.may_retry for cell in batch)
            await _save_up(client, shop, retries=retries)
            for cell, said in zip(batch, await _ask_batch(client, batch, at_once=at_once), strict=True):
                heard[cell.nonce] = said
    beating.cancel()
    return [heard[cell.nonce] for cell in cells], pulse.longest_pause_s


class _Pulse:
    """Beats a hundred times a second, if it can."""

    def __init__(self) -> None:
        self.longest_pause_s = 0.0

    async def beat(self) -> None:
        while True:
            slept_at = time.monotonic()
            await asyncio.sleep(BEAT_S)
            self.longest_pause_s = max(self.longest_pause_s, time.monotonic() - slept_at - BEAT_S)


def _batches(cells: Sequence[Cell]) -> Iterator[Sequence[Cell]]:
    heavy = [cell for cell in cells if cell.row.is_heavy]
    retrying = [cell for cell in cells if cell.may_retry and not cell.row.is_heavy]
    others = [cell for cell in cells if not cell.may_retry and not cell.row.is_heavy]
    for start in range(0, len(retrying), RETRIES_SAVED):
        yield retrying[start : start + RETRIES_SAVED]
    yield others
    yield heavy


async def _save_up(client: httpx.AsyncClient, shop: Opened, *, retries: int) -> None:
    """Earn so many retries by requests that succeed. What a machine at its limit refuses meanwhile is asked again."""
    body = _body(shop.steady_policy, stream=False, prompt="Hello")
    in_flight = asyncio.Semaphore(MOST_AT_ONCE)

    async def succeed() -> None:
        async with in_flight:
            for _ in range(TRIES_OF_SAVING):
                answer = await client.post("/v1/chat/completions", json=body)
                if answer.is_success:
                    return
                await asyncio.sleep(0.2)
            answer.raise_for_status()

    await asyncio.gather(*(succeed() for _ in range(retries * SUCCESSES_PER_RETRY)))


async def _ask_batch(client: httpx.AsyncClient, cells: Sequence[Cell], *, at_once: int) -> list[Heard]:
    in_flight = asyncio.Semaphore(HEAVY_AT_ONCE if any(cell.row.is_heavy for cell in cells) else at_once)

    async def ask(cell: Cell) -> Heard:
        async with in_flight:
            return await _ask(client, cell)

    return await asyncio.gather(*map(ask, cells))


async def _ask(client: httpx.AsyncClient, cell: Cell) -> Heard:
    body = _body(cell.nonce, stream=cell.group.stream, prompt=f"Greet me, {cell.nonce}.")
    headers = {} if cell.row.timeout_ms is None else {"x-request-timeout-ms": str(cell.row.timeout_ms)}
    started_at = time.monotonic()
    answer = await client.post("/v1/chat/completions", json=body, headers=headers)
    elapsed_s = time.monotonic() - started_at
    return Heard(status=answer.status_code, headers=answer.headers, text=answer.text, elapsed_s=elapsed_s)


def _body(policy: str, *, stream: bool, prompt: str) -> dict[str, Any]:
    return {
        "model": policy,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": 400,
        "stream": stream,
    }


def _collect(
    cells: Sequence[Cell], heard: Sequence[Heard], vendors: _Vendors, shop: Opened
) -> tuple[list[Evidence], Book]:
    ids = [said.headers["x-dispatch-id"] for said in heard]
    expected_calls = {
        model_name(cell, model): sum(made.model == model for made in cell.expected().made)
        for cell in cells
        for model in cell.models
    }
    with psycopg.connect(test_conninfo(), row_factory=psycopg.rows.dict_row, autocommit=True) as probe:
        health = _wait_for_health(probe, expected_calls)
        _wait_for_settlements(probe, shop)
        dispatches = probe.execute("SELECT * FROM dispatch WHERE id = ANY(%s::uuid[])", [ids]).fetchall()
        attempts = probe.execute(
            "SELECT * FROM attempt WHERE dispatch_id = ANY(%s::uuid[]) ORDER BY dispatch_id, position", [ids]
        ).fetchall()
        book = _book(probe, shop)
    by_id = {str(dispatch["id"]): dispatch for dispatch in dispatches}
    by_dispatch = {
        str(key): list(rows) for key, rows in itertools.groupby(attempts, lambda row: row["dispatch_id"])
    }
    evidence = [
        Evidence(
            cell=cell,
            heard=said,
            dispatch=by_id.get(dispatch_id, {}),
            attempts=by_dispatch.get(dispatch_id, []),
            billed=_billed(vendors.servers[cell.nonce]),
            health={model: health.get(model_name(cell, model), {}) for model in cell.models},
        )
        for cell, said, dispatch_id in zip(cells, heard, ids, strict=True)
    ]
    return evidence, book


def _book(probe: psycopg.Connection[dict[str, Any]], shop: Opened) -> Book:
    (balance,) = probe.execute(
        "SELECT * FROM budget_balance WHERE budget_id IN (SELECT id FROM policies_app_budget WHERE tenant_id = %s)",
        [shop.tenant.pk],
    ).fetchall()
    (logged,) = probe.execute(
        "SELECT sum(cost_nanos)::bigint AS nanos FROM attempt WHERE tenant_id = %s", [shop.tenant.pk]
    ).fetchall()
    return Book(
        reserved_nanos=balance["reserved_nanos"],
        budget_nanos=balance["settled_nanos"] + balance["overage_nanos"],
        logged_nanos=logged["nanos"],
    )


def _wait_for_settlements(probe: psycopg.Connection[dict[str, Any]], shop: Opened) -> None:
    """Let those be settled that no client waits for, or a while pass in any case."""
    give_up_at = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up_at:
        (still,) = probe.execute(
            "SELECT count(*) AS attempts FROM attempt WHERE tenant_id = %s AND state = 'open'",
            [shop.tenant.pk],
        ).fetchall()
        if still["attempts"] == 0:
            return
        time.sleep(0.05)


def _billed(server: SandboxServer) -> Mapping[str, Sequence[LedgerEntry]]:
    entries = sorted(server.ledger.entries, key=lambda entry: entry.at)
    return {
        model: [entry for entry in entries if entry.model == f"sandbox-{model}"] for model in ("small", "mid")
    }


def _wait_for_health(
    probe: psycopg.Connection[dict[str, Any]], expected_calls: Mapping[str, int]
) -> dict[str, dict[str, Any]]:
    """What the process says of each model, as soon as it knows of every call, or after a while in any case."""
    give_up_at = time.monotonic() + PATIENCE_S
    while True:
        rows = probe.execute(
            "SELECT * FROM target_health WHERE model = ANY(%s)", [list(expected_calls)]
        ).fetchall()
        known = {row["model"]: row for row in rows}
        if time.monotonic() > give_up_at or all(
            known.get(model, {"calls": 0})["calls"] >= calls for model, calls in expected_calls.items()
        ):
            return known
        time.sleep(0.05)
