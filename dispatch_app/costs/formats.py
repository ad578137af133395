"""Figures as a person reads them."""

from decimal import Decimal

NOTHING = "\u2013"
_NARROW_SPACE = "\u202f"
_MINUS = "\u2212"


def show_usd(nanos: int | None) -> str:
    """USD to the cent; below one dollar to three significant digits, so that the smallest cost stays visible."""
    if nanos is None:
        return NOTHING
    size = Decimal(abs(nanos)).scaleb(-9)
    if not size or size >= 1:
        text = f"{size:,.2f}"
    else:
        digits = max(2, 2 - size.adjusted())
        text = f"{size:.{digits}f}"
        whole, _, fraction = text.partition(".")
        text = f"{whole}.{fraction.rstrip('0'):0<2}"
    return f"{_MINUS if nanos < 0 else ''}${text}"


def show_exact_usd(nanos: int | None) -> str:
    """USD to the nano-dollar, without zeros that say nothing beyond the cent."""
    if nanos is None:
        return NOTHING
    whole, _, fraction = f"{Decimal(abs(nanos)).scaleb(-9):,.9f}".partition(".")
    return f"{_MINUS if nanos < 0 else ''}${whole}.{fraction.rstrip('0'):0<2}"


def show_count(count: int | None) -> str:
    """A whole number with its thousands set apart."""
    return NOTHING if count is None else f"{count:,}".replace(",", _NARROW_SPACE)


def show_tokens(count: int | None) -> str:
    """A number of tokens to three significant digits, as in 1.23 M."""
    if count is None:
        return NOTHING
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            scaled = count / size
            digits = 0 if scaled >= 100 else 1 if scaled >= 10 else 2
            return f"{scaled:.{digits}f}{_NARROW_SPACE}{unit}"
    return str(count)


def show_percent(share: float | None) -> str:
    """A percentage: whole from ten up, with one digit below."""
    if share is None:
        return NOTHING
    text = f"{abs(share):.0f}" if abs(share) >= 10 or not share else f"{abs(share):.1f}"
    return f"{_MINUS if share < 0 else ''}{text}{_NARROW_SPACE}%"


def show_duration(milliseconds: int | None) -> str:
    """A duration in the unit that suits it."""
    if milliseconds is None:
        return NOTHING
    if milliseconds < 1_000:
        return f"{milliseconds}{_NARROW_SPACE}ms"
    if milliseconds < 60_000:
        return f"{milliseconds / 1_000:.2f}{_NARROW_SPACE}s"
    return f"{milliseconds // 60_000}{_NARROW_SPACE}min {milliseconds % 60_000 // 1_000}{_NARROW_SPACE}s"


def show_code(code: str) -> str:
    """A code of the log in words: `client_disconnected` is “client disconnected”."""
    return code.replace("_", " ")
