"""One cell of the matrix: a client asks a vendor for a feature. It passes, or is refused for a reason that is told."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import anthropic
import openai

from tests.matrix.conformity import check_exchange
from tests.matrix.market import Market, Vendor
from tests.matrix.rows import Row
from tests.matrix.troubles import Trouble, meet, troubles_of
from tests.matrix.wiretap import Wiretap, open_wiretap
from tests.running_servers import RunningGateway, attempt_rows, dispatch_rows, until

FREE = frozenset({"models listed", "tokens counted"})
"""What no vendor is asked."""

_DROPPED = "x-dispatch-dropped"


class Outcome(StrEnum):
    """What became of a cell."""

    PASSES = "passes"
    REFUSED = "refused"
    FAILS = "FAILS"


class Money(StrEnum):
    """What a cell has to cost, held against the vendor's bill."""

    EXACT = "exact"
    NO_LESS = "no less"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """`ask` raises where the answer is not what it should be. What `is_cut` is left by the client before its end."""

    client: str
    feature: str
    vendor: Vendor
    ask: Callable[[], None]
    money: Money = Money.EXACT
    is_cut: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`words` is why a cell was refused, what is wrong, or which of its fields no vendor was told. `is_paid` is whether it cost what the vendor billed."""

    outcome: Outcome
    words: str = ""
    is_paid: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """All cells, and who reads along what their clients are told."""

    cells: tuple[Cell, ...]
    tap: Wiretap


@contextlib.contextmanager
def open_matrix(
    market: Market,
    gateway: RunningGateway,
    rows: Sequence[Row],
    *,
    meet: Callable[[Row, Vendor], bool] = lambda _row, _vendor: True,
) -> Iterator[Matrix]:
    """Every cell of the rows whose client and vendor are to `meet`, with clients that live as long as the block."""
    with open_wiretap(gateway.port) as tap, contextlib.ExitStack() as stack:
        clients = {row.name: stack.enter_context(row.open_client(tap.url, market.key)) for row in rows}
        cells = (
            cell
            for row in rows
            for vendor in market.vendors
            if meet(row, vendor)
            for cell in _cells_of(row, clients[row.name], vendor)
        )
        matrix = Matrix(cells=tuple(cells), tap=tap)
        gateway.catch_up()
        yield matrix


def _cells_of(row: Row, client: Any, vendor: Vendor) -> Iterator[Cell]:
    policy = vendor.embedder if row.embeds else vendor.policy
    for name, ask in row.features.items():
        is_cut = name == "cancelled"
        money = Money.NOTHING if name in FREE else Money.EXACT
        yield Cell(
            client=row.name,
            feature=name,
            vendor=vendor,
            ask=lambda ask=ask: ask(client, policy),  # type: ignore[misc]
            money=Money.NO_LESS if is_cut else money,
            is_cut=is_cut,
        )
    yield from (_cell_of(trouble, row, client, vendor) for trouble in troubles_of(row))


def _cell_of(trouble: Trouble, row: Row, client: Any, vendor: Vendor) -> Cell:
    """What is held against a vendor has a policy of its own, and befalls no other cell."""
    shared = vendor.embedder if row.embeds else vendor.policy
    policy = vendor.spare(embeds=row.embeds) if trouble.is_held_against_vendor else shared
    return Cell(
        client=row.name,
        feature=trouble.name,
        vendor=vendor,
        ask=lambda: meet(trouble, row, client, vendor, policy),
        money=Money.NO_LESS if trouble.status is None else Money.NOTHING,
    )


def judge(cell: Cell, tap: Wiretap) -> Verdict:
    """Ask, hold every byte that came back against the clients' types, and the log against the vendor's own bill."""
    cell.vendor.server.ledger.clear()
    tap.clear()
    known = {row["id"] for row in attempt_rows()}
    refusal: openai.APIStatusError | anthropic.APIStatusError | None = None
    try:
        try:
            cell.ask()
        except (openai.APIStatusError, anthropic.APIStatusError) as error:
            refusal = error
        for exchange in tap.exchanges:
            check_exchange(exchange, is_cut=cell.is_cut)
        assert tap.exchanges, "nothing was asked"
    except Exception as error:  # noqa: BLE001  # whatever a client raises fails its cell, not the others
        return Verdict(outcome=Outcome.FAILS, words=f"{type(error).__name__}: {error}"[:300])
    if refusal is not None:
        return _refusal(cell, refusal)
    dropped = {told.headers[_DROPPED] for told in tap.exchanges if _DROPPED in told.headers}
    return Verdict(outcome=Outcome.PASSES, words=", ".join(sorted(dropped)), is_paid=_is_paid(cell, known))


def _refusal(cell: Cell, error: openai.APIStatusError | anthropic.APIStatusError) -> Verdict:
    """Refused is what never reached the vendor, for a reason that the log and the trace tell."""
    dispatches = dispatch_rows()
    dropped = (dispatches[-1]["reason"].get("dropped") or []) if dispatches else []
    words = ", ".join(drop["detail"] for drop in dropped if drop["reason"] == "lacks_capability")
    if error.status_code != 503 or not words or cell.vendor.server.ledger.entries:
        return Verdict(outcome=Outcome.FAILS, words=f"{error.status_code}: {error}"[:300])
    return Verdict(outcome=Outcome.REFUSED, words=words)


def _is_paid(cell: Cell, known: set[object]) -> bool:
    """To the nano-dollar; what broke off or was left costs no less than the vendor bills."""

    rows: list[dict[str, Any]] = []

    def are_settled() -> bool:
        rows[:] = [row for row in attempt_rows() if row["id"] not in known]
        return all(row["state"] != "open" for row in rows) and (bool(rows) or cell.money is Money.NOTHING)

    until(are_settled)
    cost_nanos = sum(row["cost_nanos"] for row in rows)
    billed_nanos = cell.vendor.server.ledger.total_nanos
    match cell.money:
        case Money.EXACT:
            return cost_nanos == billed_nanos > 0
        case Money.NO_LESS:
            return cost_nanos >= billed_nanos > 0
        case Money.NOTHING:
            return cost_nanos == billed_nanos == 0
