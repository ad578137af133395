"""The verdicts as a table that a person reads: a block a client, a line a feature, a column a vendor."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from tests.matrix.cells import Cell, Outcome, Verdict

_SHOWN = {Outcome.PASSES: "yes", Outcome.REFUSED: "no"}


def table_of(verdicts: Sequence[tuple[Cell, Verdict]]) -> Iterator[str]:
    """The lines of the table. What is refused or fails is explained below its client's block."""
    vendors = list(dict.fromkeys(cell.vendor.wire_format.value for cell, _ in verdicts))
    longest = max(len(cell.feature) for cell, _ in verdicts)
    for client, block in groupby(verdicts, key=lambda judged: judged[0].client):
        told: list[str] = []
        lines: dict[str, dict[str, str]] = {}
        for cell, verdict in block:
            vendor = cell.vendor.wire_format.value
            lines.setdefault(cell.feature, {})[vendor] = _shown(verdict)
            if verdict.words:
                told.append(f"    {cell.feature}, {vendor}: {verdict.words}")
        yield ""
        yield "  ".join([f"{client:<{longest}}", *vendors])
        for feature, shown in lines.items():
            yield "  ".join(
                [
                    f"  {feature:<{longest - 2}}",
                    *(f"{shown.get(vendor, ''):<{len(vendor)}}" for vendor in vendors),
                ]
            ).rstrip()
        yield from told
    yield ""


def _shown(verdict: Verdict) -> str:
    shown = _SHOWN.get(verdict.outcome, verdict.outcome.value)
    return shown if verdict.is_paid else f"{shown}, NOT PAID"
