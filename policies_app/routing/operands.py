"""Checks of what a policy document states: its figures and names."""

LARGEST_INTEGER = 2**31 - 1
"""The largest figure that a document may state: what a PostgreSQL integer holds."""
LARGEST_NANOS = 2**63 - 1
"""The largest amount of money that a document may state: what a PostgreSQL bigint holds."""

_LONGEST_TEXT = 300


class OperandError(ValueError):
    """An operand that no condition, validator or route can have. The message begins with the operand's name."""


def require_integer(value: object, name: str, *, least: int, most: int = LARGEST_INTEGER) -> None:
    """Check an operand that counts something.

    :raises OperandError: if it is no integer, below `least` or above `most`.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise OperandError(f"{name}: must be an integer from {least} to {most}")


def require_text(value: object, name: str) -> None:
    """Check an operand that names something.

    :raises OperandError: if it is no text, blank, too long, or cannot be stored.
    """
    if not isinstance(value, str) or not value.strip() or len(value) > _LONGEST_TEXT:
        raise OperandError(f"{name}: must be a text of 1 to {_LONGEST_TEXT} characters")
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise OperandError(f"{name}: must not contain NUL or a lone surrogate")


def require_share(value: object, name: str) -> float:
    """Check an operand that is a share of one, and return it as a float, so that equal operands have equal documents.

    :raises OperandError: if it is no number from 0 to 1.
    """
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        raise OperandError(f"{name}: must be a number from 0 to 1")
    return float(value)


def require_percent(value: object, name: str) -> float:
    """Check an operand that is a percentage above zero with one decimal at most, and return it as a float.

    :raises OperandError: if it is none.
    """
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= 100:
        raise OperandError(f"{name}: must be a number above 0, at most 100")
    rounded = round(float(value), 1)
    if abs(rounded - value) > 1e-9 or not rounded:
        raise OperandError(f"{name}: has one decimal at most")
    return rounded
