"""Comparisons with the price catalogue as a table for a terminal."""

from collections.abc import Iterable, Iterator, Sequence

from policies_app.price_catalogue.types import Amounts, NotPublished, PublishedModel
from policies_app.routing.money import usd
from policies_app.services.price_imports import Comparison, Standing, amounts_of

_HEADINGS = ("model", "price", "input", "cached", "cache write", "output", "reasoning")
_BY_HAND = "by hand"

_Row = tuple[str, ...]


def describe(comparisons: Iterable[Comparison]) -> Iterator[str]:
    """What would change, as a table; then what stays as it is, and why. Amounts are USD per million tokens."""
    comparisons = list(comparisons)
    changes = [one for one in comparisons if one.standing not in {Standing.SAME, Standing.UNKNOWN}]
    if changes:
        yield from _table(changes)
    if same := [one.model.name for one in comparisons if one.standing is Standing.SAME]:
        yield f"As the catalogue says already: {', '.join(same)}."
    for one in comparisons:
        if isinstance(one.published, NotPublished):
            left = "keeps its price" if one.in_force else "stays without a price"
            yield f"{one.model.name} {left}: {one.published}"


def _table(changes: Sequence[Comparison]) -> Iterator[str]:
    rows = [(row, one) for one in changes for row in _rows(one)]
    widths = [
        max(len(row[column]) for row in (_HEADINGS, *(row for row, _ in rows)))
        for column in range(len(_HEADINGS))
    ]
    yield _line(_HEADINGS, widths)
    for row, one in rows:
        yield _line(row, widths)
        if row[1] == str(one.published) and isinstance(one.published, PublishedModel):
            yield from (f"    {note}" for note in one.published.notes)
    yield "USD per million tokens."


def _rows(one: Comparison) -> Iterator[_Row]:
    if isinstance(one.published, NotPublished):
        return
    if one.in_force is None:
        yield (one.model.name, "none yet", *[""] * 5)
    else:
        yield (one.model.name, one.in_force.source or _BY_HAND, *_cells(amounts_of(one.in_force)))
    yield ("", str(one.published), *_cells(one.published.amounts))


def _cells(amounts: Amounts) -> Iterator[str]:
    return (usd(nanos) for _, nanos in amounts)


def _line(row: _Row, widths: Sequence[int]) -> str:
    words, numbers = row[:2], row[2:]
    cells = [text.ljust(width) for text, width in zip(words, widths[:2], strict=True)]
    cells += [text.rjust(width) for text, width in zip(numbers, widths[2:], strict=True)]
    return "  ".join(cells).rstrip()
