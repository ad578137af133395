"""Lists of names as operands, and in words."""

from collections.abc import Iterable

from policies_app.routing.operands import OperandError, require_text

_VALUES_SHOWN = 5


def distinct_texts(values: Iterable[str], name: str) -> tuple[str, ...]:
    """The values without repetition and in one order, so that equal conditions have equal documents."""
    if isinstance(values, str):
        raise OperandError(f"{name}: must be a list of texts, not one text")
    distinct = set(values)
    if not distinct:
        raise OperandError(f"{name}: give at least one value")
    for value in distinct:
        require_text(value, name)
    return tuple(sorted(distinct))


def one_of(values: tuple[str, ...]) -> str:
    if len(values) == 1:
        return values[0]
    hidden = len(values) - _VALUES_SHOWN
    return f"one of {', '.join(values[:_VALUES_SHOWN])}" + (f" and {hidden} more" if hidden > 0 else "")
