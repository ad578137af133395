"""What a call costs, and what it can cost at most, in whole nano-dollars."""

from policies_app.routing.types import CatalogueModel, Facts, Price, Usage

TOKENS_PER_PRICE = 1_000_000
"""A price is stated for so many tokens."""


def cost_nanos(*, usage: Usage, price: Price) -> int:
    """What `usage` costs at `price`, rounded up once, to a whole nano-dollar."""
    return _per_million(
        usage.input_tokens * price.input_nanos
        + usage.cached_input_tokens * price.cached_input_nanos
        + usage.cache_write_tokens * price.cache_write_nanos
        + usage.output_tokens * price.output_nanos
        + usage.reasoning_tokens * price.reasoning_nanos
    )


def bound_nanos(*, facts: Facts, model: CatalogueModel, price: Price, output_tokens_limit: int) -> int:
    """The most that the request can cost at `model`, whichever buckets its tokens fall in.

    It holds for any usage whose input is within `input_tokens_bound` and whose output is within `output_tokens_limit` for
    each of the choices.
    """
    return dearest_nanos(
        price=price,
        input_tokens=input_tokens_bound(facts=facts, model=model),
        output_tokens=facts.choices * output_tokens_limit,
    )


def affordable_output_tokens(*, facts: Facts, model: CatalogueModel, price: Price, nanos: int) -> int | None:
    """The highest output limit with which the request's bound is within `nanos`; None if any is.

    Zero or less means that the input alone is too dear.
    """
    nanos_a_token = facts.choices * price.dearest_output_nanos
    if nanos_a_token == 0:
        return None
    input_tokens = input_tokens_bound(facts=facts, model=model)
    left = nanos * TOKENS_PER_PRICE - input_tokens * price.dearest_input_nanos
    return left // nanos_a_token


def bound_tokens(*, facts: Facts, model: CatalogueModel, output_tokens_limit: int) -> tuple[int, int]:
    """The most input and output tokens that the request can come to at `model`."""
    return input_tokens_bound(facts=facts, model=model), facts.choices * output_tokens_limit


def input_tokens_bound(*, facts: Facts, model: CatalogueModel) -> int:
    """The most input tokens: the caller's, images at the model's bound, and what the model's row adds."""
    return (
        facts.input_tokens_bound + facts.images * model.image_tokens_bound + model.quirks.input_tokens_bound
    )


def dearest_nanos(*, price: Price, input_tokens: int, output_tokens: int) -> int:
    """The most that so many tokens can cost at `price`, whichever buckets they fall in."""
    return _per_million(input_tokens * price.dearest_input_nanos + output_tokens * price.dearest_output_nanos)


def _per_million(nanos: int) -> int:
    return -(-nanos // TOKENS_PER_PRICE)


def usd(nanos: int) -> str:
    """Nano-dollars as dollars, exactly, without zeros at the end."""
    text = f"{nanos // 1_000_000_000}.{nanos % 1_000_000_000:09d}".rstrip("0")
    return text + "0" * max(0, 2 - len(text.partition(".")[2]))
