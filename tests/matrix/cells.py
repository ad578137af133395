"""One cell of the matrix: a client asks a vendor for a feature. It passes, or is refused for a reason that is told."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

import anthropic
import openai

from tests.matrix.features import ANTHROPIC, OPENAI
from tests.matrix.market import Market, Vendor
from tests.running_servers import RunningGateway, attempt_rows, dispatch_rows, until


class Outcome(StrEnum):
    """What became of a cell."""

    PASSES = "passes"
    REFUSED = "refused"
    FAILS = "FAILS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """`ask` raises where the answer is not what it should be."""

    client: str
    feature: str
    vendor: Vendor
    ask: Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`words` is why a cell was refused, or what is wrong. `is_paid` is whether it cost what the vendor billed."""

    outcome: Outcome
    words: str = ""
    is_paid: bool = True


@contextlib.contextmanager
def open_cells(market: Market, gateway: RunningGateway) -> Iterator[list[Cell]]:
    """Every cell, with clients that live as long as the block."""
    with (
        openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=market.key, max_retries=0) as ours,
        anthropic.Anthropic(base_url=gateway.url, api_key=market.key, max_retries=0) as theirs,
    ):
        cells = [
            Cell(client="openai", feature=name, vendor=vendor, ask=lambda f=ask, v=vendor: f(ours, v.policy))  # type: ignore[misc]
            for vendor in market.vendors
            for name, ask in OPENAI.items()
        ]
        cells += [
            Cell(
                client="anthropic",
                feature=name,
                vendor=vendor,
                ask=lambda f=ask, v=vendor: f(theirs, v.policy),  # type: ignore[misc]
            )
            for vendor in market.vendors
            for name, ask in ANTHROPIC.items()
        ]
        yield cells


def judge(cell: Cell) -> Verdict:
    """Ask, and hold the log against the vendor's own bill."""
    cell.vendor.server.ledger.clear()
    known = {row["id"] for row in attempt_rows()}
    try:
        cell.ask()
    except (openai.APIStatusError, anthropic.APIStatusError) as error:
        return _refusal(cell, error)
    except (AssertionError, openai.OpenAIError, anthropic.AnthropicError, TypeError, ValueError) as error:
        return Verdict(outcome=Outcome.FAILS, words=f"{type(error).__name__}: {error}"[:200])
    return Verdict(outcome=Outcome.PASSES, is_paid=_is_paid(cell, known))


def _refusal(cell: Cell, error: openai.APIStatusError | anthropic.APIStatusError) -> Verdict:
    """Refused is what never reached the vendor, for a reason that the log and the trace tell."""
    dropped = dispatch_rows()[-1]["reason"].get("dropped") or []
    words = ", ".join(drop["detail"] for drop in dropped if drop["reason"] == "lacks_capability")
    if error.status_code != 503 or not words or cell.vendor.server.ledger.entries:
        return Verdict(outcome=Outcome.FAILS, words=f"{error.status_code}: {error}"[:200])
    return Verdict(outcome=Outcome.REFUSED, words=words)


def _is_paid(cell: Cell, known: set[object]) -> bool:
    """To the nano-dollar; what was cancelled costs no less than the vendor bills."""

    def rows() -> list[dict[str, object]]:
        return [row for row in attempt_rows() if row["id"] not in known]

    until(lambda: bool(rows()) and all(row["state"] == "settled" for row in rows()))
    cost_nanos = sum(int(str(row["cost_nanos"])) for row in rows())
    billed_nanos = cell.vendor.server.ledger.total_nanos
    return cost_nanos >= billed_nanos if cell.feature == "cancelled" else cost_nanos == billed_nanos > 0
